// Tests of the row references of the sparse and linear families: who sees whom, direct sums, differences.
using System;
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Reference;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class RowReferenceTests
{
    private static readonly AttentionShape Grid = new(2, 4, 12, 3)
    {
        KeyHeads = 2,
        ValueHeads = 2,
        ValueHeadDim = 2,
    };

    private static readonly AxisWindow[] Axes =
        [new AxisWindow(3, 2, 1, 1, Causal: true), new AxisWindow(4, 2, 1, 2, Causal: false)];

    private static readonly int[] Swapped = [1, 0, 3, 2, 4, 5];

    [TestCase(7, 3, 1, 1, false, "###.... ###.... .###... ..###.. ...###. ....### ....###")]
    [TestCase(7, 4, 1, 1, false, "####... ####... ####... .####.. ..####. ...#### ...####")]
    [TestCase(8, 4, 3, 1, false, "####.... ####.... ####.... ..####.. ..####.. ..####.. ....#### ....####")]
    [TestCase(9, 5, 4, 1, false,
        "#####.... #####.... #####.... #####.... ....##### ....##### ....##### ....##### ....#####")]
    [TestCase(8, 2, 2, 3, false, "#..#.... .#..#... ..#..#.. #..#.... .#..#... ..#..#.. ...#..#. ....#..#")]
    [TestCase(7, 4, 1, 1, true, "#...... ##..... ###.... ####... .####.. ..####. ...####")]
    [TestCase(9, 5, 3, 1, true,
        "#........ ##....... ###...... .###..... .####.... .#####... ....###.. ....####. ....#####")]
    [TestCase(9, 3, 2, 2, true,
        "#........ .#....... #.#...... .#.#..... ..#.#.... ...#.#... ..#.#.#.. ...#.#.#. ....#.#.#")]
    public void Windows_of_an_axis_are_those_of_the_definition(
        long length, long kernel, long stride, long dilation, bool causal, string expected)
    {
        AxisWindow axis = new(length, kernel, stride, dilation, causal);
        string[] rows = expected.Split(' ');
        for (int query = 0; query < rows.Length; ++query)
        {
            char[] seen = [.. Enumerable.Range(0, rows.Length).Select(key => axis.Sees(query, key) ? '#' : '.')];
            Assert.That(new string(seen), Is.EqualTo(rows[query]));
            Assert.That(axis.Window(query).Count, Is.EqualTo(rows[query].Count(static c => c == '#')));
        }
    }

    [Test]
    public void Neighborhood_sees_the_product_of_its_axes()
    {
        NeighborhoodReference reference = new(Grid, Axes, null, RandomReferenceData.Make(Grid, 1));
        for (long row = 0; row < 12; ++row)
        {
            long[] expected = [.. Keys(12).Where(
                key => Axes[0].Sees(row / 4, key / 4) && Axes[1].Sees(row % 4, key % 4))];
            Assert.That(reference.VisibleKeys(0, 0, row), Is.EqualTo(expected));
            Assert.That(Keys(12).Where(key => reference.IsVisible(0, 0, row, key)), Is.EqualTo(expected));
        }
    }

    [Test]
    public void Window_of_the_whole_grid_is_dense()
    {
        ReferenceData data = RandomReferenceData.Make(Grid, 2);
        AxisWindow[] axes = [new(3, 3, 1, 1, Causal: false), new(4, 4, 1, 1, Causal: false)];
        NeighborhoodReference all = new(Grid, axes, 0.3f, data);
        AssertSameRows(all, new DenseReference(Grid, new DenseOptions { Scale = 0.3f }, data), Grid);
    }

    [Test]
    public void Additional_keys_are_as_if_they_were_appended()
    {
        Random random = new(3);
        AttentionShape shape = new(1, 2, 4, 3);
        ReferenceData data = RandomReferenceData.Make(shape, 3) with
        {
            AdditionalK = RandomReferenceData.Draw(random, 2 * 5 * 3),
            AdditionalV = RandomReferenceData.Draw(random, 2 * 5 * 3),
        };
        NeighborhoodReference whole = new(shape, [new(4, 4, 1, 1, Causal: false)], null, data);
        ReferenceData joined = data with
        {
            K = Append(data.K, data.AdditionalK, 12, 15),
            V = Append(data.V, data.AdditionalV, 12, 15),
            AdditionalK = null,
            AdditionalV = null,
        };
        AssertSameRows(
            whole, new DenseReference(shape with { KeyLength = 9 }, new DenseOptions(), joined), shape);
    }

    [Test]
    public void Neighborhood_gradients_match_differences()
    {
        Random random = new(4);
        ReferenceData data = RandomReferenceData.Make(Grid, 4) with
        {
            AdditionalK = RandomReferenceData.Draw(random, 2 * 2 * 2 * 3),
            AdditionalV = RandomReferenceData.Draw(random, 2 * 2 * 2 * 2),
        };
        ReferenceChecks.GradientsMatchDifferences(
            Grid, data, given => new NeighborhoodReference(Grid, Axes, 0.5f, given));
    }

    // One local block, every third distant one: the step between heads is 3 / 2 = 1.
    [TestCase(0, 0, "#.... ##... #.#.. #..#. #..##", "#.... .#... ..#.. ..##. ..#.#")]
    [TestCase(1, 0, "#.... ##... #.#.. #..#. #..##", "#.... ##... ###.. ####. #####")]
    [TestCase(0, -1, "#.... .#... .##.. .#.#. .#..#", "#.... ##... #.#.. #..#. #..##")]
    public void S2_heads_see_their_own_shards(int denseHeads, int offset, string first, string second)
    {
        S2Pattern pattern = new(2, 1, 3) { DenseHeads = denseHeads, HeadOffset = offset };
        AssertBlocks(pattern, first, second);
    }

    [Test]
    public void S2_heads_of_a_group_may_differ_or_all_may_be_the_same()
    {
        const string First = "#.... ##... #.#.. #.##. #.#.#";
        const string Second = "#.... .#... .##.. .#.#. .#.##";
        AssertBlocks(new S2Pattern(2, 1, 2) { PerQueryHead = true }, First, Second);
        AssertBlocks(new S2Pattern(2, 1, 2) { Homogeneous = true, DenseHeads = 2 }, First, First);
        AssertBlocks(
            new S2Pattern(2, 2, 2) { Causal = false },
            "##.#. ###.# .###. #.### .#.##", "##.#. ###.# .###. #.### .#.##");
    }

    [Test]
    public void S2_with_stride_one_is_causal_also_for_the_last_queries_alone()
    {
        AttentionShape shape = new(1, 2, 5, 3) { KeyLength = 9 };
        ReferenceData data = RandomReferenceData.Make(shape, 6);
        BlockReference all = new(shape, BlockPattern.S2(shape, new S2Pattern(2, 1, 1)), null, data);
        AssertSameRows(all, new DenseReference(shape, new DenseOptions { Causal = true }, data), shape);
    }

    [Test]
    public void Kept_blocks_show_the_tokens_that_their_slots_hold()
    {
        AttentionShape shape = new(1, 1, 6, 1);
        byte[] mask = [1, 0, 0, 0, 1, 0, 1, 0, 1];
        AttentionShape last = shape with { QueryLength = 4 };
        BlockReference causal = Permuted(shape, mask, causal: true, RandomReferenceData.Make(shape, 7));
        BlockReference open = Permuted(shape, mask, causal: false, RandomReferenceData.Make(shape, 7));
        BlockReference cut = Permuted(last, mask[3..], causal: true, RandomReferenceData.Make(last, 7));
        Assert.That(Rows(causal, 6), Is.EqualTo("#..... ##.... ..#... ..##.. ##..#. ##..##"));
        Assert.That(Rows(open, 6), Is.EqualTo("##.... ##.... ..##.. ..##.. ##..## ##..##"));
        Assert.That(Rows(cut, 4), Is.EqualTo("..#... ..##.. ##..#. ##..##"));
    }

    [Test]
    public void Slots_not_tokens_belong_to_a_block()
    {
        AttentionShape shape = new(1, 1, 6, 1);
        BlockPattern pattern = BlockPattern.Given(
            shape, 2, causal: false, [0, 5, 1, 4, 2, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1]);
        BlockReference reference = new(shape, pattern, null, RandomReferenceData.Make(shape, 7));
        Assert.That(Rows(reference, 6), Is.EqualTo("#....# #....# .#..#. .#..#. ..##.. ..##.."));
    }

    [Test]
    public void All_blocks_kept_is_causal()
    {
        AttentionShape shape = new(1, 1, 6, 3);
        ReferenceData data = RandomReferenceData.Make(shape, 8);
        BlockReference all = Permuted(shape, [1, 1, 1, 1, 1, 1, 1, 1, 1], causal: true, data);
        AssertSameRows(all, new DenseReference(shape, new DenseOptions { Causal = true }, data), shape);
    }

    [Test]
    public void Block_gradients_match_differences()
    {
        AttentionShape shape = new(1, 1, 6, 3) { ValueHeadDim = 2 };
        byte[] mask = [1, 0, 0, 0, 1, 0, 1, 0, 1];
        ReferenceChecks.GradientsMatchDifferences(
            shape, RandomReferenceData.Make(shape, 9), given => Permuted(shape, mask, causal: true, given));
    }

    // With the steep slope a token's part is no double any more two tokens later.
    [TestCase(0.5f)]
    [TestCase(400f)]
    public void Lightning_is_its_recurrence(float slope)
    {
        AttentionShape shape = new(1, 2, 7, 3) { KeyHeads = 1, ValueHeads = 1, ValueHeadDim = 2 };
        float[] slopes = [0, slope];
        ReferenceData data = RandomReferenceData.Make(shape, 10) with
        {
            InitialState = RandomReferenceData.Draw(new Random(11), 2 * 3 * 2),
        };
        LightningReference reference = new(shape, slopes, 0.25f, data);
        double[] output = new double[2];
        double[] finalState = new double[6];
        for (int head = 0; head < 2; ++head)
        {
            double[] state = [.. data.InitialState.AsSpan(head * 6, 6).ToArray().Select(static x => (double)x)];
            for (int row = 0; row < 7; ++row)
            {
                double[] expected = new double[2];
                for (int i = 0; i < 6; ++i)
                {
                    state[i] = (Math.Exp(-slopes[head]) * state[i])
                        + (data.K[(row * 3) + (i / 2)] * (double)data.V[(row * 2) + (i % 2)]);
                    expected[i % 2] += 0.25 * data.Q[(((head * 7) + row) * 3) + (i / 2)] * state[i];
                }

                reference.Forward(0, head, row, output);
                Assert.That(output, Is.EqualTo(expected).Within(1e-12));
            }

            reference.FinalState(0, head, finalState);
            Assert.That(finalState, Is.EqualTo(state).Within(1e-12));
        }
    }

    [Test]
    public void Lightning_gradients_match_differences()
    {
        AttentionShape shape = new(1, 2, 5, 3) { KeyHeads = 1, ValueHeads = 1, ValueHeadDim = 2 };
        ReferenceData data = RandomReferenceData.Make(shape, 12) with
        {
            InitialState = RandomReferenceData.Draw(new Random(13), 2 * 3 * 2),
            FinalStateGradient = RandomReferenceData.Draw(new Random(14), 2 * 3 * 2),
        };
        ReferenceChecks.GradientsMatchDifferences(
            shape, data, given => new LightningReference(shape, [0, 0.5f], null, given), FinalStateLoss);

        double FinalStateLoss(RowReference reference)
        {
            double loss = 0;
            double[] state = new double[6];
            for (int head = 0; head < 2; ++head)
            {
                ((LightningReference)reference).FinalState(0, head, state);
                for (int i = 0; i < state.Length; ++i)
                {
                    loss += state[i] * data.FinalStateGradient[(head * 6) + i];
                }
            }

            return loss;
        }
    }

    private static IEnumerable<long> Keys(int count) => Enumerable.Range(0, count).Select(static key => (long)key);

    private static float[] Append(float[] tensor, float[] additional, int size, int additionalSize) =>
    [
        .. tensor.AsSpan(0, size), .. additional.AsSpan(0, additionalSize),
        .. tensor.AsSpan(size, size), .. additional.AsSpan(additionalSize, additionalSize),
    ];

    private static BlockReference Permuted(AttentionShape shape, byte[] mask, bool causal, ReferenceData data) =>
        new(shape, BlockPattern.Given(shape, 2, causal, Swapped, mask), null, data);

    // Both heads of ten tokens in five blocks; the last token of a block sees whole blocks.
    private static void AssertBlocks(S2Pattern pattern, string first, string second)
    {
        AttentionShape shape = new(1, 2, 10, 1) { KeyHeads = pattern.PerQueryHead ? 1 : 2 };
        BlockReference reference = new(
            shape, BlockPattern.S2(shape, pattern), null, RandomReferenceData.Make(shape, 5));
        string[] expected = [first, second];
        for (int head = 0; head < 2; ++head)
        {
            string[] blocks = new string[5];
            for (int block = 0; block < 5; ++block)
            {
                long[] keys = reference.VisibleKeys(0, head, (2 * block) + 1);
                blocks[block] = new string(
                    [.. Keys(5).Select(key => keys.Count(found => found / 2 == key) == 2 ? '#' : '.')]);
                Assert.That(keys.Length, Is.EqualTo(2 * blocks[block].Count(static c => c == '#')));
            }

            Assert.That(string.Join(' ', blocks), Is.EqualTo(expected[head]));
        }
    }

    private static string Rows(SoftmaxReference reference, int rows) => string.Join(' ', Keys(rows).Select(
        row => new string([.. Keys(6).Select(key => reference.IsVisible(0, 0, row, key) ? '#' : '.')])));

    private static void AssertSameRows(RowReference found, RowReference expected, AttentionShape shape)
    {
        double[] output = new double[shape.ValueHeadDim];
        double[] wanted = new double[shape.ValueHeadDim];
        for (long head = 0; head < shape.QueryHeads; ++head)
        {
            for (long row = 0; row < shape.QueryLength; ++row)
            {
                double lse = found.Forward(shape.Batch - 1, head, row, output);
                Assert.That(lse, Is.EqualTo(expected.Forward(shape.Batch - 1, head, row, wanted)).Within(1e-12));
                Assert.That(output, Is.EqualTo(wanted).Within(1e-12));
            }
        }
    }
}
