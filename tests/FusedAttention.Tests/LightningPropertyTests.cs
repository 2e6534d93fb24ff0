// Laws of linear attention on random problems. A failure prints the problem and the seed that repeats it.
using System;
using FsCheck;
using FsCheck.Fluent;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class LightningPropertyTests
{
    private static readonly Gen<(AttentionShape Shape, FeatureMap Map, int Split, int Seed)> Problems =
        from heads in Gen.Choose(1, 3)
        from length in Gen.Choose(1, 220)
        from split in Gen.Choose(0, length)
        from dim in Gen.Choose(1, 24)
        from valueDim in Gen.Choose(1, 24)
        from map in Gen.Choose(0, 4)
        from seed in Gen.Choose(0, int.MaxValue)
        select (
            new AttentionShape(1, heads, length, dim) { ValueHeadDim = valueDim }, (FeatureMap)map, split, seed);

    [Test]
    public void A_sequence_split_anywhere_is_the_whole_sequence() => Prop.ForAll(Problems.ToArbitrary(), p =>
    {
        LightningCase problem = LightningCase.Create<float>(p.Shape, p.Seed);
        var options = new LightningOptions
        {
            FeatureMap = p.Map,
            Normalize = p.Map is FeatureMap.EluPlusOne or FeatureMap.Softmax,
        };
        using var whole = new LightningAttentionPlan<float>(p.Shape, options);
        float[] expected = new float[problem.GradOutput.Length], expectedState = new float[whole.StateLength];
        whole.Forward(problem.Query, problem.Key, problem.Value, problem.Slopes, expected, expectedState);

        float[] state = new float[whole.StateLength], found = new float[expected.Length];
        RunPart(problem, options, (0, p.Split), ref state, found);
        RunPart(problem, options, (p.Split, (int)p.Shape.QueryLength), ref state, found);
        Expect.Near("output", Numbers.ToDouble<float>(found), Numbers.ToDouble<float>(expected), 2e-5);
        Expect.Near("state", Numbers.ToDouble<float>(state), Numbers.ToDouble<float>(expectedState), 2e-5);
    }).Check(Config.QuickThrowOnFailure.WithMaxTest(80));

    private static void RunPart(
        LightningCase problem, LightningOptions options, (int Begin, int End) tokens, ref float[] state, float[] output)
    {
        int count = tokens.End - tokens.Begin;
        AttentionShape shape = problem.Shape with { QueryLength = count, KeyLength = count };
        using var plan = new LightningAttentionPlan<float>(shape, options with { InitialState = true });
        float[] part = new float[shape.QueryHeads * count * shape.ValueHeadDim], next = new float[state.Length];
        plan.Forward(new LightningForwardArguments<float>
        {
            Query = Tokens(problem.Query, problem.Shape, tokens),
            Key = Tokens(problem.Key, problem.Shape, tokens),
            Value = Tokens(problem.Value, problem.Shape, tokens),
            Slopes = problem.Slopes,
            InitialState = state,
            Output = part,
            FinalState = next,
        });
        state = next;
        int length = (int)problem.Shape.QueryLength, width = (int)shape.ValueHeadDim;
        for (int h = 0; h < shape.QueryHeads; ++h)
        {
            part.AsSpan(h * count * width, count * width)
                .CopyTo(output.AsSpan(((h * length) + tokens.Begin) * width));
        }
    }

    private static float[] Tokens(float[] tensor, AttentionShape shape, (int Begin, int End) tokens)
    {
        int length = (int)shape.QueryLength, heads = (int)shape.QueryHeads, width = tensor.Length / (heads * length);
        int count = (tokens.End - tokens.Begin) * width;
        float[] rows = new float[heads * count];
        for (int h = 0; h < heads; ++h)
        {
            tensor.AsSpan(((h * length) + tokens.Begin) * width, count).CopyTo(rows.AsSpan(h * count));
        }

        return rows;
    }
}
