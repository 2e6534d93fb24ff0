// What one backward run of S2 attention reads and writes in memory of a GPU. Made by callers, read by
// S2AttentionPlan.
namespace FusedAttention;

/// <summary>
/// The device tensors of one backward run. Inputs are those of the forward run and its results; gradients that are not
/// given are not computed.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public struct S2DeviceBackwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, Lq, D].</summary>
    public DeviceTensor<T> Query;

    /// <summary>Keys, [B, Hk, Lk, D].</summary>
    public DeviceTensor<T> Key;

    /// <summary>Values, [B, Hv, Lk, Dv].</summary>
    public DeviceTensor<T> Value;

    /// <summary>Output of the forward run.</summary>
    public DeviceTensor<T> Output;

    /// <summary>LSE of the forward run.</summary>
    public DeviceTensor<float> Lse;

    /// <summary>Gradient of the output.</summary>
    public DeviceTensor<T> GradOutput;

    /// <summary>Gradient of the LSE, [B, Hq, Lq]. Not given: 0.</summary>
    public DeviceTensor<float> GradLse;

    /// <summary>Receives the gradient of the queries.</summary>
    public DeviceTensor<T> GradQuery;

    /// <summary>Receives the gradient of the keys.</summary>
    public DeviceTensor<T> GradKey;

    /// <summary>Receives the gradient of the values.</summary>
    public DeviceTensor<T> GradValue;

    /// <summary>
    /// Added to the positions of the queries, for a shard of a longer sequence; a multiple of
    /// <see cref="S2Options.BlockSize"/>.
    /// </summary>
    public long QueryPositionOffset;

    /// <summary>
    /// Added to the positions of the keys, likewise. Runs over the shards of a sequence's keys, merged
    /// (<see cref="AttentionMerge"/>), are the run over all of them.
    /// </summary>
    public long KeyPositionOffset;

    /// <summary>
    /// Memory of the run's own, of at least <see cref="AttentionPlan.GetDeviceWorkspaceBytes"/>. Not given: that of the
    /// stream, which <see cref="AttentionPlan.Prepare"/> has sized. Runs at the same time need one each.
    /// </summary>
    public DeviceTensor<byte> Workspace;
}
