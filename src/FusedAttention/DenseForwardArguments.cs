// What one forward run of dense attention reads and writes. Made by callers, read by DenseAttentionPlan.
using System;

namespace FusedAttention;

/// <summary>
/// The tensors of one forward run. Members that the plan's options announce must be set, all others not.
/// </summary>
/// <typeparam name="T">Type of the queries, keys and values.</typeparam>
public ref struct DenseForwardArguments<T>
    where T : unmanaged
{
    /// <summary>Queries, [B, Hq, Lq, D].</summary>
    public TensorIn<T> Query;

    /// <summary>Keys, [B, Hk, Lk, D], or their pages [Pages, PageSize, Hk, D].</summary>
    public TensorIn<T> Key;

    /// <summary>Values, [B, Hv, Lk, Dv], or their pages [Pages, PageSize, Hv, Dv].</summary>
    public TensorIn<T> Value;

    /// <summary>Receives the output, [B, Hq, Lq, Dv]; rows that see no key become 0.</summary>
    public TensorOut<T> Output;

    /// <summary>
    /// Receives the natural logarithm of each row's sum, [B, Hq, Lq]; -inf for rows that see no key (the sink logit
    /// with sinks). Not given: not wanted.
    /// </summary>
    public TensorOut<float> Lse;

    /// <summary>
    /// Additive bias as <see cref="DenseOptions.Bias"/> says; f32 through <see cref="TensorIn{T}.Float32"/>.
    /// </summary>
    public TensorIn<T> Bias;

    /// <summary>Visibility mask as <see cref="DenseOptions.Mask"/> says.</summary>
    public TensorIn<byte> Mask;

    /// <summary>Slopes, [Hq], with <see cref="DenseOptions.Alibi"/>.</summary>
    public ReadOnlySpan<float> AlibiSlopes;

    /// <summary>Sink logits, [Hq], with <see cref="DenseOptions.Sinks"/>.</summary>
    public ReadOnlySpan<float> SinkLogits;

    /// <summary>First query of each packed sequence, then the total used; [Sequences + 1].</summary>
    public ReadOnlySpan<int> CumulativeQueryLengths;

    /// <summary>First key of each packed sequence, then the total used; [Sequences + 1].</summary>
    public ReadOnlySpan<int> CumulativeKeyLengths;

    /// <summary>How many keys of each sequence exist, with <see cref="DenseOptions.KeyLengths"/>.</summary>
    public ReadOnlySpan<int> KeyLengths;

    /// <summary>
    /// Page numbers of each sequence, [B, MaxPagesPerSequence], with <see cref="DenseOptions.Paging"/>.
    /// </summary>
    public ReadOnlySpan<int> BlockTable;

    /// <summary>Key of the dropout generator.</summary>
    public ulong DropoutSeed;

    /// <summary>Its low 32 bits are the last counter word of the dropout generator.</summary>
    public ulong DropoutOffset;

    /// <summary>Added to query indices wherever positions matter: causal, window, chunk, ALiBi, dropout.</summary>
    public long QueryPositionOffset;

    /// <summary>Added to key indices wherever positions matter.</summary>
    public long KeyPositionOffset;

    /// <summary>Most threads the run may use, 0 for the device's own number. Never changes results.</summary>
    public int MaxThreads;
}
