// The dense cache: whatever way its sequences grew, each decodes like dense attention over the tokens it has.
using System;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class DenseKeyValueCacheTests
{
    [Test]
    public void Decode_is_dense_attention_over_the_tokens_there_are([Values] AttentionLayout layout)
    {
        Grow<float>(layout);
        Grow<Half>(layout);
        Grow<BFloat16>(layout);
    }

    [Test]
    public void Tokens_of_a_rejected_draft_leave_nothing_behind([Values] AttentionLayout layout)
    {
        var problem = new CacheCase<float>(layout);
        using var cache = new DenseKeyValueCache<float>(problem.Shape, CacheCase<float>.Options);
        int[] lengths = [0, 0, 0];
        foreach ((int sequence, int tokens) in CacheCase<float>.Appends)
        {
            // Drafts of other numbers, over the end of a page too.
            for (int n = 0; n < CacheCase<float>.Sequences; ++n)
            {
                float[] draft = new float[4 * CacheCase<float>.KeyHeads * CacheCase<float>.KeyDim];
                draft.AsSpan().Fill(float.NaN);
                cache.Append(n, draft, draft.AsSpan(0, draft.Length / 2));
                cache.Truncate(n, lengths[n]);
            }

            AppendBoth(cache, problem, sequence, tokens, lengths);
            Decode(cache, problem, lengths);
        }
    }

    [Test]
    public void Pages_of_ended_sequences_serve_others()
    {
        var problem = new CacheCase<float>(AttentionLayout.HeadsFirst);
        using var cache = new DenseKeyValueCache<float>(problem.Shape, CacheCase<float>.Options);
        int[] lengths = [0, 0, 0];
        Assert.That((cache.Sequences, cache.Capacity, cache.FreePages), Is.EqualTo((3L, 24L, 12L)));
        Assert.That(cache.AllocatedElements, Is.EqualTo(12L * 4 * 2 * (16 + 8)));
        AppendBoth(cache, problem, 0, 24, lengths);
        AppendBoth(cache, problem, 1, 21, lengths);
        Assert.That(cache.FreePages, Is.Zero);
        Assert.That(
            () => AppendBoth(cache, problem, 2, 1, [0, 0, 0]),
            Throws.InvalidOperationException.With.Message.StartsWith(
                "DenseKeyValueCache.Append needs 1 pages more, of 4 tokens; 0 of 12 are free."));

        // The last page of sequence 1 has room.
        AppendBoth(cache, problem, 1, 3, lengths);
        cache.Truncate(0, 9);
        lengths[0] = 9;
        Assert.That(cache.FreePages, Is.EqualTo(3));
        AppendBoth(cache, problem, 2, 12, lengths);
        Decode(cache, problem, lengths);
        cache.Clear();
        Assert.That((cache.FreePages, cache.GetLength(0), cache.GetLength(2)), Is.EqualTo((12L, 0L, 0L)));
    }

    [Test]
    public void An_empty_sequence_gives_zeros()
    {
        var problem = new CacheCase<float>(AttentionLayout.HeadsFirst);
        using var cache = new DenseKeyValueCache<float>(problem.Shape, CacheCase<float>.Options);
        float[] output = new float[CacheCase<float>.OutputLength], lse = new float[CacheCase<float>.LseLength];
        output.AsSpan().Fill(7);
        cache.Decode(problem.Query, output, lse);
        Assert.That(output, Is.All.Zero);
        Assert.That(lse, Is.All.EqualTo(float.NegativeInfinity));
    }

    [Test]
    public void Without_paging_there_are_pages_for_all()
    {
        using var cache = new DenseKeyValueCache<Half>(AttentionShape.Decode(2, 4, 2, 130, 32));
        Assert.That((cache.FreePages, cache.Capacity), Is.EqualTo((6L, 130L)));
        Assert.That(cache.Options.Paging, Is.EqualTo(new PagingOptions(6, 64, 3)));
        cache.Append(new Half[2 * 2 * 130 * 32], new Half[2 * 2 * 130 * 32]);
        Assert.That(cache.FreePages, Is.Zero);
        Assert.That(
            () => cache.Append(1, new Half[64], new Half[64]),
            Throws.ArgumentException.With.Message.StartsWith(
                "1 tokens were given; sequence 1 holds 130 and has room for 0 more."));
    }

    [Test]
    public void Wrong_shapes_and_options_are_refused()
    {
        AttentionShape shape = new CacheCase<float>(AttentionLayout.HeadsFirst).Shape;
        DenseOptions options = CacheCase<float>.Options;
        RefusedShape(shape with { ValueHeads = 4 }, "ValueHeads is 4; it must be KeyHeads, 2.");
        RefusedShape(shape with { Batch = 0 }, "Batch is 0,");
        RefusedShape(shape with { QueryStrides = new TensorStrides(1, 1, 1) }, "Strides were given;");
        RefusedShape(shape with { KeyLength = 23 }, "KeyLength is 23;");
        Refused(options with { Bias = new BiasOptions() }, "Bias is set;");
        Refused(options with { Mask = new MaskOptions() }, "Mask is set;");
        Refused(options with { Alibi = true }, "Alibi is set;");
        Refused(options with { Sinks = true }, "Sinks is set;");
        Refused(options with { Packed = new PackedOptions(2, 2, 24) }, "Packed is set;");
        Refused(options with { Dropout = 0.5f }, "Dropout is set;");
        Refused(options with { Backward = true }, "Backward is set;");
        Refused(options with { Paging = new PagingOptions(1L << 30, 4, 6) }, "PagingOptions { Pages = 1073741824,");

        void RefusedShape(AttentionShape given, string message) => Assert.That(
            () => new DenseKeyValueCache<float>(given, options),
            Throws.ArgumentException.With.Message.StartsWith(message));

        void Refused(DenseOptions given, string message) => Assert.That(
            () => new DenseKeyValueCache<float>(shape, given),
            Throws.ArgumentException.With.Message.StartsWith(message));
    }

    [Test]
    public void Wrong_calls_are_refused_and_change_nothing()
    {
        var problem = new CacheCase<float>(AttentionLayout.HeadsFirst);
        var cache = new DenseKeyValueCache<float>(problem.Shape, CacheCase<float>.Options);
        cache.Append(1, new float[3 * 32], new float[3 * 16]);
        Assert.That(
            () => cache.Append(new float[3], new float[3]),
            Throws.ArgumentException.With.Message.StartsWith("key has 3 and value 3 elements; a token has 96 and 48."));
        Assert.That(
            () => cache.Append(1, new float[22 * 32], new float[22 * 16]),
            Throws.ArgumentException.With.Message.StartsWith(
                "22 tokens were given; sequence 1 holds 3 and has room for 21 more."));
        Assert.That(() => cache.Append(3, [], []), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => cache.GetLength(-1), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => cache.Truncate(1, 4), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => cache.Truncate(1, -1), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => cache.Decode(new float[3], new float[3]), Throws.ArgumentException);
        Assert.That((cache.GetLength(0), cache.GetLength(1), cache.FreePages), Is.EqualTo((0L, 3L, 11L)));
        cache.Dispose();
        cache.Dispose();
        Assert.That(() => cache.Append([], []), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => cache.Decode(new float[3], new float[3]), Throws.TypeOf<ObjectDisposedException>());
    }

    private static void Grow<T>(AttentionLayout layout)
        where T : unmanaged
    {
        var problem = new CacheCase<T>(layout);
        using var cache = new DenseKeyValueCache<T>(problem.Shape, CacheCase<T>.Options);
        int[] lengths = [0, 0, 0];
        foreach ((int sequence, int tokens) in CacheCase<T>.Appends)
        {
            AppendBoth(cache, problem, sequence, tokens, lengths);
            Decode(cache, problem, lengths);
        }
    }

    private static void AppendBoth<T>(
        DenseKeyValueCache<T> cache, CacheCase<T> problem, int sequence, int tokens, int[] lengths)
        where T : unmanaged
    {
        T[] keys = problem.Keys(sequence, tokens, lengths), values = problem.Values(sequence, tokens, lengths);
        if (sequence < 0)
        {
            cache.Append(keys, values);
        }
        else
        {
            cache.Append(sequence, keys, values);
        }

        CacheCase<T>.Grow(lengths, sequence, tokens);
    }

    private static void Decode<T>(DenseKeyValueCache<T> cache, CacheCase<T> problem, int[] lengths)
        where T : unmanaged
    {
        var output = new T[CacheCase<T>.OutputLength];
        float[] lse = new float[CacheCase<T>.LseLength];
        cache.Decode(problem.Query, output, lse);
        problem.Check(output, lse, lengths);
    }
}
