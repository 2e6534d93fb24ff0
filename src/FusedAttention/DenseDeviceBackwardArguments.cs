// What one backward run of dense attention reads and writes in memory of a GPU. Made by callers, read by
// DenseAttentionPlan.
namespace FusedAttention;

/// <summary>
/// The device tensors of one backward run. Inputs are those of the forward run and its results; gradients that are not
/// given are not computed.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
/// <remarks>
/// Lengths and page numbers are read on the device and never looked at here: numbers that leave their tensors are cut to
/// them, and give wrong results but no access outside. Lengths in host memory are checked
/// (<see cref="DenseHostLengths"/>).
/// </remarks>
public struct DenseDeviceBackwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, Lq, D].</summary>
    public DeviceTensor<T> Query;

    /// <summary>Keys, [B, Hk, Lk, D].</summary>
    public DeviceTensor<T> Key;

    /// <summary>Values, [B, Hv, Lk, Dv].</summary>
    public DeviceTensor<T> Value;

    /// <summary>Output of the forward run, [B, Hq, Lq, Dv]; not needed with sigmoid weights.</summary>
    public DeviceTensor<T> Output;

    /// <summary>LSE of the forward run, [B, Hq, Lq]; not needed with sigmoid weights.</summary>
    public DeviceTensor<float> Lse;

    /// <summary>Gradient of the output, [B, Hq, Lq, Dv].</summary>
    public DeviceTensor<T> GradOutput;

    /// <summary>Gradient of the LSE, [B, Hq, Lq]. Not given: 0.</summary>
    public DeviceTensor<float> GradLse;

    /// <summary>Additive bias, as in the forward run.</summary>
    public DeviceTensor<T> Bias;

    /// <summary>Visibility mask, as in the forward run.</summary>
    public DeviceTensor<byte> Mask;

    /// <summary>Slopes, as in the forward run.</summary>
    public DeviceTensor<float> AlibiSlopes;

    /// <summary>Sink logits, as in the forward run.</summary>
    public DeviceTensor<float> SinkLogits;

    /// <summary>As in the forward run.</summary>
    public DeviceTensor<int> CumulativeQueryLengths;

    /// <summary>As in the forward run.</summary>
    public DeviceTensor<int> CumulativeKeyLengths;

    /// <summary>As in the forward run.</summary>
    public DeviceTensor<int> KeyLengths;

    /// <summary>Receives the gradient of the queries, [B, Hq, Lq, D].</summary>
    public DeviceTensor<T> GradQuery;

    /// <summary>Receives the gradient of the keys, [B, Hk, Lk, D].</summary>
    public DeviceTensor<T> GradKey;

    /// <summary>Receives the gradient of the values, [B, Hv, Lk, Dv].</summary>
    public DeviceTensor<T> GradValue;

    /// <summary>
    /// Receives the gradient of the bias, contiguous, summed over the dimensions that the bias broadcasts.
    /// </summary>
    public DeviceTensor<float> GradBias;

    /// <summary>Receives the gradient of the sink logits, [Hq].</summary>
    public DeviceTensor<float> GradSinkLogits;

    /// <summary>
    /// Memory of the run's own, of at least <see cref="AttentionPlan.GetDeviceWorkspaceBytes"/>. Not given: that of the
    /// stream, which <see cref="AttentionPlan.Prepare"/> has sized. Runs at the same time need one each.
    /// </summary>
    public DeviceTensor<byte> Workspace;

    /// <summary>Key of the dropout generator.</summary>
    public ulong DropoutSeed;

    /// <summary>Its low 32 bits are the last counter word of the dropout generator.</summary>
    public ulong DropoutOffset;

    /// <summary>Added to query indices wherever positions matter: causal, window, chunk, ALiBi, dropout.</summary>
    public long QueryPositionOffset;

    /// <summary>Added to key indices wherever positions matter.</summary>
    public long KeyPositionOffset;
}
