// What a problem of linear attention gives, in double precision. Used by the lightning tests.
namespace FusedAttention.Tests.Support;

internal sealed record LightningResult
{
    public double[] Output { get; init; } = [];

    public double[] FinalState { get; init; } = [];

    public double[] GradQuery { get; init; } = [];

    public double[] GradKey { get; init; } = [];

    public double[] GradValue { get; init; } = [];

    public double[] GradInitialState { get; init; } = [];
}
