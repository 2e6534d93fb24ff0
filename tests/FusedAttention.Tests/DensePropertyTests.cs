// Laws of dense attention on random problems. A failure prints the problem and the seed that repeats it.
using System;
using FsCheck;
using FsCheck.Fluent;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class DensePropertyTests
{
    private static readonly Gen<AttentionShape> Shapes =
        from batch in Gen.Choose(1, 3)
        from keyHeads in Gen.Choose(1, 3)
        from share in Gen.Choose(1, 3)
        from valueHeads in Gen.Choose(1, keyHeads * share)
        from queries in Gen.Choose(1, 70)
        from keys in Gen.Choose(1, 90)
        from dim in Gen.Choose(1, 48)
        from valueDim in Gen.Choose(1, 48)
        select new AttentionShape(batch, keyHeads * share, queries, dim)
        {
            KeyHeads = keyHeads,
            ValueHeads = valueHeads,
            KeyLength = keys,
            ValueHeadDim = valueDim,
        };

    private static readonly Gen<DenseOptions> Options =
        from flags in Gen.Choose(0, 63)
        from left in Gen.Choose(0, 60)
        from right in Gen.Choose(0, 60)
        select new DenseOptions
        {
            Causal = (flags & 1) != 0,
            CausalAlignment = (flags & 2) != 0 ? CausalAlignment.TopLeft : CausalAlignment.BottomRight,
            Window = (flags & 4) != 0 ? new AttentionWindow(left, right) : null,
            SoftCap = (flags & 8) != 0 ? 3 : null,
            Alibi = (flags & 16) != 0,
            Sinks = (flags & 32) != 0,
        };

    private static readonly Gen<(AttentionShape Shape, DenseOptions Options, int Seed)> Problems =
        from shape in Shapes
        from options in Options
        from seed in Gen.Choose(0, int.MaxValue)
        select (shape, options, seed);

    [Test]
    public void Forward_is_what_the_definition_says() => Check(120, p =>
    {
        DenseCase problem = DenseCase.Create<float>(p.Shape, p.Options, p.Seed);
        Expect.Same<float>(problem.Forward<float>(), DenseTruth.Compute(problem));
    });

    [Test]
    public void A_window_that_covers_everything_is_no_window() => Check(60, p =>
    {
        DenseOptions without = p.Options with { Window = null };
        DenseOptions with = p.Options with { Window = new AttentionWindow(200, p.Options.Causal ? 0 : 200) };
        DenseResult expected = DenseCase.Create<float>(p.Shape, without, p.Seed).Forward<float>();
        Expect.Same<float>(DenseCase.Create<float>(p.Shape, with, p.Seed).Forward<float>(), expected);
    });

    [Test]
    public void Grouped_heads_are_repeated_heads() => Check(60, p =>
    {
        DenseCase grouped = DenseCase.Create<float>(p.Shape with { Batch = 1 }, p.Options, p.Seed);
        AttentionShape shape = grouped.Shape;
        using var plan = new DenseAttentionPlan<float>(
            shape with { KeyHeads = shape.QueryHeads, ValueHeads = shape.QueryHeads }, p.Options);
        float[] output = new float[shape.QueryHeads * shape.QueryLength * shape.ValueHeadDim];
        plan.Forward(new DenseForwardArguments<float>
        {
            Query = grouped.Query,
            Key = Repeat(grouped.Key, shape.KeyHeads, shape),
            Value = Repeat(grouped.Value, shape.ValueHeads, shape),
            Output = output,
            AlibiSlopes = grouped.AlibiSlopes,
            SinkLogits = grouped.SinkLogits,
        });
        Expect.Near(
            "output", Numbers.ToDouble<float>(output), grouped.Forward<float>().Output, Expect.Tolerance<float>());
    });

    [Test]
    public void Keys_cut_anywhere_merge_to_the_whole() => Check(60, p =>
    {
        AttentionShape shape = p.Shape with { Batch = 1, KeyLength = p.Shape.KeyLength + 1 };
        DenseCase whole = DenseCase.Create<float>(shape, null, p.Seed);
        int cut = p.Seed % (int)shape.KeyLength;
        (float[] firstOutput, float[] firstLse) = RunPart(whole, 0, cut);
        (float[] secondOutput, float[] secondLse) = RunPart(whole, cut, (int)shape.KeyLength - cut);
        float[] output = new float[firstOutput.Length], lse = new float[firstLse.Length];
        AttentionMerge.Merge<float>(firstOutput, firstLse, secondOutput, secondLse, output, lse, shape);
        DenseResult truth = DenseTruth.Compute(whole);
        Expect.Near("output", Numbers.ToDouble<float>(output), truth.Output, Expect.Tolerance<float>());
        Expect.Near("lse", Numbers.ToDouble<float>(lse), truth.Lse, Expect.Tolerance<float>());
    });

    [Test]
    public void Batch_entries_do_not_see_each_other() => Check(40, p =>
    {
        DenseCase both = DenseCase.Create<float>(p.Shape with { Batch = 2 }, p.Options, p.Seed);
        double[] whole = both.Forward<float>().Output;
        using var plan = new DenseAttentionPlan<float>(p.Shape with { Batch = 1 }, p.Options);
        float[] output = new float[whole.Length / 2];
        plan.Forward(new DenseForwardArguments<float>
        {
            Query = both.Query.AsSpan(both.Query.Length / 2),
            Key = both.Key.AsSpan(both.Key.Length / 2),
            Value = both.Value.AsSpan(both.Value.Length / 2),
            Output = output,
            AlibiSlopes = both.AlibiSlopes,
            SinkLogits = both.SinkLogits,
        });
        Assert.That(Numbers.ToDouble<float>(output), Is.EqualTo(whole[(whole.Length / 2)..]));
    });

    private static void Check(int count, Action<(AttentionShape Shape, DenseOptions Options, int Seed)> law) =>
        Prop.ForAll(Problems.ToArbitrary(), law).Check(Config.QuickThrowOnFailure.WithMaxTest(count));

    private static (float[] Output, float[] Lse) RunPart(DenseCase whole, int first, int count)
    {
        AttentionShape shape = whole.Shape;
        long keys = shape.KeyLength;
        var part = shape with
        {
            KeyLength = count,
            KeyStrides = new TensorStrides(0, keys * shape.HeadDim, shape.HeadDim),
            ValueStrides = new TensorStrides(0, keys * shape.ValueHeadDim, shape.ValueHeadDim),
        };
        float[] output = new float[shape.QueryHeads * shape.QueryLength * shape.ValueHeadDim];
        float[] lse = new float[shape.QueryHeads * shape.QueryLength];
        using var plan = new DenseAttentionPlan<float>(part);
        plan.Forward(
            whole.Query, whole.Key.AsSpan((int)(first * shape.HeadDim)),
            whole.Value.AsSpan((int)(first * shape.ValueHeadDim)), output, lse);
        return (output, lse);
    }

    private static float[] Repeat(float[] source, long heads, AttentionShape shape)
    {
        int head = (int)(source.Length / heads);
        float[] target = new float[head * shape.QueryHeads];
        for (int h = 0; h < shape.QueryHeads; ++h)
        {
            int from = (int)(h * heads / shape.QueryHeads);
            source.AsSpan(from * head, head).CopyTo(target.AsSpan(h * head));
        }

        return target;
    }
}
