// What one forward run of S2 attention reads and writes. Made by callers, read by S2AttentionPlan.
namespace FusedAttention;

/// <summary>The tensors of one forward run.</summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public ref struct S2ForwardArguments<T>
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
    /// Added to the positions of the queries, for a shard of a longer sequence; a multiple of
    /// <see cref="S2Options.BlockSize"/>.
    /// </summary>
    public long QueryPositionOffset;

    /// <summary>
    /// Added to the positions of the keys, likewise. Runs over the shards of a sequence's keys, merged
    /// (<see cref="AttentionMerge"/>), are the run over all of them.
    /// </summary>
    public long KeyPositionOffset;

    /// <summary>Most threads the run may use, 0 for the device's own number. Never changes results.</summary>
    public int MaxThreads;
}
