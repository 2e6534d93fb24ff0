// What one forward run of S2 attention reads and writes in memory of a GPU. Made by callers, read by
// S2AttentionPlan.
namespace FusedAttention;

/// <summary>The device tensors of one forward run.</summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public struct S2DeviceForwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, Lq, D].</summary>
    public DeviceTensor<T> Query;

    /// <summary>Keys, [B, Hk, Lk, D].</summary>
    public DeviceTensor<T> Key;

    /// <summary>Values, [B, Hv, Lk, Dv].</summary>
    public DeviceTensor<T> Value;

    /// <summary>Receives the output, [B, Hq, Lq, Dv]; rows that see no key become 0.</summary>
    public DeviceTensor<T> Output;

    /// <summary>
    /// Receives the natural logarithm of each row's sum, [B, Hq, Lq]; -inf for rows that see no key. Not given: not
    /// wanted.
    /// </summary>
    public DeviceTensor<float> Lse;

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
