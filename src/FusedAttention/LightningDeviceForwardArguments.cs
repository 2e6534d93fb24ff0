// What one forward run of linear attention reads and writes in memory of a GPU. Made by callers, read by
// LightningAttentionPlan.
namespace FusedAttention;

/// <summary>
/// The device tensors of one forward run. The initial state is given exactly when the plan's options announce it.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public struct LightningDeviceForwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, L, D].</summary>
    public DeviceTensor<T> Query;

    /// <summary>Keys, [B, Hk, L, D].</summary>
    public DeviceTensor<T> Key;

    /// <summary>Values, [B, Hk, L, Dv].</summary>
    public DeviceTensor<T> Value;

    /// <summary>Receives the output, [B, Hq, L, Dv].</summary>
    public DeviceTensor<T> Output;

    /// <summary>Decay of each query head per token, [Hq]; finite, 0 (no decay) or more.</summary>
    public DeviceTensor<float> Slopes;

    /// <summary>
    /// State before the first token, [B, Hq, <see cref="LightningAttentionPlan{T}.StateRows"/>,
    /// <see cref="LightningAttentionPlan{T}.StateColumns"/>], with <see cref="LightningOptions.InitialState"/>.
    /// </summary>
    public DeviceTensor<float> InitialState;

    /// <summary>Receives the state after the last token, shaped as the initial one. Not given: not wanted.</summary>
    public DeviceTensor<float> FinalState;

    /// <summary>
    /// Memory of the run's own, of at least <see cref="AttentionPlan.GetDeviceWorkspaceBytes"/>. Not given: that of the
    /// stream, which <see cref="AttentionPlan.Prepare"/> has sized. Runs at the same time need one each.
    /// </summary>
    public DeviceTensor<byte> Workspace;
}
