// What permuted block-sparse attention computes. Given by callers to plans and to the one-call methods.
namespace FusedAttention;

/// <summary>Options of permuted block-sparse attention. Members that are not set keep their stated default.</summary>
/// <remarks>
/// Keys lie in slots: a permutation inside segments says which token a slot holds. A block mask says which blocks of
/// slots each block of queries keeps. Immutable; equal when all members are.
/// </remarks>
public sealed record PermutedBlockOptions
{
    /// <summary>Key slots in a block, 1 or more. Default 128.</summary>
    public long BlockSize { get; init; } = 128;

    /// <summary>Key slots in a segment, a multiple of <see cref="BlockSize"/>. Default 256.</summary>
    public long SegmentSize { get; init; } = 256;

    /// <summary>
    /// Queries that share a row of the block mask, a divisor of <see cref="BlockSize"/>; 1 gives every query a row of
    /// its own. Null: <see cref="BlockSize"/>.
    /// </summary>
    public long? QueryBlock { get; init; }

    /// <summary>
    /// Share of the block weights that a selection keeps in each row, above 0 and at most 1. Default 0.9.
    /// </summary>
    public float Coverage { get; init; } = 0.9f;

    /// <summary>Multiplies q.k, in importances and block scores too; finite; null: 1 / sqrt(D). 0 means 0.</summary>
    public float? Scale { get; init; }

    /// <summary>
    /// Hides keys after the query's own position. Otherwise blocks of all other segments may be chosen. Default true.
    /// </summary>
    public bool Causal { get; init; } = true;

    /// <summary>Scores blocks by their maximum instead of their mean. Default false.</summary>
    public bool MaxPool { get; init; }

    /// <summary>
    /// Query heads of a key head share one permutation and one block mask, chosen by the mean of their importances and
    /// of their block weights; runs then read keys and values once for all of them. Default false.
    /// </summary>
    public bool SharePermutation { get; init; }

    /// <summary>The plan will also run backward. Default false.</summary>
    public bool Backward { get; init; }

    /// <summary>Gradients must be the same bits on every run; on the CPU they always are. Default false.</summary>
    public bool Deterministic { get; init; }

    /// <summary>
    /// The output, and its gradient, are <see cref="float"/> whatever the queries are. Default false.
    /// </summary>
    public bool Float32Output { get; init; }

    /// <summary>
    /// Gradients of queries, keys and values are <see cref="float"/> whatever these are. Default false.
    /// </summary>
    public bool Float32Gradients { get; init; }
}
