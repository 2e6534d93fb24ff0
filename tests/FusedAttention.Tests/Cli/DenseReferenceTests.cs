// Tests of the tool's own double-precision reference: known rows, and gradients against finite differences.
using System;
using System.Linq;
using FusedAttention.Cli.Reference;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class DenseReferenceTests
{
    private static readonly AttentionShape Shape = new(2, 4, 5, 3)
    {
        KeyHeads = 2,
        ValueHeads = 1,
        KeyLength = 7,
        ValueHeadDim = 2,
    };

    private static readonly DenseOptions[] Options =
    [
        new(),
        new() { Causal = true },
        new() { Causal = true, CausalAlignment = CausalAlignment.TopLeft, Scale = 0.7f },
        new() { Window = new AttentionWindow(2, 1), SoftCap = 1.5f },
        new() { Causal = true, Alibi = true, Sinks = true, SoftCap = 3 },
    ];

    [Test]
    public void Equal_scores_average_the_visible_values()
    {
        AttentionShape shape = new(1, 1, 3, 1);
        ReferenceData data = new([0, 0, 0], [5, 6, 7], [1, 3, 8]);
        DenseReference reference = new(shape, new DenseOptions { Causal = true }, data);
        double[] output = new double[1];
        Assert.That(reference.Forward(0, 0, 1, output), Is.EqualTo(Math.Log(2)).Within(1e-15));
        Assert.That(output[0], Is.EqualTo(2).Within(1e-15));
        reference.Forward(0, 0, 2, output);
        Assert.That(output[0], Is.EqualTo(4).Within(1e-15));
    }

    [Test]
    public void Row_that_sees_nothing_is_zero_with_minus_infinity()
    {
        AttentionShape shape = new(1, 1, 3, 1) { KeyLength = 1 };
        ReferenceData data = new([1, 1, 1], [1], [9]);
        DenseReference reference = new(shape, new DenseOptions { Causal = true }, data);
        double[] output = [5];
        Assert.That(reference.Forward(0, 0, 1, output), Is.EqualTo(double.NegativeInfinity));
        Assert.That(output[0], Is.Zero);
        Assert.That(reference.VisiblePairs(), Is.EqualTo(1));
    }

    [Test]
    public void Sink_takes_its_share()
    {
        AttentionShape shape = new(1, 1, 1, 1);
        ReferenceData data = new([0], [0], [6]) { SinkLogits = [(float)Math.Log(2)] };
        DenseReference reference = new(shape, new DenseOptions { Sinks = true }, data);
        double[] output = new double[1];
        Assert.That(reference.Forward(0, 0, 0, output), Is.EqualTo(Math.Log(3)).Within(1e-7));
        Assert.That(output[0], Is.EqualTo(2).Within(1e-6));
    }

    [TestCaseSource(nameof(Options))]
    public void Window_and_causality_show_the_keys_of_the_definition(DenseOptions options)
    {
        DenseReference reference = new(Shape, options, new ReferenceData([], [], []));
        for (long row = 0; row < Shape.QueryLength; ++row)
        {
            long shift = options.CausalAlignment == CausalAlignment.TopLeft ? 0 : Shape.KeyLength - Shape.QueryLength;
            long position = row + shift;
            long[] expected = [.. Enumerable.Range(0, (int)Shape.KeyLength).Select(static key => (long)key).Where(key =>
                (!options.Causal || key <= position)
                && key >= position - (options.Window?.Left ?? 1000)
                && key <= position + (options.Window?.Right ?? 1000))];
            (long begin, long end) = reference.VisibleKeys(row);
            Assert.That(end - begin, Is.EqualTo(expected.Length));
            Assert.That(begin, Is.EqualTo(expected[0]));
        }
    }

    [TestCaseSource(nameof(Options))]
    public void Gradients_match_finite_differences(DenseOptions options)
    {
        ReferenceData data = RandomReferenceData.Make(Shape, 5) with
        {
            AlibiSlopes = options.Alibi ? [0.5f, 0.25f, 0.125f, 0.0625f] : null,
            SinkLogits = options.Sinks ? [0.5f, -1f, 0f, 2f] : null,
        };
        ReferenceChecks.GradientsMatchDifferences(Shape, data, given => new DenseReference(Shape, options, given));
    }
}
