// Turns the fields of a dense problem file into the library's options; used by run and draw.
using FusedAttention.Cli.Problems;

namespace FusedAttention.Cli.Running;

internal static class DensePlanOptions
{
    // Beyond any sequence a machine can hold, and far from overflow in sums of positions.
    private const long OpenWindow = 1L << 40;

    /// <summary>Everything the problem file says; what the tensors add is left to the caller.</summary>
    internal static DenseOptions From(DenseProblem problem) => new()
    {
        Causal = problem.Causal,
        CausalAlignment = problem.Alignment,
        Window = problem.WindowLeft >= 0 || problem.WindowRight >= 0
            ? new AttentionWindow(Limit(problem.WindowLeft), Limit(problem.WindowRight))
            : null,
        Scale = problem.Scale,
        SoftCap = problem.Softcap > 0 ? problem.Softcap : null,
        Backward = problem.Backward,
    };

    private static long? Limit(long keys) => keys is >= 0 and < OpenWindow ? keys : null;
}
