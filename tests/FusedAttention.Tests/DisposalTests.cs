// Lifetime: any order of disposal, use after it, disposal while a run is under way, and none at all.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class DisposalTests
{
    private static readonly AttentionShape Shape = new(1, 2, 20, 16);

    public static IEnumerable<TestCaseData> Orders() =>
        from family in FamilyPlan.Families
        from a in Enumerable.Range(0, 3)
        from b in Enumerable.Range(0, 3)
        where b != a
        select new TestCaseData(family, a, b, 3 - a - b);

    [TestCaseSource(nameof(Orders))]
    public void Device_plan_and_memory_may_go_in_any_order(string family, int first, int second, int third)
    {
        AttentionDevice device = AttentionDevice.Open(CpuTarget.Best);
        FamilyPlan plan = FamilyPlan.Make(family, device);
        FamilyPlan.Tensors tensors = new();
        plan.Forward(tensors);
        plan.Backward(tensors);
        IDisposable[] all = [device, plan, tensors];
        all[first].Dispose();
        all[second].Dispose();
        all[third].Dispose();
        foreach (IDisposable one in all)
        {
            Assert.That(one.Dispose, Throws.Nothing);
        }
    }

    [Test]
    public void A_plan_outlives_its_device()
    {
        DenseCase problem = DenseCase.Create<float>(Shape);
        AttentionDevice device = AttentionDevice.Open(CpuTarget.Best);
        using var plan = new DenseAttentionPlan<float>(Shape, null, device);
        device.Dispose();
        Expect.Same<float>(problem.Forward(plan), DenseTruth.Compute(problem));
    }

    [TestCaseSource(typeof(FamilyPlan), nameof(FamilyPlan.Families))]
    public void A_disposed_plan_throws(string family)
    {
        using FamilyPlan.Tensors tensors = new();
        FamilyPlan disposed = FamilyPlan.Make(family);
        disposed.Dispose();
        AttentionPlan plan = disposed.Plan;
        Assert.That(() => disposed.Forward(tensors), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => disposed.Backward(tensors), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(plan.Describe, Throws.TypeOf<ObjectDisposedException>());
        Assert.That(plan.GetScheduleStats, Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => plan.GetTileMap(), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => plan.GetWorkspaceBytes(AttentionPass.Forward), Throws.TypeOf<ObjectDisposedException>());
    }

    [TestCaseSource(typeof(FamilyPlan), nameof(FamilyPlan.Families))]
    public void Memory_disposed_before_the_run_throws(string family)
    {
        using FamilyPlan plan = FamilyPlan.Make(family);
        FamilyPlan.Tensors tensors = new();
        tensors.Dispose();
        Assert.That(() => plan.Forward(tensors), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => plan.Backward(tensors), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void Plan_and_memory_disposed_during_a_run_live_until_it_ends()
    {
        var shape = new AttentionShape(1, 8, 1024, 64);
        DenseCase problem = DenseCase.Create<float>(shape);
        double[] expected = problem.Forward<float>().Output;
        for (int attempt = 0; attempt < 5; ++attempt)
        {
            var plan = new DenseAttentionPlan<float>(shape);
            HostTensor<float> query = new([1, 8, 1024, 64]);
            problem.Query.CopyTo(query.AsSpan());
            float[] output = new float[problem.Query.Length];
            using var entered = new ManualResetEventSlim();
            Task<bool> run = Task.Run(() =>
            {
                entered.Set();
                try
                {
                    plan.Forward(query, problem.Key, problem.Value, output);
                    return true;
                }
                catch (ObjectDisposedException)
                {
                    return false; // disposed before the run took hold of plan and memory
                }
            });
            entered.Wait();
            Thread.Sleep(attempt);
            plan.Dispose();
            query.Dispose();
            if (run.Result)
            {
                Assert.That(Numbers.ToDouble<float>(output), Is.EqualTo(expected));
            }
        }
    }

    [Test]
    public void What_nobody_disposes_is_collected()
    {
        List<WeakReference> forgotten = Forget();
        for (int i = 0; i < 10 && forgotten.Any(r => r.IsAlive); ++i)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        Assert.That(forgotten.Select(r => r.IsAlive), Is.All.False);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static List<WeakReference> Forget()
    {
        AttentionDevice device = AttentionDevice.Open(CpuTarget.Best);
        var plan = new DenseAttentionPlan<float>(Shape, null, device);
        HostTensor<float> tensor = new([1, 2, 20, 16]);
        plan.Forward(tensor, tensor, tensor, new float[640]);
        return
        [
            new WeakReference(device.Handle), new WeakReference(plan.Handle), new WeakReference(tensor.Buffer.Owner),
        ];
    }
}
