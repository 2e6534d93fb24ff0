// What one backward run of neighborhood attention reads and writes in memory of a GPU. Made by callers, read by
// NeighborhoodAttentionPlan.
namespace FusedAttention;

/// <summary>
/// The device tensors of one backward run. Inputs are those of the forward run and its results; gradients that are not
/// given are not computed.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public struct NeighborhoodDeviceBackwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, L, D].</summary>
    public DeviceTensor<T> Query;

    /// <summary>Keys, [B, Hk, L, D].</summary>
    public DeviceTensor<T> Key;

    /// <summary>Values, [B, Hk, L, Dv].</summary>
    public DeviceTensor<T> Value;

    /// <summary>Output of the forward run.</summary>
    public DeviceTensor<T> Output;

    /// <summary>LSE of the forward run.</summary>
    public DeviceTensor<float> Lse;

    /// <summary>Gradient of the output.</summary>
    public DeviceTensor<T> GradOutput;

    /// <summary>Gradient of the LSE, [B, Hq, L]. Not given: 0.</summary>
    public DeviceTensor<float> GradLse;

    /// <summary>Additional keys, as in the forward run.</summary>
    public DeviceTensor<T> AdditionalKey;

    /// <summary>Additional values, as in the forward run.</summary>
    public DeviceTensor<T> AdditionalValue;

    /// <summary>Receives the gradient of the queries.</summary>
    public DeviceTensor<T> GradQuery;

    /// <summary>Receives the gradient of the keys.</summary>
    public DeviceTensor<T> GradKey;

    /// <summary>Receives the gradient of the values.</summary>
    public DeviceTensor<T> GradValue;

    /// <summary>Receives the gradient of the additional keys.</summary>
    public DeviceTensor<T> GradAdditionalKey;

    /// <summary>Receives the gradient of the additional values.</summary>
    public DeviceTensor<T> GradAdditionalValue;

    /// <summary>
    /// Memory of the run's own, of at least <see cref="AttentionPlan.GetDeviceWorkspaceBytes"/>. Not given: that of the
    /// stream, which <see cref="AttentionPlan.Prepare"/> has sized. Runs at the same time need one each.
    /// </summary>
    public DeviceTensor<byte> Workspace;
}
