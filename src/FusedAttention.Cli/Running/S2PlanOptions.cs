// Turns the fields of an S2 problem file into the library's options; used by run and draw.
using FusedAttention.Cli.Problems;

namespace FusedAttention.Cli.Running;

internal static class S2PlanOptions
{
    /// <summary>Everything the problem file says.</summary>
    internal static S2Options From(S2Problem problem) => new()
    {
        BlockSize = problem.BlockSize,
        LocalBlocks = problem.LocalBlocks,
        VerticalStride = problem.VerticalStride,
        HeadOffset = problem.HeadOffset,
        PatternHeads = problem.PatternHeads == PatternHeads.Query ? S2PatternHeads.Query : S2PatternHeads.KeyValue,
        DenseHeads = problem.DenseHeads,
        Homogeneous = problem.Homogeneous,
        Causal = problem.Causal,
        Scale = problem.Scale,
        Backward = problem.Backward,
    };
}
