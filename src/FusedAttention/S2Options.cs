// What S2 attention computes. Given by callers to plans, to the one-call methods and to caches.
namespace FusedAttention;

/// <summary>Options of sharded (S2) attention. Members that are not set keep their stated default.</summary>
/// <remarks>
/// Tokens are cut into blocks. Every head sees a local band of blocks and its own shard of the distant ones: every
/// <see cref="VerticalStride"/>-th, shifted from head to head, so that the heads together see everything when there are
/// as many patterns as shards. With fewer queries than keys the queries are the last positions. Immutable; equal when
/// all members are.
/// </remarks>
public sealed record S2Options
{
    /// <summary>Tokens of a block, 1 or more. Default 64.</summary>
    public long BlockSize { get; init; } = 64;

    /// <summary>Blocks of the local band on one side, the query's own included, 1 or more. Default 16.</summary>
    public long LocalBlocks { get; init; } = 16;

    /// <summary>Every how many blocks a head sees a distant one, 1 (all) or more. Default 8.</summary>
    public long VerticalStride { get; init; } = 8;

    /// <summary>
    /// Blocks added before the stride is taken, any number: head h sees distant block kb when (kb + h * step +
    /// HeadOffset) mod VerticalStride is 0, with step = max(1, floor(VerticalStride / query heads)). Default 0. Not used
    /// unless <see cref="Causal"/>.
    /// </summary>
    public long HeadOffset { get; init; }

    /// <summary>Whether patterns are counted over key heads or query heads. Default key heads.</summary>
    public S2PatternHeads PatternHeads { get; init; }

    /// <summary>
    /// How many heads, the last ones of <see cref="PatternHeads"/>, see everything, 0 up to all of them. Default 0. Not
    /// used with <see cref="Homogeneous"/>.
    /// </summary>
    public long DenseHeads { get; init; }

    /// <summary>All heads have the pattern of the first. Default false.</summary>
    public bool Homogeneous { get; init; }

    /// <summary>
    /// Keys after the query's own position are hidden, and distant blocks are counted from position 0. Otherwise blocks
    /// on both sides are seen, distant ones by their distance from the band. Default true.
    /// </summary>
    public bool Causal { get; init; } = true;

    /// <summary>Multiplies q.k, finite; null: 1 / sqrt(D). 0 means 0.</summary>
    public float? Scale { get; init; }

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

    /// <summary>
    /// The pattern of the released Phi-3-small: blocks of 64 tokens, 16 local ones, every 8th distant one, one pattern
    /// per query head counted from 1.
    /// </summary>
    /// <remarks>
    /// The model has 32 query heads, 8 key heads and rows of 128 numbers, and every second layer of it is dense.
    /// </remarks>
    public static S2Options Phi3Small { get; } = new()
    {
        BlockSize = 64,
        LocalBlocks = 16,
        VerticalStride = 8,
        HeadOffset = 1,
        PatternHeads = S2PatternHeads.Query,
    };
}
