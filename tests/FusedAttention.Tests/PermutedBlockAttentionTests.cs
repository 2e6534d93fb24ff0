// Permuted block-sparse attention from C#: selections, runs against dense attention under the mask that a selection comes
// to, one-call methods, arguments.
using System;
using System.Linq;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture(typeof(float))]
[TestFixture(typeof(Half))]
[TestFixture(typeof(BFloat16))]
internal sealed class PermutedBlockAttentionTests<T>
    where T : unmanaged
{
    private static readonly AttentionShape Shape = AttentionShape.Gqa(2, 4, 2, 70, 16);
    private static readonly PermutedBlockOptions Options = new() { BlockSize = 8, SegmentSize = 16, Coverage = 0.6f };

    private T[] _query = [];
    private T[] _key = [];
    private T[] _value = [];
    private T[] _gradOutput = [];

    [SetUp]
    public void Draw()
    {
        var random = new Random(5);
        _query = Numbers.From<T>(Numbers.Normal<T>(random, 2 * 4 * 70 * 16));
        _key = Numbers.From<T>(Numbers.Normal<T>(random, 2 * 2 * 70 * 16));
        _value = Numbers.From<T>(Numbers.Normal<T>(random, 2 * 2 * 70 * 16));
        _gradOutput = Numbers.From<T>(Numbers.Normal<T>(random, _query.Length));
    }

    [Test]
    public void A_selection_permutes_inside_segments_and_keeps_the_own_segment()
    {
        using var plan = new PermutedBlockAttentionPlan<T>(Shape, Options);
        (int[] permutation, byte[] blockMask, float[] coverage) = Select(plan);
        for (int head = 0; head < 8; ++head)
        {
            int[] tokens = permutation.AsSpan(head * 70, 70).ToArray();
            for (int begin = 0; begin < 64; begin += 16)
            {
                Assert.That(
                    tokens[begin..(begin + 16)].Order(), Is.EqualTo(Enumerable.Range(begin, 16)));
            }

            Assert.That(tokens[64..], Is.EqualTo(Enumerable.Range(64, 6)));
            for (int row = 0; row < 9; ++row)
            {
                for (int column = row / 2 * 2; column < Math.Min(9, (row / 2 * 2) + 2); ++column)
                {
                    Assert.That(blockMask[(((head * 9) + row) * 9) + column], Is.EqualTo(1));
                }
            }
        }

        Assert.That(coverage, Is.All.InRange(0.6f, 1.00001f));
        Assert.That(blockMask, Has.Some.EqualTo(0));
    }

    [Test]
    public void Forward_and_backward_are_dense_attention_under_the_mask_of_the_selection([Values] bool causal)
    {
        PermutedBlockOptions options = Options with { Causal = causal, Backward = true };
        using var plan = new PermutedBlockAttentionPlan<T>(Shape, options);
        (int[] permutation, byte[] blockMask, _) = Select(plan);
        DenseOptions denseOptions = new()
        {
            Mask = new MaskOptions { PerBatch = true, PerHead = true },
            Backward = true,
        };
        using var dense = new DenseAttentionPlan<T>(Shape, denseOptions);
        byte[] visible = Visible(permutation, blockMask, causal);
        T[] output = new T[_query.Length], expected = new T[_query.Length];
        float[] lse = new float[560], expectedLse = new float[560];
        plan.Forward(_query, _key, _value, output, permutation, blockMask, lse);
        dense.Forward(new DenseForwardArguments<T>
        {
            Query = _query, Key = _key, Value = _value, Output = expected, Lse = expectedLse, Mask = visible,
        });
        double tolerance = Expect.Tolerance<T>();
        Near("output", output, expected, tolerance);
        Expect.Near(
            "lse", Numbers.ToDouble<float>(lse), Numbers.ToDouble<float>(expectedLse), tolerance);

        T[] dq = new T[_query.Length], dk = new T[_key.Length], dv = new T[_value.Length];
        T[] expectedDq = new T[_query.Length], expectedDk = new T[_key.Length], expectedDv = new T[_value.Length];
        plan.Backward(new PermutedBlockBackwardArguments<T>
        {
            Query = _query, Key = _key, Value = _value, Output = expected, Lse = expectedLse,
            GradOutput = _gradOutput, Permutation = permutation, BlockMask = blockMask,
            GradQuery = dq, GradKey = dk, GradValue = dv,
        });
        dense.Backward(new DenseBackwardArguments<T>
        {
            Query = _query, Key = _key, Value = _value, Output = expected, Lse = expectedLse,
            GradOutput = _gradOutput, Mask = visible,
            GradQuery = expectedDq, GradKey = expectedDk, GradValue = expectedDv,
        });
        Near("gradQuery", dq, expectedDq, tolerance);
        Near("gradKey", dk, expectedDk, tolerance);
        Near("gradValue", dv, expectedDv, tolerance);
    }

    [Test]
    public void One_call_selects_and_gives_the_bits_of_a_plan()
    {
        using var plan = new PermutedBlockAttentionPlan<T>(Shape, Options);
        (int[] permutation, byte[] blockMask, _) = Select(plan);
        T[] expected = new T[_query.Length], selected = new T[_query.Length], given = new T[_query.Length];
        plan.Forward(_query, _key, _value, expected, permutation, blockMask);
        PermutedBlockAttention.Forward<T>(_query, _key, _value, selected, Shape, Options);
        PermutedBlockAttention.Forward(
            new PermutedBlockForwardArguments<T>
            {
                Query = _query, Key = _key, Value = _value, Output = given,
                Permutation = permutation, BlockMask = blockMask,
            },
            Shape, Options);
        Assert.That(selected, Is.EqualTo(expected));
        Assert.That(given, Is.EqualTo(expected));
    }

    [Test]
    public void Heads_that_share_get_one_selection()
    {
        using var plan = new PermutedBlockAttentionPlan<T>(Shape, Options with { SharePermutation = true });
        (int[] permutation, byte[] blockMask, _) = Select(plan);
        for (int head = 0; head < 8; head += 2)
        {
            Assert.That(
                permutation.AsSpan((head + 1) * 70, 70).SequenceEqual(permutation.AsSpan(head * 70, 70)), Is.True);
            Assert.That(
                blockMask.AsSpan((head + 1) * 81, 81).SequenceEqual(blockMask.AsSpan(head * 81, 81)), Is.True);
        }

        T[] output = new T[_query.Length];
        plan.Forward(_query, _key, _value, output, permutation, blockMask);
        Assert.That(Numbers.ToDouble<T>(output), Has.Some.Not.EqualTo(0.0));
    }

    [Test]
    public void Moba_keeps_as_many_chunks_of_each_query_as_asked()
    {
        using var plan = new PermutedBlockAttentionPlan<T>(
            Shape, Options with { QueryBlock = 1, SegmentSize = 8 });
        byte[] blockMask = new byte[8 * plan.QueryBlocks * plan.KeyBlocks];
        plan.SelectMoba(_query, _key, 3, blockMask);
        for (int row = 0; row < 8 * 70; ++row)
        {
            ReadOnlySpan<byte> kept = blockMask.AsSpan(row * 9, 9);
            int own = row % 70 / 8;
            Assert.That(kept[own], Is.EqualTo(1));
            Assert.That(kept.Count((byte)1), Is.EqualTo(Math.Min(3, own + 1)));
            Assert.That(kept[(own + 1)..].Count((byte)1), Is.Zero);
        }
    }

    [Test]
    public void Gates_over_scores_keep_the_highest_and_the_own_block()
    {
        using var plan = new PermutedBlockAttentionPlan<T>(Shape, Options);
        float[] scores = new float[8 * 81];
        for (int i = 0; i < scores.Length; ++i)
        {
            scores[i] = i % 9;
        }

        byte[] top = new byte[scores.Length], above = new byte[scores.Length];
        plan.SelectTopK(scores, 2, top);
        plan.SelectThreshold(scores, 0.2f, above);
        Assert.That(top[..9], Is.EqualTo(new byte[] { 1, 0, 0, 0, 0, 0, 0, 0, 0 }));
        Assert.That(top.AsSpan(45, 9).ToArray(), Is.EqualTo(new byte[] { 0, 0, 0, 0, 1, 1, 0, 0, 0 }));

        // The softmax of 0..5 is 0.63, 0.23, 0.09, ... from the end.
        Assert.That(above.AsSpan(45, 9).ToArray(), Is.EqualTo(new byte[] { 0, 0, 0, 0, 1, 1, 0, 0, 0 }));
    }

    [Test]
    public void Stats_and_tiles_follow_the_selection()
    {
        using var plan = new PermutedBlockAttentionPlan<T>(Shape, Options);
        (int[] permutation, byte[] blockMask, _) = Select(plan);
        ScheduleStats stats = plan.GetScheduleStats(permutation, blockMask);
        Assert.That(
            stats.NeededPairs,
            Is.EqualTo(Visible(permutation, blockMask, causal: true).Sum(static sees => (double)sees)));
        Assert.That(stats.NeededPairs, Is.LessThan(plan.GetScheduleStats().NeededPairs));
        TileMap map = plan.GetTileMap(permutation, blockMask, 1, 3);
        Assert.That((map.Rows, map.Columns), Is.EqualTo((9L, 9L)));
        Assert.That(map[0, 8], Is.EqualTo(TileState.Skipped));
    }

    private (int[] Permutation, byte[] BlockMask, float[] Coverage) Select(PermutedBlockAttentionPlan<T> plan)
    {
        int[] permutation = new int[8 * 70];
        byte[] blockMask = new byte[8 * plan.QueryBlocks * plan.KeyBlocks];
        float[] coverage = new float[8 * plan.QueryBlocks];
        plan.Select(_query, _key, permutation, blockMask, coverage);
        return (permutation, blockMask, coverage);
    }

    private static void Near(string name, T[] found, T[] truth, double tolerance) =>
        Expect.Near(name, Numbers.ToDouble<T>(found), Numbers.ToDouble<T>(truth), tolerance);

    // [B, Hq, Lq, Lk] in the tokens' own order.
    private static byte[] Visible(int[] permutation, byte[] blockMask, bool causal)
    {
        byte[] visible = new byte[8 * 70 * 70];
        for (int head = 0; head < 8; ++head)
        {
            for (int row = 0; row < 70; ++row)
            {
                for (int slot = 0; slot < 70; ++slot)
                {
                    int token = permutation[(head * 70) + slot];
                    bool isKept = blockMask[(((head * 9) + (row / 8)) * 9) + (slot / 8)] != 0;
                    visible[(((head * 70) + row) * 70) + token] = (byte)(isKept && (!causal || token <= row) ? 1 : 0);
                }
            }
        }

        return visible;
    }
}
