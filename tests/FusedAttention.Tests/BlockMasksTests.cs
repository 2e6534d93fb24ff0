// Published block patterns as masks.
using System;
using System.Linq;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class BlockMasksTests
{
    private static readonly BlockGrid Grid = new(1, 32, 32, 4);

    [Test]
    public void Patterns_are_the_published_ones()
    {
        Assert.That(Row(BlockMasks.SinkWindow(Grid, sinks: 1, window: 3), 6), Is.EqualTo("x...xxx."));
        Assert.That(Row(BlockMasks.Strided(Grid, stride: 3, window: 2), 7), Is.EqualTo(".x..x.xx"));
        Assert.That(Row(BlockMasks.Fixed(Grid, group: 4, summaries: 1), 5), Is.EqualTo("...xxx.."));
        Assert.That(Row(BlockMasks.PowerOfTwo(Grid), 7), Is.EqualTo("...x.xxx"));
        Assert.That(
            Row(BlockMasks.SinkWindow(Grid with { Causal = false }, sinks: 1, window: 3), 4), Is.EqualTo("x.xxxxx."));
    }

    [Test]
    public void Heads_have_windows_and_classes_of_their_own()
    {
        BlockGrid two = Grid with { Heads = 2 };
        byte[] windows = BlockMasks.HeadWindows(two, [1, 3]);
        Assert.That((Row(windows, 5), Row(windows, 13)), Is.EqualTo((".....x..", "...xxx..")));
        byte[] classes = BlockMasks.HeadClasses(two, [true, false], sinks: 1, window: 2);
        Assert.That((Row(classes, 5), Row(classes, 13)), Is.EqualTo(("x...xx..", "xxxxxx..")));
    }

    [Test]
    public void Random_blocks_follow_the_seed()
    {
        BlockGrid large = new(2, 4000, 4000, 100);
        byte[] first = BlockMasks.RandomGlobal(large, globals: 1, window: 2, random: 3, seed: 5);
        Assert.That(BlockMasks.RandomGlobal(large, 1, 2, 3, seed: 5), Is.EqualTo(first));
        Assert.That(BlockMasks.RandomGlobal(large, 1, 2, 3, seed: 6), Is.Not.EqualTo(first));
        Assert.That(first.AsSpan(39 * 40, 40).ToArray().Sum(x => x), Is.EqualTo(1 + 2 + 3));
    }

    [Test]
    public void Wrong_arguments_are_refused()
    {
        Assert.That(
            () => BlockMasks.Strided(Grid, stride: 0, window: 1),
            Throws.TypeOf<AttentionException>().With.Message.Contains("stride_blocks is 0; allowed are 1"));
        Assert.That(
            () => BlockMasks.SinkWindow(Grid with { QueryLength = 31 }, 1, 1),
            Throws.TypeOf<AttentionException>().With.Message.Contains("must be a multiple of block_size, 4"));
        Assert.That(
            () => BlockMasks.HeadWindows(Grid, [1, 2]),
            Throws.ArgumentException.With.Message.StartsWith("windows has 2 values; the grid has 1 heads."));
        Assert.That(() => BlockMasks.PowerOfTwo(null!), Throws.ArgumentNullException);
    }

    private static string Row(byte[] mask, int row) =>
        string.Concat(mask.AsSpan(row * 8, 8).ToArray().Select(kept => kept != 0 ? 'x' : '.'));
}
