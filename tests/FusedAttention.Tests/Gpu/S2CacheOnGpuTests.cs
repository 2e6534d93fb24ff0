// The S2 cache in device memory: what the cache in host memory gives, over spans and over device tensors, in whatever
// streams.
using System;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class S2CacheOnGpuTests : GpuTest
{
    private const int KeyDim = 16;
    private const int ValueDim = 8;
    private static readonly S2Options Options = new() { BlockSize = 4, LocalBlocks = 2, VerticalStride = 5 };

    private static readonly AttentionShape Shape = new(2, 4, 1, KeyDim)
    {
        KeyHeads = 2,
        ValueHeads = 2,
        KeyLength = 50,
        ValueHeadDim = ValueDim,
    };

    // The third append is longer than the band, so that pages are used twice in it.
    private static readonly int[] Appends = [1, 7, 20, 1, 1, 12];

    [Test]
    public void Spans_give_what_the_cpu_gives([Values] AttentionLayout layout)
    {
        AttentionShape shape = Shape with { Layout = layout };
        using var cache = new S2KeyValueCache<Half>(shape, Options, Device);
        using var cpu = new S2KeyValueCache<Half>(shape, Options);
        Assert.That(cache.AllocatedElements, Is.EqualTo(cpu.AllocatedElements));
        var random = new Random(4);
        foreach (int tokens in Appends)
        {
            Half[] key = Halves(random, tokens * 4 * KeyDim);
            Half[] value = Halves(random, tokens * 4 * ValueDim);
            Half[] query = Halves(random, 8 * KeyDim);
            cpu.Append(key, value);
            cache.Append(key, value);
            Assert.That((cache.Length, cache.KeptTokens), Is.EqualTo((cpu.Length, cpu.KeptTokens)));
            Half[] expected = new Half[8 * ValueDim], output = new Half[8 * ValueDim];
            float[] expectedLse = new float[8], lse = new float[8];
            cpu.Decode(query, expected, expectedLse);
            cache.Decode(query, output, lse);
            ExpectEqual(output, expected, lse, expectedLse);
        }
    }

    [Test]
    public void Device_tensors_are_appended_and_decoded_in_streams()
    {
        using var cache = new S2KeyValueCache<Half>(Shape, Options, Device);
        using var cpu = new S2KeyValueCache<Half>(Shape, Options);
        using DeviceMemory memory = new(Device);
        using CudaStream other = Device.CreateStream();
        var random = new Random(5);
        using IDisposable late = RunLate();
        Half[] expected = new Half[8 * ValueDim];
        float[] expectedLse = new float[8];
        DeviceBuffer<Half> output = memory.Make<Half>(8 * ValueDim);
        DeviceBuffer<float> lse = memory.Make<float>(8);
        foreach (int tokens in Appends)
        {
            Half[] key = Halves(random, tokens * 4 * KeyDim);
            Half[] value = Halves(random, tokens * 4 * ValueDim);
            Half[] query = Halves(random, 8 * KeyDim);
            cpu.Append(key, value);
            cpu.Decode(query, expected, expectedLse);

            // Nothing but the cache orders the two streams.
            cache.Append(memory.Copy(key), memory.Copy(value), memory.Stream);
            cache.Decode(memory.Copy(query), output, lse, other);
        }

        ExpectEqual(output.ToArray(other), expected, lse.ToArray(other), expectedLse);
    }

    [Test]
    public void A_cleared_cache_gives_zeros_and_begins_anew()
    {
        using var cache = new S2KeyValueCache<float>(Shape, Options, Device);
        float[] key = Numbers.Normal<float>(new Random(6), 4 * KeyDim), value = new float[4 * ValueDim];
        value.AsSpan().Fill(3);
        float[] query = new float[8 * KeyDim], output = new float[8 * ValueDim];
        cache.Append(key, value);
        cache.Decode(query, output);
        Assert.That(output, Is.All.EqualTo(3f));
        cache.Clear();
        cache.Decode(query, output);
        Assert.That(output, Is.All.Zero);
        cache.Append(key, value);
        cache.Decode(query, output);
        Assert.That(output, Is.All.EqualTo(3f));
    }

    [Test]
    public void Wrong_arguments_are_refused()
    {
        using var cache = new S2KeyValueCache<Half>(Shape, Options, Device);
        using var cpu = new S2KeyValueCache<Half>(Shape, Options);
        using DeviceMemory memory = new(Device);
        DeviceBuffer<Half> key = memory.Make<Half>(4 * KeyDim), value = memory.Make<Half>(4 * ValueDim);
        DeviceBuffer<float> wide = memory.Make<float>(4 * KeyDim);
        Assert.That(
            () => cpu.Append(key, value, memory.Stream),
            Throws.InvalidOperationException.With.Message.Contains("S2KeyValueCache.Append was given device tensors"));
        Assert.That(
            () => cpu.Decode(key, value, default, memory.Stream),
            Throws.InvalidOperationException.With.Message.Contains("S2KeyValueCache.Decode was given device tensors"));
        Assert.That(
            () => cache.Append(key, key, memory.Stream),
            Throws.ArgumentException.With.Message.StartsWith("key has 64 and value 64 elements;"));
        Assert.That(
            () => cache.Append(DeviceTensor<Half>.Float32(wide), value, memory.Stream),
            Throws.ArgumentException.With.Message.StartsWith("key has elements of type Float32"));
        Assert.That(
            () => cache.Decode(key, value, default, memory.Stream),
            Throws.ArgumentException.With.Message.StartsWith("query has 64 elements; the plan expects 128"));
        Assert.That(() => cache.Decode(new Half[3], new Half[8 * ValueDim]), Throws.ArgumentException);
        cache.Dispose();
        Assert.That(() => cache.Append(key, value, memory.Stream), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => cache.Append([], []), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void A_refused_append_leaves_the_cache_as_it_was()
    {
        using CudaDevice foreign = OpenOther(1);
        using CudaStream foreignStream = foreign.CreateStream();
        using var cache = new S2KeyValueCache<Half>(Shape, Options, Device);
        using var cpu = new S2KeyValueCache<Half>(Shape, Options);
        using DeviceMemory memory = new(Device);
        var random = new Random(8);
        Half[] output = new Half[8 * ValueDim], expected = new Half[8 * ValueDim];
        float[] lse = new float[8], expectedLse = new float[8];
        foreach (int tokens in Appends)
        {
            Half[] key = Halves(random, tokens * 4 * KeyDim);
            Half[] value = Halves(random, tokens * 4 * ValueDim);
            Half[] query = Halves(random, 8 * KeyDim);
            DeviceBuffer<Half> keys = memory.Copy(key), values = memory.Copy(value);
            using DeviceBuffer<Half> there = foreign.Allocate<Half>(key.Length);
            (long, long) before = (cache.Length, cache.KeptTokens);
            Assert.That(() => cache.Append(there, values, memory.Stream), Throws.TypeOf<AttentionException>());
            Assert.That(() => cache.Append(keys, values, foreignStream), Throws.TypeOf<AttentionException>());
            Assert.That((cache.Length, cache.KeptTokens), Is.EqualTo(before));

            cache.Append(keys, values, memory.Stream);
            cpu.Append(key, value);
            cache.Decode(query, output, lse);
            cpu.Decode(query, expected, expectedLse);
            ExpectEqual(output, expected, lse, expectedLse);
        }
    }

    /// <summary>New keys may stand where those of a block stood that only this append made unseen.</summary>
    [Test]
    public void Values_refused_alone_leave_an_empty_cache()
    {
        using CudaDevice foreign = OpenOther(1);
        using var cache = new S2KeyValueCache<Half>(Shape, Options, Device);
        using DeviceMemory memory = new(Device);
        using DeviceBuffer<Half> there = foreign.Allocate<Half>(4 * ValueDim);
        Half[] key = Halves(new Random(9), 4 * KeyDim);
        Half[] value = new Half[4 * ValueDim], output = new Half[8 * ValueDim];
        value.AsSpan().Fill((Half)5);
        cache.Append(key, value);
        Assert.That(
            () => cache.Append(memory.Copy(key), there, memory.Stream),
            Throws.TypeOf<AttentionException>().With.Message.Contains("in another context"));
        Assert.That((cache.Length, cache.KeptTokens), Is.EqualTo((0L, 0L)));
        cache.Append(key, value);
        cache.Decode(new Half[8 * KeyDim], output);
        Assert.That(output, Is.All.EqualTo((Half)5));
    }

    /// <summary>The memory of a cache and its tensors stay until the work that was queued is done.</summary>
    [Test]
    public void A_cache_may_go_while_work_is_in_flight()
    {
        using DeviceMemory memory = new(Device);
        Half[] key = Halves(new Random(7), 4 * KeyDim);
        Half[] value = new Half[4 * ValueDim];
        value.AsSpan().Fill((Half)2);
        DeviceBuffer<Half> output = memory.Make<Half>(8 * ValueDim);
        using (RunLate())
        {
            var cache = new S2KeyValueCache<Half>(Shape, Options, Device);
            cache.Append(memory.Copy(key), memory.Copy(value), memory.Stream);
            cache.Decode(memory.Copy(new Half[8 * KeyDim]), output, default, memory.Stream);
            cache.Dispose();
        }

        Assert.That(output.ToArray(memory.Stream), Is.All.EqualTo((Half)2));
    }

    private static Half[] Halves(Random random, int count) =>
        Numbers.From<Half>(Numbers.Normal<Half>(random, count));

    private static void ExpectEqual(Half[] output, Half[] expected, float[] lse, float[] expectedLse)
    {
        Expect.Near(
            "output", Numbers.ToDouble<Half>(output), Numbers.ToDouble<Half>(expected), Expect.Tolerance<Half>());
        Expect.Near(
            "lse", Numbers.ToDouble<float>(lse), Numbers.ToDouble<float>(expectedLse), Expect.Tolerance<Half>());
    }
}
