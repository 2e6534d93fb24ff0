// Cancelling runs of every family: before they start and while they are under way.
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

    private delegate void Run(CancellationToken token);

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

    [Test]
    public void Dense_runs_under_way_end_within_ten_milliseconds([Values] AttentionPass pass)
    {
        var data = new Data(Long);
        using var plan = new DenseAttentionPlan<float>(Long, new DenseOptions { Backward = true });
        ExpectSoon(pass == AttentionPass.Forward
            ? token => plan.Forward(data.Rows, data.Rows, data.Rows, data.Output, data.Lse, token)
            : token => plan.Backward(
                new DenseBackwardArguments<float>
                {
                    Query = data.Rows, Key = data.Rows, Value = data.Rows, Output = data.Rows, Lse = data.Lse,
                    GradOutput = data.Rows, GradQuery = data.Output, GradKey = data.GradKey, GradValue = data.GradValue,
                },
                token));
    }

    [Test]
    public void Neighborhood_runs_under_way_end_within_ten_milliseconds([Values] AttentionPass pass)
    {
        var options = new NeighborhoodOptions(new NeighborhoodAxis(64, 31), new NeighborhoodAxis(128, 63))
        {
            Backward = true,
        };
        AttentionShape shape = new(1, 16, 8192, 64);
        var data = new Data(shape);
        using var plan = new NeighborhoodAttentionPlan<float>(shape, options);
        ExpectSoon(pass == AttentionPass.Forward
            ? token => plan.Forward(data.Rows, data.Rows, data.Rows, data.Output, data.Lse, token)
            : token => plan.Backward(
                new NeighborhoodBackwardArguments<float>
                {
                    Query = data.Rows, Key = data.Rows, Value = data.Rows, Output = data.Rows, Lse = data.Lse,
                    GradOutput = data.Rows, GradQuery = data.Output, GradKey = data.GradKey, GradValue = data.GradValue,
                },
                token));
    }

    [Test]
    public void S2_runs_under_way_end_within_ten_milliseconds([Values] AttentionPass pass)
    {
        var options = new S2Options { BlockSize = 64, LocalBlocks = 32, VerticalStride = 4, Backward = true };
        var data = new Data(Long);
        using var plan = new S2AttentionPlan<float>(Long, options);
        ExpectSoon(pass == AttentionPass.Forward
            ? token => plan.Forward(data.Rows, data.Rows, data.Rows, data.Output, data.Lse, token)
            : token => plan.Backward(
                new S2BackwardArguments<float>
                {
                    Query = data.Rows, Key = data.Rows, Value = data.Rows, Output = data.Rows, Lse = data.Lse,
                    GradOutput = data.Rows, GradQuery = data.Output, GradKey = data.GradKey, GradValue = data.GradValue,
                },
                token));
    }

    // Without a selection every allowed block is kept.
    [Test]
    public void Permuted_block_runs_under_way_end_within_ten_milliseconds([Values] AttentionPass pass)
    {
        var data = new Data(Long);
        using var plan = new PermutedBlockAttentionPlan<float>(Long, new PermutedBlockOptions { Backward = true });
        ExpectSoon(pass == AttentionPass.Forward
            ? token => plan.Forward(
                data.Rows, data.Rows, data.Rows, data.Output, lse: data.Lse, cancellationToken: token)
            : token => plan.Backward(
                new PermutedBlockBackwardArguments<float>
                {
                    Query = data.Rows, Key = data.Rows, Value = data.Rows, Output = data.Rows, Lse = data.Lse,
                    GradOutput = data.Rows, GradQuery = data.Output, GradKey = data.GradKey, GradValue = data.GradValue,
                },
                token));
    }

    [Test]
    public void Lightning_runs_under_way_end_within_ten_milliseconds([Values] AttentionPass pass)
    {
        AttentionShape shape = new(1, 16, 8192, 128);
        var data = new Data(shape);
        float[] slopes = LightningSlopes.OpenNlpLab(16);
        using var plan = new LightningAttentionPlan<float>(shape, new LightningOptions { Backward = true });
        ExpectSoon(pass == AttentionPass.Forward
            ? token => plan.Forward(data.Rows, data.Rows, data.Rows, slopes, data.Output, default, token)
            : token => plan.Backward(
                new LightningBackwardArguments<float>
                {
                    Query = data.Rows, Key = data.Rows, Value = data.Rows, Slopes = slopes, GradOutput = data.Rows,
                    GradQuery = data.Output, GradKey = data.GradKey, GradValue = data.GradValue,
                },
                token));
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

    // The delay is that of the library plus that of a busy machine, which may look away at any time: the smallest of
    // several is the library's. Attempts whose token was cancelled before native code ran say nothing.
    private static void ExpectSoon(Run run)
    {
        double best = double.PositiveInfinity;
        for (int attempt = 0; attempt < Attempts && best > 10; ++attempt)
        {
            using var source = new CancellationTokenSource();
            using var started = new ManualResetEventSlim();
            long cancelledAt = 0;
            var canceller = new Thread(() =>
            {
                started.Wait();
                Thread.Sleep(5);
                Volatile.Write(ref cancelledAt, Stopwatch.GetTimestamp());
                source.Cancel();
            });
            canceller.Start();
            started.Set();
            var error = Assert.Throws<OperationCanceledException>(() => run(source.Token));
            TimeSpan delay = Stopwatch.GetElapsedTime(Volatile.Read(ref cancelledAt));
            canceller.Join();
            if (error!.Message.EndsWith("was cancelled; its outputs are undefined.", StringComparison.Ordinal))
            {
                best = Math.Min(best, delay.TotalMilliseconds);
            }
        }

        Assert.That(best, Is.LessThanOrEqualTo(10));
    }

    /// <summary>Zeros of one shape, which serve as any tensor of it.</summary>
    private sealed class Data(AttentionShape shape)
    {
        public float[] Rows { get; } = new float[shape.QueryHeads * shape.QueryLength * shape.HeadDim];

        public float[] Lse { get; } = new float[shape.QueryHeads * shape.QueryLength];

        public float[] Output { get; } = new float[shape.QueryHeads * shape.QueryLength * shape.HeadDim];

        public float[] GradKey { get; } = new float[shape.QueryHeads * shape.QueryLength * shape.HeadDim];

        public float[] GradValue { get; } = new float[shape.QueryHeads * shape.QueryLength * shape.HeadDim];
    }
}
