// Outputs and gradients of one dense problem in the logical order. Made by DenseCase and DenseTruth.
namespace FusedAttention.Tests.Support;

internal sealed class DenseResult
{
    public required double[] Output { get; init; }

    public required double[] Lse { get; init; }

    public double[] GradQuery { get; set; } = [];

    public double[] GradKey { get; set; } = [];

    public double[] GradValue { get; set; } = [];

    public double[] GradBias { get; set; } = [];

    public double[] GradSinkLogits { get; set; } = [];
}
