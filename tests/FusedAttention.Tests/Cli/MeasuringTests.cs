// Tests of what demo and bench measure beside the cases themselves: dense equivalents and plots of cost against size.
using System.Linq;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Measuring;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class MeasuringTests
{
    [Test]
    public void Dense_equivalent_is_one_head_of_all_tokens()
    {
        AttentionShape shape = AttentionShape.Gqa(2, 8, 2, 1024, 64);
        DenseEquivalent dense = DenseEquivalent.Of(CaseType.F16, shape, causal: true, backward: true);
        Assert.That(dense.Factor, Is.EqualTo(16));
        Assert.That(dense.Case, Is.EqualTo(new DenseCase(
            "dense", CaseType.F16, new AttentionShape(1, 1, 1024, 64),
            new DenseOptions { Causal = true, Backward = true })));
    }

    [TestCase(false, 8.0)]
    [TestCase(true, 4.0)]
    public void Long_sequences_are_counted_up_from_some_queries(bool causal, double factor)
    {
        AttentionShape shape = new(1, 2, 32768, 64);
        DenseEquivalent dense = DenseEquivalent.Of(CaseType.F32, shape, causal, backward: false);
        Assert.That(dense.Case.Shape, Is.EqualTo(new AttentionShape(1, 1, 8192, 64) { KeyLength = 32768 }));
        Assert.That(dense.Case.Options.Causal, Is.False);
        Assert.That(dense.Factor, Is.EqualTo(factor).Within(1e-3));
    }

    [Test]
    public void Series_is_time_a_token_and_leaves_out_what_was_not_measured()
    {
        DenseOptions options = new();
        ScalingSeries series = new("cost", [Point(1000), Point(2000), Point(4000)]);
        LinePlot plot = series.Plot([Result("s1000", 5, 40), Result("other", 9, null), Result("s4000", 20, null)])!;
        Assert.That(plot.Lines.Select(static line => line.Points), Is.EqualTo(new[]
        {
            new[] { (1000.0, 5.0), (4000.0, 5.0) },
            new[] { (1000.0, 40.0) },
        }));
        Assert.That(series.Plot([Result("s1000", 5, 40)]), Is.Null);

        (long Tokens, MeasuredCase Case) Point(long tokens) =>
            (tokens, new DenseCase($"s{tokens}", CaseType.F32, new AttentionShape(1, 1, tokens, 8), options));
    }

    private static CaseResult Result(string name, double milliseconds, double? dense) => new()
    {
        Name = name,
        Type = "f32",
        Shape = "",
        Pass = "forward",
        Kernel = "",
        Milliseconds = milliseconds,
        FastestMilliseconds = milliseconds,
        Runs = 1,
        GigaFlops = 1,
        GigaBytes = 1,
        PeakShare = 1,
        PeakUnit = "GFLOP/s",
        Peak = 1,
        Error = 0,
        WorkspaceBytes = 0,
        ScoreMatrixBytes = 0,
        VisibleShare = 1,
        VisitedShare = 1,
        DenseMilliseconds = dense,
    };
}
