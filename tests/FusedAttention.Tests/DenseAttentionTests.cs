// The one-call methods: same results as a plan, and the plans behind them.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class DenseAttentionTests
{
    [Test]
    public void One_call_gives_the_bits_of_a_plan()
    {
        DenseCase problem = DenseCase.Create<float>(
            new AttentionShape(2, 3, 21, 16), new DenseOptions { Causal = true });
        float[] output = new float[problem.Query.Length], lse = new float[126];
        DenseAttention.Forward<float>(
            problem.Query, problem.Key, problem.Value, output, problem.Shape, problem.Options, lse);
        DenseResult expected = problem.Forward<float>();
        Assert.That(Numbers.ToDouble<float>(output), Is.EqualTo(expected.Output));
        Assert.That(Numbers.ToDouble<float>(lse), Is.EqualTo(expected.Lse));
    }

    [Test]
    public void Equal_shapes_and_options_share_a_plan_and_others_do_not()
    {
        DenseAttentionPlan<float> first = Rent(new AttentionShape(1, 1, 31, 8), new DenseOptions { Scale = 2 });
        Assert.That(Rent(new AttentionShape(1, 1, 31, 8), new DenseOptions { Scale = 2 }), Is.SameAs(first));
        Assert.That(Rent(new AttentionShape(1, 1, 32, 8), new DenseOptions { Scale = 2 }), Is.Not.SameAs(first));
        Assert.That(Rent(new AttentionShape(1, 1, 31, 8), new DenseOptions { Scale = 3 }), Is.Not.SameAs(first));
        Assert.That(
            Rent(new AttentionShape(1, 1, 31, 8), new DenseOptions { Bias = new BiasOptions(), Scale = 2 }),
            Is.Not.SameAs(first));
    }

    [Test]
    public void The_plan_used_longest_ago_goes_first()
    {
        DenseAttentionPlan<float> kept = Rent(new AttentionShape(3, 1, 1, 8));
        DenseAttentionPlan<float> dropped = Rent(new AttentionShape(3, 1, 2, 8));
        for (int i = 0; i < PlanCache.Capacity - 1; ++i)
        {
            Rent(new AttentionShape(3, 1, 10 + i, 8));
            Assert.That(Rent(new AttentionShape(3, 1, 1, 8)), Is.SameAs(kept));
        }

        Assert.That(PlanCache.Count, Is.EqualTo(PlanCache.Capacity));
        Assert.That(() => dropped.Describe(), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void A_thread_that_repeats_its_problem_outlives_the_plan_that_others_pushed_out()
    {
        var shape = new AttentionShape(4, 1, 1, 8);
        var options = new DenseOptions();
        DenseAttentionPlan<float> first = Rent(shape, options);
        Assert.That(Rent(shape, options), Is.SameAs(first));
        var others = new Thread(() =>
        {
            for (int i = 0; i < PlanCache.Capacity; ++i)
            {
                Rent(new AttentionShape(4, 1, 10 + i, 8));
            }
        });
        others.Start();
        others.Join();
        DenseAttentionPlan<float> second = Rent(shape, options);
        Assert.That(second, Is.Not.SameAs(first));
        Assert.That(() => first.Describe(), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => second.Describe(), Throws.Nothing);
    }

    [Test]
    public void A_device_that_was_disposed_is_refused_although_its_plan_is_kept()
    {
        float[] data = new float[8];
        AttentionDevice device = AttentionDevice.Open(CpuTarget.Best);
        DenseAttention.Forward<float>(data, data, data, new float[8], new AttentionShape(1, 1, 1, 8), device: device);
        device.Dispose();
        Assert.That(
            () => DenseAttention.Forward<float>(
                data, data, data, new float[8], new AttentionShape(1, 1, 1, 8), device: device),
            Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void Element_types_have_plans_of_their_own()
    {
        var shape = new AttentionShape(1, 1, 5, 8);
        float[] data = [.. new float[40]];
        var halves = new Half[40];
        DenseAttention.Forward<float>(data, data, data, new float[40], shape);
        Assert.That(() => DenseAttention.Forward<Half>(halves, halves, halves, new Half[40], shape), Throws.Nothing);
    }

    private static DenseAttentionPlan<float> Rent(AttentionShape shape, DenseOptions? options = null)
    {
        DenseAttentionPlan<float> plan = PlanCache.Rent<DenseAttentionPlan<float>, AttentionShape, DenseOptions>(
            shape, options ?? new DenseOptions(), null, isBackward: false);
        plan.Handle.DangerousRelease();
        return plan;
    }
}
