// Many callers at once, and any number of threads: always the bits of a single caller.
using System;
using System.Linq;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class ConcurrencyTests
{
    private const int Callers = 64;

    private static DenseCase[] MixedSizes() =>
    [
        DenseCase.Create<float>(new AttentionShape(1, 1, 1, 8), seed: 1),
        DenseCase.Create<float>(new AttentionShape(2, 4, 33, 24), new DenseOptions { Causal = true }, seed: 2),
        DenseCase.Create<float>(AttentionShape.Decode(1, 8, 2, 1300, 64), seed: 3),
        DenseCase.Create<float>(AttentionShape.Gqa(1, 8, 2, 300, 64), new DenseOptions { Causal = true }, seed: 4),
        DenseCase.Create<float>(new AttentionShape(1, 2, 100, 80), new DenseOptions { SoftCap = 3 }, seed: 5),
    ];

    [Test]
    public void Sixty_four_callers_of_mixed_sizes_get_the_bits_of_one()
    {
        DenseCase[] problems = MixedSizes();
        DenseAttentionPlan<float>[] plans = problems.Select(
            p => new DenseAttentionPlan<float>(p.Shape, p.Options)).ToArray();
        DenseResult[] expected = problems.Select((p, i) => p.Forward(plans[i])).ToArray();
        int[] wrong = new int[Callers];
        using var start = new Barrier(Callers);
        Thread[] threads = Enumerable.Range(0, Callers).Select(caller => new Thread(() =>
        {
            start.SignalAndWait();
            for (int round = 0; round < 6; ++round)
            {
                int which = (caller + round) % problems.Length;
                DenseResult found = problems[which].Forward(plans[which], maxThreads: round % 3);
                bool isSame = found.Output.AsSpan().SequenceEqual(expected[which].Output)
                    && found.Lse.AsSpan().SequenceEqual(expected[which].Lse);
                wrong[caller] += isSame ? 0 : 1;
            }
        })).ToArray();
        RunAll(threads);
        Assert.That(wrong, Is.All.Zero);
        foreach (DenseAttentionPlan<float> plan in plans)
        {
            plan.Dispose();
        }
    }

    [TestCaseSource(typeof(FamilyPlan), nameof(FamilyPlan.Families))]
    public void Callers_of_one_plan_of_any_family_get_the_bits_of_one(string family)
    {
        using FamilyPlan plan = FamilyPlan.Make(family);
        float[] expected = RunBoth(plan, maxThreads: 1);
        int[] wrong = new int[Callers];
        using var start = new Barrier(Callers);
        RunAll(Enumerable.Range(0, Callers).Select(caller => new Thread(() =>
        {
            start.SignalAndWait();
            for (int round = 0; round < 6; ++round)
            {
                wrong[caller] += RunBoth(plan, maxThreads: (caller + round) % 4).SequenceEqual(expected) ? 0 : 1;
            }
        })).ToArray());
        Assert.That(wrong, Is.All.Zero);
        Assert.That(expected, Has.Some.Not.EqualTo(0f));
    }

    [Test]
    public void The_number_of_threads_does_not_change_the_bits([Values(1, 2, 3, 7)] int threads)
    {
        foreach (DenseCase problem in MixedSizes())
        {
            Assert.That(
                problem.Forward<float>(maxThreads: threads).Output, Is.EqualTo(problem.Forward<float>().Output));
        }
    }

    [Test]
    public void Callers_of_more_problems_than_are_kept_all_get_their_result()
    {
        const int Threads = 8;
        int[] wrong = new int[Threads];
        Thread[] threads = Enumerable.Range(0, Threads).Select(caller => new Thread(() =>
        {
            for (int length = 1; length <= PlanCache.Capacity + 20; ++length)
            {
                float[] data = Enumerable.Repeat(1f, length).ToArray(), output = new float[length];
                DenseAttention.Forward<float>(data, data, data, output, new AttentionShape(1, 1, length, 1));
                wrong[caller] += output.All(x => Math.Abs(x - 1) < 1e-5) ? 0 : 1;
            }
        })).ToArray();
        RunAll(threads);
        Assert.That(wrong, Is.All.Zero);
        Assert.That(PlanCache.Count, Is.EqualTo(PlanCache.Capacity));
    }

    private static float[] RunBoth(FamilyPlan plan, int maxThreads)
    {
        using FamilyPlan.Tensors tensors = new() { MaxThreads = maxThreads };
        plan.Forward(tensors);
        plan.Backward(tensors);
        return tensors.Results();
    }

    private static void RunAll(Thread[] threads)
    {
        foreach (Thread thread in threads)
        {
            thread.Start();
        }

        foreach (Thread thread in threads)
        {
            thread.Join();
        }
    }
}
