// Neighborhood attention through plans and one-call methods: against masked dense attention, and what is refused.
using System;
using System.Linq;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class NeighborhoodAttentionTests
{
    private static readonly NeighborhoodOptions Line = new(new NeighborhoodAxis(40, 7));

    private static readonly NeighborhoodOptions[] Grids =
    [
        Line,
        new(new NeighborhoodAxis(37, 6) { Stride = 3, Dilation = 2 }),
        new(new NeighborhoodAxis(30, 11) { Causal = true }),
        new(new NeighborhoodAxis(6, 3), new NeighborhoodAxis(9, 4) { Stride = 2 }) { Scale = 0.5f },
        new(new NeighborhoodAxis(6, 2) { Dilation = 3 }, new NeighborhoodAxis(8, 5) { Causal = true })
        {
            AdditionalKeys = 5,
        },
        new(new NeighborhoodAxis(3, 2), new NeighborhoodAxis(4, 3), new NeighborhoodAxis(5, 5))
        {
            AdditionalKeys = 1,
        },
        new(new NeighborhoodAxis(12, 4) { Stride = 4 }, new NeighborhoodAxis(4, 4)),
    ];

    [TestCaseSource(nameof(Grids))]
    public void Results_are_those_of_masked_dense_attention(NeighborhoodOptions options) => Check<float>(options);

    [Test]
    public void Every_element_type_gives_the_same_results()
    {
        Check<Half>(Grids[4]);
        Check<BFloat16>(Grids[4]);
        Check<BFloat16>(Grids[0]);
    }

    [Test]
    public void One_call_gives_the_bits_of_a_plan()
    {
        NeighborhoodCase problem = NeighborhoodCase.Create<float>(Grids[3]);
        NeighborhoodResult expected = problem.Run<float>();
        float[] output = new float[problem.GradOutput.Length], lse = new float[problem.Rows];
        NeighborhoodAttention.Forward<float>(
            problem.Query, problem.Key, problem.Value, output, problem.Shape, problem.Options, lse);
        Assert.That(Numbers.ToDouble<float>(output), Is.EqualTo(expected.Forward.Output));
        Assert.That(Numbers.ToDouble<float>(lse), Is.EqualTo(expected.Forward.Lse));
        float[] gradQuery = new float[problem.Query.Length];
        NeighborhoodAttention.Backward(
            new NeighborhoodBackwardArguments<float>
            {
                Query = problem.Query,
                Key = problem.Key,
                Value = problem.Value,
                Output = output,
                Lse = lse,
                GradOutput = problem.GradOutput,
                GradQuery = gradQuery,
            },
            problem.Shape, problem.Options);
        Assert.That(Numbers.ToDouble<float>(gradQuery), Is.EqualTo(expected.Forward.GradQuery));
    }

    [Test]
    public void Tokens_first_and_heads_first_agree()
    {
        NeighborhoodCase problem = NeighborhoodCase.Create<float>(Grids[4], batch: 1, heads: 1);
        AttentionShape tokensFirst = problem.Shape with { Layout = AttentionLayout.TokensFirst };
        float[] output = new float[problem.GradOutput.Length];
        NeighborhoodAttention.Forward(
            new NeighborhoodForwardArguments<float>
            {
                Query = problem.Query,
                Key = problem.Key,
                Value = problem.Value,
                Output = output,
                AdditionalKey = problem.AdditionalKey,
                AdditionalValue = problem.AdditionalValue,
            },
            tokensFirst, problem.Options);
        Assert.That(Numbers.ToDouble<float>(output), Is.EqualTo(problem.Run<float>().Forward.Output));
    }

    [Test]
    public void Options_are_equal_when_their_axes_are()
    {
        var options = new NeighborhoodOptions(new NeighborhoodAxis(40, 7));
        Assert.That(options, Is.EqualTo(Line));
        Assert.That(options.GetHashCode(), Is.EqualTo(Line.GetHashCode()));
        Assert.That(new NeighborhoodOptions(new NeighborhoodAxis(40, 7) { Stride = 2 }), Is.Not.EqualTo(Line));
        Assert.That(
            new NeighborhoodOptions(new NeighborhoodAxis(40, 7), new NeighborhoodAxis(1, 1)), Is.Not.EqualTo(Line));
        Assert.That(Grids[5].Axes.Select(axis => axis.Extent), Is.EqualTo(new long[] { 3, 4, 5 }));
        Assert.That(Grids[5].Tokens, Is.EqualTo(60));
    }

    [Test]
    public void A_grid_has_one_to_three_axes()
    {
        var axis = new NeighborhoodAxis(4, 2);
        Assert.That(() => new NeighborhoodOptions(), Throws.ArgumentException);
        Assert.That(() => new NeighborhoodOptions(axis, axis, axis, axis), Throws.ArgumentException);
        Assert.That(() => new NeighborhoodOptions(null!), Throws.ArgumentNullException);
    }

    [Test]
    public void The_library_says_what_does_not_fit()
    {
        var shape = new AttentionShape(1, 1, 40, 8);
        var wide = new NeighborhoodOptions(new NeighborhoodAxis(40, 41));
        Assert.That(
            () => new NeighborhoodAttentionPlan<float>(shape, wide),
            Throws.TypeOf<AttentionException>().With.Message.Contains("kernel_size[0] is 41"));
        Assert.That(NeighborhoodAttention.IsSupported<float>(shape, wide, out string reason), Is.False);
        Assert.That(reason, Does.Contain("kernel_size[0] is 41"));
        Assert.That(NeighborhoodAttention.IsSupported<float>(shape, Line, out reason), Is.True);
        Assert.That(reason, Is.Empty);
        Assert.That(
            () => new NeighborhoodAttentionPlan<float>(new AttentionShape(1, 1, 41, 8), Line),
            Throws.TypeOf<AttentionException>().With.Message.Contains("tokens of the grid"));
    }

    [Test]
    public void Tensors_that_do_not_fit_are_refused_before_the_library_runs()
    {
        using var plan = new NeighborhoodAttentionPlan<float>(new AttentionShape(1, 1, 40, 8), Line);
        float[] data = new float[320], result = new float[320];
        Assert.That(
            () => plan.Forward(data, data, data.AsSpan(1), result),
            Throws.ArgumentException.With.Message.Contains("value has 319 elements"));
        Assert.That(
            () => plan.Forward(new NeighborhoodForwardArguments<float>
            {
                Query = data,
                Key = data,
                Value = data,
                Output = result,
                AdditionalKey = data,
            }),
            Throws.ArgumentException.With.Message.Contains("made without AdditionalKeys"));
        Assert.That(
            () => plan.Backward(new NeighborhoodBackwardArguments<float> { Query = data }),
            Throws.InvalidOperationException);
    }

    [Test]
    public void The_schedule_is_in_patches_and_visits_what_is_needed()
    {
        using var plan = new NeighborhoodAttentionPlan<float>(
            new AttentionShape(2, 3, 54, 8), new NeighborhoodOptions(
                new NeighborhoodAxis(6, 3), new NeighborhoodAxis(9, 4)));
        ScheduleStats stats = plan.GetScheduleStats();
        Assert.That(stats.NeededPairs, Is.EqualTo(2 * 3 * 54 * 12));
        Assert.That(stats.VisitedPairs, Is.GreaterThanOrEqualTo(stats.NeededPairs));
        TileMap map = plan.GetTileMap(1, 2);
        Assert.That(map.Tiles.ToArray().Count(tile => tile != TileState.Skipped), Is.GreaterThan(0));
    }

    private static void Check<T>(NeighborhoodOptions options)
        where T : unmanaged
    {
        NeighborhoodCase problem = NeighborhoodCase.Create<T>(options);
        NeighborhoodResult found = problem.Run<T>();
        NeighborhoodResult truth = problem.Truth();
        Expect.Same<T>(found.Forward, truth.Forward, withGradients: true);
        double tolerance = Expect.Tolerance<T>();
        Expect.Near("gradAdditionalKey", found.GradAdditionalKey, truth.GradAdditionalKey, tolerance);
        Expect.Near("gradAdditionalValue", found.GradAdditionalValue, truth.GradAdditionalValue, tolerance);
    }
}
