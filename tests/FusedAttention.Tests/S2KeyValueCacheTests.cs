// The S2 cache: token by token the results of a plan over everything, from the memory of a shard and a band.
using System;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class S2KeyValueCacheTests
{
    private static readonly S2Options Small = new() { BlockSize = 4, LocalBlocks = 2, VerticalStride = 5 };

    private static readonly AttentionShape Shape = new(2, 4, 1, 16)
    {
        KeyHeads = 2,
        ValueHeads = 2,
        KeyLength = 50,
        ValueHeadDim = 8,
    };

    [Test]
    public void Every_token_gets_what_the_whole_sequence_gives(
        [Values] S2PatternHeads heads, [Values(0, 1)] long denseHeads, [Values] AttentionLayout layout) =>
        Compare<float>(Small with { PatternHeads = heads, DenseHeads = denseHeads, HeadOffset = 1 }, layout);

    [Test]
    public void Heads_may_all_have_the_same_pattern([Values] S2PatternHeads heads, [Values] AttentionLayout layout) =>
        Compare<float>(Small with { PatternHeads = heads, Homogeneous = true }, layout);

    [Test]
    public void Sixteen_bit_types_are_kept_and_decoded([Values] bool homogeneous)
    {
        Compare<Half>(Small with { Homogeneous = homogeneous }, AttentionLayout.HeadsFirst);
        Compare<BFloat16>(Small with { Homogeneous = homogeneous }, AttentionLayout.TokensFirst);
    }

    [Test]
    public void Memory_is_that_of_the_shard_and_the_band()
    {
        var shape = new AttentionShape(1, 8, 1, 16) { KeyLength = 8192 };
        var options = new S2Options { BlockSize = 64, LocalBlocks = 4, VerticalStride = 8 };
        using var cache = new S2KeyValueCache<float>(shape, options);

        // 128 blocks: 16 of the shard and 4 of the band.
        Assert.That(cache.AllocatedElements, Is.EqualTo(2L * 8 * 20 * 64 * 16));
        float[] tokens = new float[8 * 1000 * 16];
        for (int n = 0; n < 8; ++n)
        {
            cache.Append(tokens, tokens);
        }

        Assert.That(cache.Length, Is.EqualTo(8000));
        Assert.That(cache.KeptTokens, Is.LessThanOrEqualTo(8 * 20 * 64));
        Assert.That(cache.KeptTokens, Is.GreaterThan(8 * 17 * 64));
        cache.Clear();
        Assert.That((cache.Length, cache.KeptTokens), Is.EqualTo((0L, 0L)));
        cache.Append(tokens, tokens);
        Assert.That(cache.Length, Is.EqualTo(1000));
    }

    [Test]
    public void An_empty_cache_gives_zeros()
    {
        using var cache = new S2KeyValueCache<float>(Shape, Small);
        float[] output = new float[2 * 4 * 8], lse = new float[8];
        output.AsSpan().Fill(7);
        cache.Decode(new float[2 * 4 * 16], output, lse);
        Assert.That(output, Is.All.Zero);
        Assert.That(lse, Is.All.EqualTo(float.NegativeInfinity));
    }

    [Test]
    public void Wrong_arguments_are_refused()
    {
        Assert.That(
            () => new S2KeyValueCache<float>(Shape, Small with { Causal = false }),
            Throws.ArgumentException.With.Message.StartsWith("Causal is false; a cache is for causal patterns."));
        Assert.That(
            () => new S2KeyValueCache<float>(Shape with { QueryLength = 2 }, Small),
            Throws.ArgumentException.With.Message.StartsWith("QueryLength is 2;"));
        Assert.That(
            () => new S2KeyValueCache<float>(Shape with { KeyHeads = 3, ValueHeads = 3 }, Small),
            Throws.ArgumentException.With.Message.StartsWith("QueryHeads is 4;"));
        Assert.That(
            () => new S2KeyValueCache<float>(Shape, Small with { BlockSize = 0 }), Throws.TypeOf<AttentionException>());
        using var cache = new S2KeyValueCache<float>(Shape, Small);
        Assert.That(
            () => cache.Append(new float[3], new float[3]),
            Throws.ArgumentException.With.Message.StartsWith("key has 3 and value 3 elements; a token has 64 and 32."));
        Assert.That(
            () => cache.Append(new float[51 * 64], new float[51 * 32]),
            Throws.ArgumentException.With.Message.StartsWith("51 tokens were given; the cache holds 0"));
        cache.Dispose();
        Assert.That(() => cache.Append([], []), Throws.TypeOf<ObjectDisposedException>());
    }

    private static void Compare<T>(S2Options options, AttentionLayout layout)
        where T : unmanaged
    {
        AttentionShape whole = Shape with { QueryLength = 50 };
        DenseCase problem = S2Truth.Problem<T>(whole, options);
        DenseResult expected = DenseTruth.Compute(problem);
        T[] query = Numbers.From<T>(problem.Query), key = Numbers.From<T>(problem.Key);
        T[] value = Numbers.From<T>(problem.Value), output = new T[2 * 4 * 8];
        float[] lse = new float[8];
        double tolerance = Expect.Tolerance<T>();
        using var cache = new S2KeyValueCache<T>(Shape with { Layout = layout }, options);
        foreach (int append in new[] { 1, 1, 7, 3, 1, 1, 1, 20, 1, 1, 1, 12 })
        {
            cache.Append(
                Tokens(key, 16, (int)cache.Length, append, layout),
                Tokens(value, 8, (int)cache.Length, append, layout));
            long row = cache.Length - 1;
            cache.Decode(Rows(query, 8, 50, 16, row), output, lse);
            Expect.Near("output", Numbers.ToDouble<T>(output), Rows(expected.Output, 8, 50, 8, row), tolerance);
            Expect.Near("lse", Numbers.ToDouble<float>(lse), Rows(expected.Lse, 8, 50, 1, row), tolerance);
        }

        Assert.That(cache.Length, Is.EqualTo(50));
    }

    /// <summary>Tokens [first, first + count) of [2, 2, 50, dim], in the layout.</summary>
    private static TElement[] Tokens<TElement>(
        TElement[] tensor, int dim, int first, int count, AttentionLayout layout)
    {
        var tokens = new TElement[4 * count * dim];
        for (int head = 0; head < 4; ++head)
        {
            for (int token = 0; token < count; ++token)
            {
                int row = layout == AttentionLayout.HeadsFirst
                    ? (head * count) + token
                    : (((head / 2 * count) + token) * 2) + (head % 2);
                Array.Copy(tensor, ((head * 50) + first + token) * dim, tokens, row * dim, dim);
            }
        }

        return tokens;
    }

    /// <summary>One row of each of some heads.</summary>
    private static TElement[] Rows<TElement>(TElement[] tensor, int heads, int length, int dim, long row)
    {
        var rows = new TElement[heads * dim];
        for (int head = 0; head < heads; ++head)
        {
            Array.Copy(tensor, ((head * length) + row) * dim, rows, head * dim, dim);
        }

        return rows;
    }
}
