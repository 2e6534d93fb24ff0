// What permuted block-sparse plans refuse.
using System;
using System.Threading;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class PermutedBlockArgumentTests
{
    private static readonly AttentionShape Shape = new(1, 2, 24, 8);
    private static readonly PermutedBlockOptions Options = new() { BlockSize = 4, SegmentSize = 8 };

    private readonly float[] _data = new float[2 * 24 * 8];

    [Test]
    public void Lengths_of_zero_are_mistakes()
    {
        Assert.That(
            () => new PermutedBlockAttentionPlan<float>(Shape, Options with { BlockSize = 0 }),
            Throws.ArgumentException.With.Message.Contains("BlockSize is 0"));
        Assert.That(
            () => new PermutedBlockAttentionPlan<float>(Shape, Options with { QueryBlock = -1 }),
            Throws.ArgumentException.With.Message.Contains("QueryBlock is -1"));
    }

    [Test]
    public void The_native_library_explains_what_does_not_fit()
    {
        Assert.That(
            () => new PermutedBlockAttentionPlan<float>(Shape, Options with { SegmentSize = 10 }),
            Throws.TypeOf<AttentionException>()
                .With.Message.Contains("segment_size is 10; it must be a multiple of 4, the block_size"));
        Assert.That(
            PermutedBlockAttention.IsSupported<float>(Shape, Options with { Coverage = 2 }, out string reason),
            Is.False);
        Assert.That(reason, Does.Contain("coverage is 2"));
        Assert.That(PermutedBlockAttention.IsSupported<float>(Shape, Options, out reason), Is.True);
        Assert.That(reason, Is.Empty);
    }

    [Test]
    public void Tensors_of_other_sizes_are_refused_by_name()
    {
        using var plan = new PermutedBlockAttentionPlan<float>(Shape, Options);
        float[] output = new float[_data.Length];
        Assert.That(
            () => plan.Select(_data, _data, new int[47], new byte[72]),
            Throws.ArgumentException.With.Message.Contains("permutation has 47 elements"));
        Assert.That(
            () => plan.Forward(_data, _data, _data, output, blockMask: new byte[71]),
            Throws.ArgumentException.With.Message.Contains("blockMask has 71 elements"));
        Assert.That(
            () => plan.Backward(new PermutedBlockBackwardArguments<float>()),
            Throws.InvalidOperationException.With.Message.Contains("Backward"));
    }

    [Test]
    public void A_cancelled_token_ends_a_selection()
    {
        using var plan = new PermutedBlockAttentionPlan<float>(Shape, Options);
        byte[] blockMask = new byte[72];
        var cancelled = new CancellationToken(canceled: true);
        Assert.That(
            () => plan.Select(_data, _data, new int[48], blockMask, cancellationToken: cancelled),
            Throws.InstanceOf<OperationCanceledException>());
        Assert.That(
            () => plan.SelectMoba(_data, _data, 2, blockMask, cancellationToken: cancelled),
            Throws.InstanceOf<OperationCanceledException>());
        Assert.That(blockMask, Is.All.Zero);
    }

    [Test]
    public void Tokens_outside_their_segment_are_refused()
    {
        using var plan = new PermutedBlockAttentionPlan<float>(Shape, Options);
        int[] permutation = new int[48];
        Assert.That(
            () => plan.Forward(_data, _data, _data, new float[_data.Length], permutation),
            Throws.TypeOf<AttentionException>().With.Message.Contains("holds token 0 twice"));
    }
}
