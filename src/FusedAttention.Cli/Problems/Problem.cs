// What a problem file can ask for: one record per family, made by the problem reader and read by the verbs.
namespace FusedAttention.Cli.Problems;

internal enum Family
{
    Dense,
    Neighborhood,
    Lightning,
    S2,
    PermutedBlock,
}

internal enum PatternHeads
{
    KeyValue,
    Query,
}

/// <summary>The fields every family has.</summary>
internal abstract record Problem
{
    /// <summary>Order of all tensors but lse and dlse, which are [B, H, L] in both.</summary>
    internal required AttentionLayout Layout { get; init; }

    internal required bool Backward { get; init; }

    /// <summary>Multiplies q.k; null means the family's default.</summary>
    internal required float? Scale { get; init; }

    internal abstract Family Family { get; }
}

/// <summary>Softmax attention over all keys, limited by causality and a window.</summary>
internal sealed record DenseProblem : Problem
{
    internal override Family Family => Family.Dense;

    internal required bool Causal { get; init; }

    internal required CausalAlignment Alignment { get; init; }

    /// <summary>Keys visible to the left of the query's own position; -1 is open.</summary>
    internal required long WindowLeft { get; init; }

    /// <summary>Keys visible to the right; -1 is open.</summary>
    internal required long WindowRight { get; init; }

    /// <summary>Scores become cap * tanh(score / cap); 0 is off.</summary>
    internal required float Softcap { get; init; }
}

/// <summary>Each token sees a window around it on a grid of one to three axes.</summary>
internal sealed record NeighborhoodProblem : Problem
{
    internal override Family Family => Family.Neighborhood;

    internal required long[] Grid { get; init; }

    internal required long[] KernelSize { get; init; }

    internal required long[] Stride { get; init; }

    internal required long[] Dilation { get; init; }

    internal required bool[] Causal { get; init; }
}

/// <summary>Linear attention with a decay per head.</summary>
internal sealed record LightningProblem : Problem
{
    internal override Family Family => Family.Lightning;
}

/// <summary>Each head sees a local band and its own strided shard of the distant blocks.</summary>
internal sealed record S2Problem : Problem
{
    internal override Family Family => Family.S2;

    internal required long BlockSize { get; init; }

    internal required long LocalBlocks { get; init; }

    internal required long VerticalStride { get; init; }

    internal required long HeadOffset { get; init; }

    internal required PatternHeads PatternHeads { get; init; }

    internal required long DenseHeads { get; init; }

    internal required bool Homogeneous { get; init; }

    internal required bool Causal { get; init; }
}

/// <summary>Block-sparse attention over keys permuted inside segments.</summary>
internal sealed record PermutedBlockProblem : Problem
{
    internal override Family Family => Family.PermutedBlock;

    internal required long BlockSize { get; init; }

    internal required long SegmentSize { get; init; }

    internal required double Coverage { get; init; }

    internal required bool Causal { get; init; }
}
