// The dense cache in device memory: the truth over the tokens there are, through spans and through device tensors, in
// whatever streams.
using System;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class DenseCacheOnGpuTests : GpuTest
{
    [Test]
    public void Spans_are_appended_and_decoded([Values] AttentionLayout layout)
    {
        var problem = new CacheCase<Half>(layout);
        using var cache = new DenseKeyValueCache<Half>(problem.Shape, CacheCase<Half>.Options, Device);
        int[] lengths = [0, 0, 0];
        Half[] output = new Half[CacheCase<Half>.OutputLength];
        float[] lse = new float[CacheCase<Half>.LseLength];
        foreach ((int sequence, int tokens) in CacheCase<Half>.Appends)
        {
            Half[] keys = problem.Keys(sequence, tokens, lengths), values = problem.Values(sequence, tokens, lengths);
            if (sequence < 0)
            {
                cache.Append(keys, values);
            }
            else
            {
                cache.Append(sequence, keys, values);
            }

            CacheCase<Half>.Grow(lengths, sequence, tokens);
            cache.Decode(problem.Query, output, lse);
            problem.Check(output, lse, lengths);
        }
    }

    [Test]
    public void Device_tensors_are_appended_and_decoded_in_streams([Values] AttentionLayout layout)
    {
        var problem = new CacheCase<BFloat16>(layout);
        using var cache = new DenseKeyValueCache<BFloat16>(problem.Shape, CacheCase<BFloat16>.Options, Device);
        using DeviceMemory memory = new(Device);
        using CudaStream other = Device.CreateStream();
        int[] lengths = [0, 0, 0];
        DeviceBuffer<BFloat16> query = memory.Copy(problem.Query);
        DeviceBuffer<BFloat16> output = memory.Make<BFloat16>(CacheCase<BFloat16>.OutputLength);
        DeviceBuffer<float> lse = memory.Make<float>(CacheCase<BFloat16>.LseLength);
        using IDisposable late = RunLate();
        foreach ((int sequence, int tokens) in CacheCase<BFloat16>.Appends)
        {
            DeviceBuffer<BFloat16> keys = memory.Copy(problem.Keys(sequence, tokens, lengths));
            DeviceBuffer<BFloat16> values = memory.Copy(problem.Values(sequence, tokens, lengths));

            // Nothing but the cache orders the two streams.
            if (sequence < 0)
            {
                cache.Append(keys, values, memory.Stream);
            }
            else
            {
                cache.Append(sequence, keys, values, memory.Stream);
            }

            CacheCase<BFloat16>.Grow(lengths, sequence, tokens);
            cache.Decode(query, output, lse, other);
        }

        problem.Check(output.ToArray(other), lse.ToArray(other), lengths);
    }

    /// <summary>A page goes to another sequence while the decode that reads it is in flight.</summary>
    [Test]
    public void Pages_change_hands_behind_the_work_that_reads_them()
    {
        var problem = new CacheCase<Half>(AttentionLayout.HeadsFirst);
        using var cache = new DenseKeyValueCache<Half>(problem.Shape, CacheCase<Half>.Options, Device);
        using DeviceMemory memory = new(Device);
        using CudaStream other = Device.CreateStream();
        int[] before = [4, 4, 4], after = [0, 4, 12];
        DeviceBuffer<Half> query = memory.Copy(problem.Query);
        DeviceBuffer<Half> first = memory.Make<Half>(CacheCase<Half>.OutputLength);
        DeviceBuffer<Half> second = memory.Make<Half>(CacheCase<Half>.OutputLength);
        DeviceBuffer<float> firstLse = memory.Make<float>(CacheCase<Half>.LseLength);
        DeviceBuffer<float> secondLse = memory.Make<float>(CacheCase<Half>.LseLength);
        using (RunLate())
        {
            cache.Append(
                memory.Copy(problem.Keys(-1, 4, [0, 0, 0])), memory.Copy(problem.Values(-1, 4, [0, 0, 0])), other);
            cache.Decode(query, first, firstLse, other);
            cache.Truncate(0, 0);
            cache.Append(
                2, memory.Copy(problem.Keys(2, 8, before)), memory.Copy(problem.Values(2, 8, before)), memory.Stream);
            cache.Decode(query, second, secondLse, memory.Stream);
        }

        problem.Check(first.ToArray(other), firstLse.ToArray(other), before);
        problem.Check(second.ToArray(memory.Stream), secondLse.ToArray(memory.Stream), after);
    }

    [Test]
    public void Wrong_arguments_are_refused_and_change_nothing()
    {
        var problem = new CacheCase<Half>(AttentionLayout.HeadsFirst);
        using var cpu = new DenseKeyValueCache<Half>(problem.Shape, CacheCase<Half>.Options);
        var cache = new DenseKeyValueCache<Half>(problem.Shape, CacheCase<Half>.Options, Device);
        using DeviceMemory memory = new(Device);
        DeviceBuffer<Half> key = memory.Make<Half>(3 * 32), value = memory.Make<Half>(3 * 16);
        DeviceBuffer<float> wide = memory.Make<float>(3 * 32);
        Assert.That(
            () => cpu.Append(key, value, memory.Stream),
            Throws.InvalidOperationException.With.Message.StartsWith(
                "DenseKeyValueCache.Append was given device tensors"));
        Assert.That(
            () => cpu.Decode(key, value, default, memory.Stream),
            Throws.InvalidOperationException.With.Message.StartsWith(
                "DenseKeyValueCache.Decode was given device tensors"));
        Assert.That(
            () => cache.Append(key, key, memory.Stream),
            Throws.ArgumentException.With.Message.StartsWith("key has 96 and value 96 elements;"));
        Assert.That(
            () => cache.Append(DeviceTensor<Half>.Float32(wide), value, memory.Stream),
            Throws.ArgumentException.With.Message.StartsWith("key has elements of type Float32"));
        Assert.That(
            () => cache.Decode(key, value, default, memory.Stream),
            Throws.ArgumentException.With.Message.StartsWith("query has 96 elements;"));
        Assert.That(() => cache.Append(key, value, null!), Throws.ArgumentNullException);
        Assert.That(cache.FreePages, Is.EqualTo(12));
        cache.Dispose();
        Assert.That(() => cache.Append(key, value, memory.Stream), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => cache.Append([], []), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void Tensors_and_streams_of_another_device_leave_the_cache_as_it_was()
    {
        using CudaDevice foreign = OpenOther(1);
        using CudaStream foreignStream = foreign.CreateStream();
        var problem = new CacheCase<Half>(AttentionLayout.HeadsFirst);
        using var cache = new DenseKeyValueCache<Half>(problem.Shape, CacheCase<Half>.Options, Device);
        using DeviceMemory memory = new(Device);
        int[] lengths = [0, 0, 0];
        Half[] output = new Half[CacheCase<Half>.OutputLength];
        float[] lse = new float[CacheCase<Half>.LseLength];
        for (int round = 0; round < 3; ++round)
        {
            Half[] key = problem.Keys(-1, 3, lengths), value = problem.Values(-1, 3, lengths);
            DeviceBuffer<Half> keys = memory.Copy(key), values = memory.Copy(value);
            using DeviceBuffer<Half> there = foreign.Allocate<Half>(key.Length);
            using DeviceBuffer<Half> valuesThere = foreign.Allocate<Half>(value.Length);
            long free = cache.FreePages;
            Assert.That(() => cache.Append(there, values, memory.Stream), Throws.TypeOf<AttentionException>());
            Assert.That(() => cache.Append(keys, valuesThere, memory.Stream), Throws.TypeOf<AttentionException>());
            Assert.That(() => cache.Append(keys, values, foreignStream), Throws.TypeOf<AttentionException>());
            Assert.That((cache.FreePages, cache.GetLength(0)), Is.EqualTo((free, (long)lengths[0])));
            cache.Append(keys, values, memory.Stream);
            CacheCase<Half>.Grow(lengths, -1, 3);
            cache.Decode(problem.Query, output, lse);
            problem.Check(output, lse, lengths);
        }
    }

    /// <summary>The memory of a cache and its tensors stay until the work that was queued is done.</summary>
    [Test]
    public void A_cache_may_go_while_work_is_in_flight()
    {
        var problem = new CacheCase<Half>(AttentionLayout.HeadsFirst);
        using DeviceMemory memory = new(Device);
        DeviceBuffer<Half> output = memory.Make<Half>(CacheCase<Half>.OutputLength);
        DeviceBuffer<float> lse = memory.Make<float>(CacheCase<Half>.LseLength);
        using (RunLate())
        {
            var cache = new DenseKeyValueCache<Half>(problem.Shape, CacheCase<Half>.Options, Device);
            cache.Append(
                memory.Copy(problem.Keys(-1, 5, [0, 0, 0])), memory.Copy(problem.Values(-1, 5, [0, 0, 0])),
                memory.Stream);
            cache.Decode(memory.Copy(problem.Query), output, lse, memory.Stream);
            cache.Dispose();
        }

        problem.Check(output.ToArray(memory.Stream), lse.ToArray(memory.Stream), [5, 5, 5]);
    }
}
