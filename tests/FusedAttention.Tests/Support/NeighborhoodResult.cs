// Outputs and gradients of one neighborhood problem in the logical order. Made by NeighborhoodCase.
namespace FusedAttention.Tests.Support;

internal sealed class NeighborhoodResult
{
    /// <summary>What dense attention has too.</summary>
    public required DenseResult Forward { get; init; }

    public required double[] GradAdditionalKey { get; init; }

    public required double[] GradAdditionalValue { get; init; }
}
