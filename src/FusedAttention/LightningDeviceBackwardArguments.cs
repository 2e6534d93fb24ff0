// What one backward run of linear attention reads and writes in memory of a GPU. Made by callers, read by
// LightningAttentionPlan.
namespace FusedAttention;

/// <summary>
/// The device tensors of one backward run. Inputs are those of the forward run; gradients that are not given are not
/// computed. Slopes have no gradient.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public struct LightningDeviceBackwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, L, D].</summary>
    public DeviceTensor<T> Query;

    /// <summary>Keys, [B, Hk, L, D].</summary>
    public DeviceTensor<T> Key;

    /// <summary>Values, [B, Hk, L, Dv].</summary>
    public DeviceTensor<T> Value;

    /// <summary>Decay of each query head, as in the forward run.</summary>
    public DeviceTensor<float> Slopes;

    /// <summary>State before the first token, as in the forward run.</summary>
    public DeviceTensor<float> InitialState;

    /// <summary>Gradient of the output.</summary>
    public DeviceTensor<T> GradOutput;

    /// <summary>Gradient of the final state, shaped as it. Not given: 0.</summary>
    public DeviceTensor<float> GradFinalState;

    /// <summary>Receives the gradient of the queries.</summary>
    public DeviceTensor<T> GradQuery;

    /// <summary>Receives the gradient of the keys.</summary>
    public DeviceTensor<T> GradKey;

    /// <summary>Receives the gradient of the values.</summary>
    public DeviceTensor<T> GradValue;

    /// <summary>Receives the gradient of the initial state, with <see cref="LightningOptions.InitialState"/>.</summary>
    public DeviceTensor<float> GradInitialState;

    /// <summary>
    /// Memory of the run's own, of at least <see cref="AttentionPlan.GetDeviceWorkspaceBytes"/>. Not given: that of the
    /// stream, which <see cref="AttentionPlan.Prepare"/> has sized. Runs at the same time need one each.
    /// </summary>
    public DeviceTensor<byte> Workspace;
}
