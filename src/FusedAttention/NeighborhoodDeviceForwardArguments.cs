// What one forward run of neighborhood attention reads and writes in memory of a GPU. Made by callers, read by
// NeighborhoodAttentionPlan.
namespace FusedAttention;

/// <summary>The device tensors of one forward run; L are the tokens of the grid, row-major.</summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public struct NeighborhoodDeviceForwardArguments<T>
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

    /// <summary>Receives the natural logarithm of each row's sum, [B, Hq, L]. Not given: not wanted.</summary>
    public DeviceTensor<float> Lse;

    /// <summary>
    /// Keys that every query sees, [B, Hk, E, D], with <see cref="NeighborhoodOptions.AdditionalKeys"/>.
    /// </summary>
    public DeviceTensor<T> AdditionalKey;

    /// <summary>Their values, [B, Hk, E, Dv].</summary>
    public DeviceTensor<T> AdditionalValue;

    /// <summary>
    /// Memory of the run's own, of at least <see cref="AttentionPlan.GetDeviceWorkspaceBytes"/>. Not given: that of the
    /// stream, which <see cref="AttentionPlan.Prepare"/> has sized. Runs at the same time need one each.
    /// </summary>
    public DeviceTensor<byte> Workspace;
}
