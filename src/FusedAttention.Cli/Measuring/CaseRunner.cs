// Measures one case: makes its tensors, times its passes, compares sampled rows; used by demo and bench.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using FusedAttention.Cli.Reference;

namespace FusedAttention.Cli.Measuring;

/// <param name="device">Where to run.</param>
/// <param name="seconds">About how long each pass of a case is repeated.</param>
internal sealed class CaseRunner(AttentionDevice device, double seconds)
{
    private const int Seed = 1;
    private const int MaxRuns = 200;
    private const int MinRuns = 3;
    private const double PeakSeconds = 0.1;
    private const double SlowFactor = 4;

    /// <summary>One result for the forward pass, and one for the backward pass when the case has it.</summary>
    internal List<CaseResult> Measure(MeasuredCase measured) => measured.Type switch
    {
        CaseType.F16 => Measure<Half, HalfElements>(measured),
        CaseType.BF16 => Measure<BFloat16, BFloat16Elements>(measured),
        _ => Measure<float, SingleElements>(measured),
    };

    private List<CaseResult> Measure<T, TElements>(MeasuredCase measured)
        where T : unmanaged
        where TElements : IElements<T>
    {
        using DenseAttentionPlan<T> plan = new(measured.Shape, measured.Options, device);
        CaseTensors<T, TElements> tensors = new(measured, Seed);
        DenseReference reference = new(measured.Shape, measured.Options, tensors.Reference);
        SampledError<T, TElements> errors = new(measured.Shape, reference);
        PlanDescription description = plan.Describe();
        double pairs = (double)reference.VisiblePairs() * measured.Shape.Batch * measured.Shape.QueryHeads;
        double width = measured.Shape.HeadDim + measured.Shape.ValueHeadDim;

        Timing forward = Time<T, TElements>(measured, () => tensors.Forward(plan));
        List<CaseResult> results =
        [
            MakeResult<T, TElements>(measured, forward, pairs) with
            {
                GigaFlops = 2e-9 * pairs * width / forward.Median,
                Error = errors.OfForward(tensors.Output, tensors.Lse),
                Kernel = description.ForwardKernel,
                WorkspaceBytes = description.ForwardWorkspaceBytes,
            },
        ];
        if (measured.Options.Backward)
        {
            // Five products: scores again, the gradients of weights and of v, k, q.
            double backwardWidth = (3 * measured.Shape.HeadDim) + (2 * measured.Shape.ValueHeadDim);
            Timing backward = Time<T, TElements>(measured, () => tensors.Backward(plan));
            results.Add(MakeResult<T, TElements>(measured, backward, pairs) with
            {
                Name = measured.Name + " backward",
                Pass = "backward",
                GigaFlops = 2e-9 * pairs * backwardWidth / backward.Median,
                Error = errors.OfBackward(tensors.QueryGradient, tensors.KeyGradient, tensors.ValueGradient),
                Kernel = description.BackwardKernel,
                WorkspaceBytes = description.BackwardWorkspaceBytes,
            });
        }

        return results.ConvertAll(static result => result with
        {
            PeakShare = (result.PeakUnit == "GB/s" ? result.GigaBytes : result.GigaFlops) / result.Peak,
        });
    }

    private static CaseResult MakeResult<T, TElements>(MeasuredCase measured, Timing timing, double pairs)
        where T : unmanaged
        where TElements : IElements<T>
    {
        AttentionShape shape = measured.Shape;
        double keyBytes = CaseTensors<T, TElements>.KeyValueBytes(shape);
        double allPairs = (double)shape.Batch * shape.QueryHeads * shape.QueryLength * shape.KeyLength;
        return new CaseResult
        {
            Name = measured.Name,
            Type = TElements.Name,
            Shape = Describe(shape),
            Pass = "forward",
            Kernel = string.Empty,
            Milliseconds = 1e3 * timing.Median,
            FastestMilliseconds = 1e3 * timing.Fastest,
            Runs = timing.Runs,
            GigaFlops = 0,
            GigaBytes = 1e-9 * keyBytes / timing.Median,
            PeakShare = 0,
            PeakUnit = measured.IsDecode ? "GB/s" : "GFLOP/s",
            Peak = timing.Peak,
            Error = 0,
            WorkspaceBytes = 0,
            ScoreMatrixBytes = (ulong)(allPairs * sizeof(float)),
            VisibleShare = allPairs == 0 ? 0 : pairs / allPairs,
        };
    }

    // "B1 H32/8 L1:32768 D128": what is equal is said once.
    private static string Describe(AttentionShape shape)
    {
        string heads = Pair(shape.QueryHeads, '/', shape.KeyHeads);
        string length = Pair(shape.QueryLength, ':', shape.KeyLength);
        return $"B{shape.Batch} H{heads} L{length} D{Pair(shape.HeadDim, ':', shape.ValueHeadDim)}";
    }

    private static string Pair(long first, char separator, long second) =>
        first == second ? $"{first}" : $"{first}{separator}{second}";

    private Timing Time<T, TElements>(MeasuredCase measured, Action run)
        where T : unmanaged
        where TElements : IElements<T>
    {
        PeakKind kind = measured.IsDecode ? PeakKind.MemoryRead : TElements.Peak;
        double peak = device.MeasurePeak(kind, seconds: PeakSeconds);
        long start = Stopwatch.GetTimestamp();
        run();
        double first = Stopwatch.GetElapsedTime(start).TotalSeconds;
        if (first > SlowFactor * seconds)
        {
            // A run this long does not need a warm-up.
            return new Timing(first, first, 1, peak);
        }

        double total = 0;
        int minRuns = first > seconds ? 1 : MinRuns;
        List<double> times = [];
        while (times.Count < minRuns || (total < seconds && times.Count < MaxRuns))
        {
            start = Stopwatch.GetTimestamp();
            run();
            times.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
            total += times[^1];
        }

        times.Sort();
        return new Timing(times[times.Count / 2], times[0], times.Count, peak);
    }

    private sealed record Timing(double Median, double Fastest, int Runs, double Peak);
}
