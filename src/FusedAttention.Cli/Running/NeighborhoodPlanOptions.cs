// Turns the fields of a neighborhood problem file into the library's options; used by run and draw.
using System.Linq;
using FusedAttention.Cli.Problems;

namespace FusedAttention.Cli.Running;

internal static class NeighborhoodPlanOptions
{
    /// <summary>Everything the problem file says; what the tensors add is left to the caller.</summary>
    internal static NeighborhoodOptions From(NeighborhoodProblem problem) => new(
        [
            .. Enumerable.Range(0, problem.Grid.Length).Select(
                n => new NeighborhoodAxis(problem.Grid[n], problem.KernelSize[n])
                {
                    Stride = problem.Stride[n],
                    Dilation = problem.Dilation[n],
                    Causal = problem.Causal[n],
                }),
        ])
    {
        Scale = problem.Scale,
        Backward = problem.Backward,
    };
}
