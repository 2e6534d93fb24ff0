// Cancelling runs: before they start and while they are under way.
using System;
using System.Diagnostics;
using System.Threading;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
[NonParallelizable]
internal sealed class CancellationTests
{
    private const int Attempts = 10;
    private static readonly AttentionShape Long = new(1, 16, 4096, 128);

    [Test]
    public void A_cancelled_token_stops_the_run_before_it_starts()
    {
        DenseCase problem = DenseCase.Create<float>(new AttentionShape(1, 1, 4, 4));
        float[] output = new float[16];
        Array.Fill(output, 3);
        using var plan = new DenseAttentionPlan<float>(problem.Shape);
        var error = Assert.Throws<OperationCanceledException>(() => plan.Forward(
            problem.Query, problem.Key, problem.Value, output, default, new CancellationToken(canceled: true)));
        Assert.That(error!.CancellationToken.IsCancellationRequested);
        Assert.That(output, Is.All.EqualTo(3));
    }

    [Test]
    public void A_token_that_is_not_cancelled_changes_nothing()
    {
        DenseCase problem = DenseCase.Create<float>(new AttentionShape(1, 2, 30, 16));
        using var source = new CancellationTokenSource();
        using var plan = new DenseAttentionPlan<float>(problem.Shape);
        float[] output = new float[problem.Query.Length];
        plan.Forward(problem.Query, problem.Key, problem.Value, output, default, source.Token);
        Assert.That(Numbers.ToDouble<float>(output), Is.EqualTo(problem.Forward<float>(plan).Output));
    }

    // The delay is that of the library plus that of a busy machine, which may look away at any time: the smallest of
    // several is the library's.
    [Test]
    public void A_run_under_way_ends_within_ten_milliseconds()
    {
        DenseCase problem = DenseCase.Create<float>(Long);
        using var plan = new DenseAttentionPlan<float>(Long);
        float[] output = new float[problem.Query.Length];
        double best = double.PositiveInfinity;
        for (int attempt = 0; attempt < Attempts && best > 10; ++attempt)
        {
            using var source = new CancellationTokenSource();
            using var started = new ManualResetEventSlim();
            long cancelledAt = 0;
            var canceller = new Thread(() =>
            {
                started.Wait();
                Thread.Sleep(15);
                Volatile.Write(ref cancelledAt, Stopwatch.GetTimestamp());
                source.Cancel();
            });
            canceller.Start();
            started.Set();
            Assert.That(
                () => plan.Forward(problem.Query, problem.Key, problem.Value, output, default, source.Token),
                Throws.InstanceOf<OperationCanceledException>());
            TimeSpan delay = Stopwatch.GetElapsedTime(Volatile.Read(ref cancelledAt));
            canceller.Join();
            best = Math.Min(best, delay.TotalMilliseconds);
        }

        Assert.That(best, Is.LessThanOrEqualTo(10));
    }

    [Test]
    public void A_backward_run_under_way_is_cancelled()
    {
        DenseCase problem = DenseCase.Create<float>(Long);
        using var plan = new DenseAttentionPlan<float>(Long, new DenseOptions { Backward = true });
        using var source = new CancellationTokenSource(TimeSpan.FromMilliseconds(15));
        float[] output = new float[problem.Query.Length], gradQuery = new float[problem.Query.Length];
        float[] lse = new float[problem.GradLse.Length];
        Assert.That(
            () => plan.Backward(
                new DenseBackwardArguments<float>
                {
                    Query = problem.Query,
                    Key = problem.Key,
                    Value = problem.Value,
                    Output = output,
                    Lse = lse,
                    GradOutput = problem.GradOutput,
                    GradQuery = gradQuery,
                },
                source.Token),
            Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public void Cancelling_one_run_leaves_the_others_alone()
    {
        DenseCase small = DenseCase.Create<float>(new AttentionShape(1, 2, 64, 32));
        double[] expected = small.Forward<float>().Output;
        DenseCase problem = DenseCase.Create<float>(Long);
        using var source = new CancellationTokenSource();
        using var plan = new DenseAttentionPlan<float>(Long);
        Exception? end = null;
        var cancelled = new Thread(() =>
        {
            float[] output = new float[problem.Query.Length];
            try
            {
                while (true)
                {
                    plan.Forward(problem.Query, problem.Key, problem.Value, output, default, source.Token);
                }
            }
            catch (OperationCanceledException error)
            {
                end = error;
            }
        });
        cancelled.Start();
        for (int i = 0; i < 200; ++i)
        {
            if (i == 100)
            {
                source.Cancel();
            }

            Assert.That(small.Forward<float>().Output, Is.EqualTo(expected));
        }

        cancelled.Join();
        Assert.That(end, Is.Not.Null);
    }
}
