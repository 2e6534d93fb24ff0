// S2 plans and the one-call methods against the definition: the pattern as a mask of dense attention.
using System;
using System.Collections.Generic;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class S2AttentionTests
{
    private static readonly AttentionShape Grouped = new(2, 4, 37, 16)
    {
        KeyHeads = 2,
        ValueHeads = 2,
        KeyLength = 53,
        ValueHeadDim = 8,
    };

    private static readonly S2Options Small = new() { BlockSize = 4, LocalBlocks = 2, VerticalStride = 3 };

    public static IEnumerable<TestCaseData> Problems()
    {
        yield return Case("per_key_head", Grouped, Small);
        yield return Case(
            "per_query_head", Grouped, Small with { PatternHeads = S2PatternHeads.Query, HeadOffset = 1 });
        yield return Case("dense_heads", Grouped, Small with { DenseHeads = 1 });
        yield return Case("homogeneous", Grouped, Small with { Homogeneous = true, DenseHeads = 1 });
        yield return Case("two_sided", Grouped, Small with { Causal = false });
        yield return Case("scale", Grouped, Small with { Scale = 0.5f, HeadOffset = -2 });
        yield return Case("more_queries_than_keys", Grouped with { KeyLength = 20 }, Small);
    }

    private static TestCaseData Case(string name, AttentionShape shape, S2Options options) =>
        new TestCaseData(shape, options).SetArgDisplayNames(name);

    [TestCaseSource(nameof(Problems))]
    public void Float_matches_the_definition(AttentionShape shape, S2Options options) =>
        Compare<float>(shape, options);

    [TestCaseSource(nameof(Problems))]
    public void Half_matches_the_definition(AttentionShape shape, S2Options options) => Compare<Half>(shape, options);

    [TestCaseSource(nameof(Problems))]
    public void Bfloat16_matches_the_definition(AttentionShape shape, S2Options options) =>
        Compare<BFloat16>(shape, options);

    [Test]
    public void One_call_gives_the_bits_of_a_plan()
    {
        DenseCase problem = S2Truth.Problem<float>(Grouped, Small);
        float[] output = new float[2 * 4 * 37 * 8], lse = new float[2 * 4 * 37];
        S2Attention.Forward<float>(problem.Query, problem.Key, problem.Value, output, Grouped, Small, lse);
        DenseResult expected = S2Truth.Run<float>(problem, Small);
        Assert.That(Numbers.ToDouble<float>(output), Is.EqualTo(expected.Output));
        Assert.That(Numbers.ToDouble<float>(lse), Is.EqualTo(expected.Lse));
        float[] gradQuery = new float[problem.Query.Length];
        S2Attention.Backward(
            new S2BackwardArguments<float>
            {
                Query = problem.Query,
                Key = problem.Key,
                Value = problem.Value,
                Output = output,
                Lse = lse,
                GradOutput = problem.GradOutput,
                GradLse = problem.GradLse,
                GradQuery = gradQuery,
            },
            Grouped, Small);
        Assert.That(Numbers.ToDouble<float>(gradQuery), Is.EqualTo(expected.GradQuery));
    }

    [Test]
    public void Shards_of_the_keys_with_their_positions_merge_to_the_whole()
    {
        const int Tokens = 32, HeadDim = 8, Shard = 16;
        AttentionShape whole = new(1, 2, Tokens, HeadDim) { KeyHeads = 1, ValueHeads = 1 };
        DenseCase problem = S2Truth.Problem<float>(whole, Small);
        float[] expected = new float[2 * Tokens * HeadDim], expectedLse = new float[2 * Tokens];
        S2Attention.Forward<float>(
            problem.Query, problem.Key, problem.Value, expected, whole, Small, expectedLse);

        AttentionShape part = whole with { KeyLength = Shard };
        using var plan = new S2AttentionPlan<float>(part, Small);
        float[][] outputs = [new float[expected.Length], new float[expected.Length]];
        float[][] lses = [new float[expectedLse.Length], new float[expectedLse.Length]];
        for (int n = 0; n < 2; ++n)
        {
            plan.Forward(new S2ForwardArguments<float>
            {
                Query = problem.Query,
                Key = problem.Key.AsSpan(n * Shard * HeadDim, Shard * HeadDim),
                Value = problem.Value.AsSpan(n * Shard * HeadDim, Shard * HeadDim),
                Output = outputs[n],
                Lse = lses[n],
                // The last query of a plan stands at its last key.
                QueryPositionOffset = Tokens - Shard,
                KeyPositionOffset = n * Shard,
            });
        }

        float[] merged = new float[expected.Length], mergedLse = new float[expectedLse.Length];
        AttentionMerge.Merge<float>(outputs[0], lses[0], outputs[1], lses[1], merged, mergedLse, whole);
        Assert.That(merged, Is.EqualTo(expected).Within(1e-5f));
        Assert.That(mergedLse, Is.EqualTo(expectedLse).Within(1e-5f));
        Assert.That(
            () => plan.Forward(new S2ForwardArguments<float>
            {
                Query = problem.Query,
                Key = problem.Key.AsSpan(0, Shard * HeadDim),
                Value = problem.Value.AsSpan(0, Shard * HeadDim),
                Output = merged,
                KeyPositionOffset = 3,
            }),
            Throws.TypeOf<AttentionException>().With.Message.Contains("allowed are multiples of 4, the block_size"));
    }

    [Test]
    public void The_released_pattern_covers_everything_and_others_may_not()
    {
        using var released = new S2AttentionPlan<float>(AttentionShape.Gqa(1, 32, 8, 4096, 8), S2Options.Phi3Small);
        Assert.That(released.GetCoverage(), Is.EqualTo(new S2Coverage(64 * 65 / 2, 0, 8, 0)));
        Assert.That(released.GetCoverage().Warning, Is.Null);
        var gaps = new S2Options { BlockSize = 16, LocalBlocks = 2, VerticalStride = 16 };
        using var plan = new S2AttentionPlan<float>(new AttentionShape(1, 8, 1024, 8), gaps);
        S2Coverage coverage = plan.GetCoverage();
        Assert.That((coverage.Shards, coverage.UnseenShards), Is.EqualTo((16L, 8L)));
        Assert.That(coverage.Warning, Does.Contain("8 of the 16 shards belong to no head"));
    }

    [Test]
    public void Needed_blocks_are_the_shard_and_the_band()
    {
        using var plan = new S2AttentionPlan<float>(new AttentionShape(1, 2, 40, 8), Small);
        Assert.That(
            plan.GetNeededBlocks(keyHead: 0, firstPosition: 32),
            Is.EqualTo(new[] { true, false, false, true, false, false, true, true, true, true }));
        Assert.That(() => plan.GetNeededBlocks(2, 0), Throws.TypeOf<AttentionException>());
    }

    [Test]
    public void Tiles_are_blocks_and_the_work_is_counted_over_them()
    {
        using var plan = new S2AttentionPlan<float>(new AttentionShape(1, 2, 40, 8), Small);
        ScheduleStats stats = plan.GetScheduleStats();
        Assert.That((stats.TileQueries, stats.TileKeys, stats.QueryTiles), Is.EqualTo((4L, 4L, 10L)));
        TileMap map = plan.GetTileMap(0, 1);
        Assert.That(map[9, 2], Is.EqualTo(TileState.Full));
        Assert.That(map[9, 3], Is.EqualTo(TileState.Skipped));
        Assert.That(map[9, 9], Is.EqualTo(TileState.Partial));
        Assert.That(plan.Describe().ForwardFlops, Is.EqualTo(4 * 8 * stats.VisitedPairs));
    }

    [Test]
    public void Wrong_arguments_are_refused()
    {
        Assert.That(
            () => new S2AttentionPlan<float>(Grouped, Small with { BlockSize = 0 }),
            Throws.TypeOf<AttentionException>().With.Message.Contains("block_size is 0; allowed are 1"));
        Assert.That(
            S2Attention.IsSupported<float>(Grouped, Small with { DenseHeads = 3 }, out string reason), Is.False);
        Assert.That(reason, Is.EqualTo("dense_heads is 3; allowed are 0 to 2, the heads of k"));
        using var plan = new S2AttentionPlan<float>(Grouped, Small);
        Assert.That(() => plan.Forward(new float[3], default, default, default), Throws.ArgumentException);
        Assert.That(() => plan.Backward(default), Throws.InvalidOperationException);
    }

    private static void Compare<T>(AttentionShape shape, S2Options options)
        where T : unmanaged
    {
        DenseCase problem = S2Truth.Problem<T>(shape, options);
        Expect.Same<T>(S2Truth.Run<T>(problem, options), DenseTruth.Compute(problem), withGradients: true);
    }
}
