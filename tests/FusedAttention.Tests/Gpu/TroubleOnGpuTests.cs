// What every family and both caches promise on a GPU when many call at once, memory runs out or the device is lost.
using System;
using System.Linq;
using System.Threading.Tasks;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class TroubleOnGpuTests : GpuTest
{
    // One that no other fixture fills or loses.
    private const int DeviceIndex = 3;
    private static readonly AttentionShape CacheShape = AttentionShape.Decode(1, 2, 2, 64, 16);
    private static readonly S2Options Pattern = new() { BlockSize = 16, LocalBlocks = 2, VerticalStride = 2 };

    [TestCaseSource(typeof(FamilyPlan), nameof(FamilyPlan.Families))]
    public void Callers_of_one_plan_of_any_family_get_the_bits_of_one(string family)
    {
        using FamilyPlan plan = FamilyPlan.Make(family, Device);
        float[] expected = Run(plan);
        float[][] found = new float[4][];
        Parallel.For(0, found.Length, new ParallelOptions { MaxDegreeOfParallelism = found.Length }, caller =>
            found[caller] = Run(plan));
        Assert.That(found, Is.All.EqualTo(expected));
        Assert.That(expected, Has.Some.Not.Zero);
    }

    [TestCaseSource(typeof(FamilyPlan), nameof(FamilyPlan.Families))]
    public void A_run_without_memory_is_refused_and_works_once_there_is_some(string family)
    {
        using CudaDevice device = OpenOther(DeviceIndex);
        using FamilyPlan plan = FamilyPlan.Make(family, device);
        using (device.Allocate<byte>(device.GetMemoryInfo().Free))
        {
            var error = Assert.Throws<AttentionException>(() => Run(plan));
            Assert.That(error!.Status, Is.EqualTo(AttentionStatus.OutOfMemory), error.Message);
        }

        using FamilyPlan other = FamilyPlan.Make(family, Device);
        Assert.That(Run(plan), Is.EqualTo(Run(other)));
    }

    [Test]
    public void A_cache_without_memory_leaves_none_behind()
    {
        using CudaDevice device = OpenOther(DeviceIndex);
        long free = device.GetMemoryInfo().Free;
        AttentionShape wide = CacheShape with { KeyLength = free / sizeof(float) / 32 / 3 * 2 };
        Refused(() => new DenseKeyValueCache<float>(wide, null, device));
        Refused(() => new S2KeyValueCache<float>(wide, Pattern with { VerticalStride = 1 }, device));

        void Refused(Func<IDisposable> make)
        {
            var error = Assert.Throws<AttentionException>(() => make());
            Assert.That(error!.Status, Is.EqualTo(AttentionStatus.OutOfMemory), error.Message);
            Assert.That(device.GetMemoryInfo().Free, Is.EqualTo(free));
        }
    }

    [Test]
    public void An_append_without_memory_leaves_a_cache_as_it_was()
    {
        using CudaDevice device = OpenOther(DeviceIndex);
        using var cache = new DenseKeyValueCache<float>(CacheShape, null, device);
        using var sharded = new S2KeyValueCache<float>(CacheShape, Pattern, device);
        float[] ones = Enumerable.Repeat(1f, 2 * 20 * 16).ToArray(), output = new float[2 * 16];
        using (device.Allocate<byte>(device.GetMemoryInfo().Free))
        {
            Assert.That(() => cache.Append(ones, ones), Throws.TypeOf<AttentionException>());
            Assert.That(() => sharded.Append(ones, ones), Throws.TypeOf<AttentionException>());
            Assert.That((cache.GetLength(0), cache.FreePages, sharded.Length), Is.EqualTo((0L, 1L, 0L)));
        }

        cache.Append(ones, ones);
        cache.Decode(new float[2 * 16], output);
        Assert.That(output, Is.All.EqualTo(1f));
        sharded.Append(ones, ones);
        sharded.Decode(new float[2 * 16], output);
        Assert.That(output, Is.All.EqualTo(1f));
    }

    [TestCaseSource(typeof(FamilyPlan), nameof(FamilyPlan.Families))]
    public void A_lost_device_ends_every_call_and_no_dispose(string family)
    {
        CudaDevice lost = OpenOther(DeviceIndex);
        FamilyPlan plan = FamilyPlan.Make(family, lost);
        _ = Run(plan);
        Assert.That(CallDriver("cuDevicePrimaryCtxReset_v2", DeviceIndex), Is.Zero);
        Assert.That(() => Run(plan), Throws.TypeOf<AttentionException>());
        Assert.That(() => FamilyPlan.Make(family, lost), Throws.TypeOf<AttentionException>());
        Assert.That(plan.Dispose, Throws.Nothing);
        Assert.That(lost.Dispose, Throws.Nothing);
    }

    [Test]
    public void Caches_of_a_lost_device_end_every_call_and_no_dispose()
    {
        CudaDevice lost = OpenOther(DeviceIndex);
        var cache = new DenseKeyValueCache<float>(CacheShape, null, lost);
        var sharded = new S2KeyValueCache<float>(CacheShape, Pattern, lost);
        float[] token = new float[2 * 16];
        cache.Append(token, token);
        Assert.That(CallDriver("cuDevicePrimaryCtxReset_v2", DeviceIndex), Is.Zero);
        Assert.That(() => cache.Append(token, token), Throws.TypeOf<AttentionException>());
        Assert.That(() => cache.Decode(token, token), Throws.TypeOf<AttentionException>());
        Assert.That(() => sharded.Append(token, token), Throws.TypeOf<AttentionException>());
        Assert.That(() => sharded.Decode(token, token), Throws.TypeOf<AttentionException>());
        Assert.That((cache.GetLength(0), sharded.Length), Is.EqualTo((1L, 0L)));
        Assert.That(cache.Dispose, Throws.Nothing);
        Assert.That(sharded.Dispose, Throws.Nothing);
        Assert.That(lost.Dispose, Throws.Nothing);
    }

    private static float[] Run(FamilyPlan plan)
    {
        using FamilyPlan.Tensors tensors = new();
        plan.Forward(tensors);
        plan.Backward(tensors);
        return tensors.Results();
    }
}
