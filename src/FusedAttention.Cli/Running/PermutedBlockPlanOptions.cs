// Turns the fields of a permuted block-sparse problem file into the library's options; used by run and draw.
using FusedAttention.Cli.Problems;

namespace FusedAttention.Cli.Running;

internal static class PermutedBlockPlanOptions
{
    internal static PermutedBlockOptions From(PermutedBlockProblem problem) => new()
    {
        BlockSize = problem.BlockSize,
        SegmentSize = problem.SegmentSize,
        Coverage = (float)problem.Coverage,
        Scale = problem.Scale,
        Causal = problem.Causal,
        Backward = problem.Backward,
    };
}
