// What one forward run of permuted block-sparse attention reads and writes. Made by callers, read by
// PermutedBlockAttentionPlan.
namespace FusedAttention;

/// <summary>The tensors of one forward run.</summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public ref struct PermutedBlockForwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, Lq, D].</summary>
    public TensorIn<T> Query;

    /// <summary>Keys, [B, Hk, Lk, D].</summary>
    public TensorIn<T> Key;

    /// <summary>Values, [B, Hv, Lk, Dv].</summary>
    public TensorIn<T> Value;

    /// <summary>Receives the output, [B, Hq, Lq, Dv]; rows that see no key become 0.</summary>
    public TensorOut<T> Output;

    /// <summary>
    /// Receives the natural logarithm of each row's sum, [B, Hq, Lq]; -inf for rows that see no key. Not given: not
    /// wanted.
    /// </summary>
    public TensorOut<float> Lse;

    /// <summary>
    /// The token of each slot, [B, Hq, Lk], a permutation inside every segment. Not given: each token in its own slot.
    /// </summary>
    public TensorIn<int> Permutation;

    /// <summary>
    /// Kept blocks, [B, Hq, QueryBlocks, KeyBlocks]: 0 drops a block, anything else keeps it. Not given: all are kept.
    /// </summary>
    public TensorIn<byte> BlockMask;

    /// <summary>Most threads the run may use, 0 for the device's own number. Never changes results.</summary>
    public int MaxThreads;
}
