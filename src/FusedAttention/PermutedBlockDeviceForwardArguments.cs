// What one forward run of permuted block-sparse attention reads and writes in memory of a GPU. Made by callers, read by
// PermutedBlockAttentionPlan.
namespace FusedAttention;

/// <summary>The device tensors of one forward run.</summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public struct PermutedBlockDeviceForwardArguments<T>
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
    /// The token of each slot, [B, Hq, Lk], a permutation inside every segment. Not given: each token in its own slot.
    /// </summary>
    public DeviceTensor<int> Permutation;

    /// <summary>
    /// Kept blocks, [B, Hq, QueryBlocks, KeyBlocks]: 0 drops a block, anything else keeps it. Not given: all are kept.
    /// </summary>
    public DeviceTensor<byte> BlockMask;

    /// <summary>
    /// Memory of the run's own, of at least <see cref="AttentionPlan.GetDeviceWorkspaceBytes"/>. Not given: that of the
    /// stream, which <see cref="AttentionPlan.Prepare"/> has sized. Runs at the same time need one each.
    /// </summary>
    public DeviceTensor<byte> Workspace;
}
