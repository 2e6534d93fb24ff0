// Measures one case: times its passes, compares sampled rows, times its dense equivalent; used by demo and bench.
using System;
using System.Collections.Generic;

namespace FusedAttention.Cli.Measuring;

/// <param name="device">Where to run.</param>
/// <param name="seconds">About how long each pass of a case is repeated.</param>
internal sealed class CaseRunner(AttentionDevice device, double seconds) : IDisposable
{
    private const int Seed = 1;
    private const int MaxRuns = 200;
    private const int MinRuns = 3;
    private const double LongestPeakSeconds = 0.1;
    private const double SlowFactor = 4;

    private readonly RunTimer _timer = new(device);
    private readonly Dictionary<(CaseType, AttentionShape, DenseOptions), DenseTimes> _dense = [];

    /// <summary>One result for the forward pass, and one for the backward pass when the case has it.</summary>
    internal List<CaseResult> Measure(MeasuredCase measured) => measured.Type switch
    {
        CaseType.F16 => Measure<Half, HalfElements>(measured),
        CaseType.BF16 => Measure<BFloat16, BFloat16Elements>(measured),
        _ => Measure<float, SingleElements>(measured),
    };

    /// <summary>Largest error of the output of one forward run, which is not timed.</summary>
    internal double MeasureError(MeasuredCase measured) => measured.Type switch
    {
        CaseType.F16 => MeasureError<Half, HalfElements>(measured),
        CaseType.BF16 => MeasureError<BFloat16, BFloat16Elements>(measured),
        _ => MeasureError<float, SingleElements>(measured),
    };

    public void Dispose() => _timer.Dispose();

    private double MeasureError<T, TElements>(MeasuredCase measured)
        where T : unmanaged
        where TElements : IElements<T>
    {
        using PreparedCase prepared = measured.Prepare<T, TElements>(device, Seed);
        prepared.Forward();
        return prepared.ForwardError();
    }

    private List<CaseResult> Measure<T, TElements>(MeasuredCase measured)
        where T : unmanaged
        where TElements : IElements<T>
    {
        using PreparedCase prepared = measured.Prepare<T, TElements>(device, Seed);
        PeakKind kind = measured.IsMemoryBound ? PeakKind.MemoryRead : ArithmeticOf<T, TElements>();
        CaseWork work = prepared.Work;
        PlanDescription description = prepared.Description;
        List<CaseResult> results =
        [
            MakeResult(measured, Time(prepared, prepared.Forward, kind), work, work.ForwardFlops) with
            {
                Type = TElements.Name,
                Error = prepared.ForwardError(),
                Kernel = description.ForwardKernel,
                WorkspaceBytes = description.ForwardWorkspaceBytes + description.ForwardDeviceWorkspaceBytes,
                Selection = prepared.MeasureSelection(select => Time(prepared, select, kind).Median),
            },
        ];
        if (measured.HasBackward)
        {
            results.Add(MakeResult(measured, Time(prepared, prepared.Backward, kind), work, work.BackwardFlops) with
            {
                Name = measured.Name + " backward",
                Type = TElements.Name,
                Pass = "backward",
                Error = prepared.BackwardError(),
                Kernel = description.BackwardKernel,
                WorkspaceBytes = description.BackwardWorkspaceBytes + description.BackwardDeviceWorkspaceBytes,
            });
        }

        if (measured.Dense is { } dense)
        {
            DenseTimes times = TimeDense<T, TElements>(dense.Case);
            results = results.ConvertAll(result => result with
            {
                DenseMilliseconds = 1e3 * dense.Factor * (result.Pass == "forward" ? times.Forward : times.Backward),
            });
        }

        return results;
    }

    private static CaseResult MakeResult(MeasuredCase measured, Timing timing, CaseWork work, double flops)
    {
        double gigaFlops = 1e-9 * flops / timing.Median;
        double gigaBytes = 1e-9 * work.Bytes / timing.Median;
        return new CaseResult
        {
            Name = measured.Name,
            Type = string.Empty,
            Shape = measured.Sizes,
            Pass = "forward",
            Kernel = string.Empty,
            Milliseconds = 1e3 * timing.Median,
            FastestMilliseconds = 1e3 * timing.Fastest,
            Runs = timing.Runs,
            GigaFlops = gigaFlops,
            GigaBytes = gigaBytes,
            PeakShare = (measured.IsMemoryBound ? gigaBytes : gigaFlops) / timing.Peak,
            PeakUnit = measured.IsMemoryBound ? "GB/s" : "GFLOP/s",
            Peak = timing.Peak,
            Error = 0,
            WorkspaceBytes = 0,
            ScoreMatrixBytes = (ulong)(work.AllPairs * sizeof(float)),
            VisibleShare = work.VisibleShare,
            VisitedShare = work.VisitedShare,
        };
    }

    // Cases of several families compare with the same dense problem: it is timed once.
    private DenseTimes TimeDense<T, TElements>(DenseCase dense)
        where T : unmanaged
        where TElements : IElements<T>
    {
        (CaseType, AttentionShape, DenseOptions) problem = (dense.Type, dense.Shape, dense.Options);
        if (!_dense.TryGetValue(problem, out DenseTimes? times))
        {
            using PreparedCase prepared = dense.Prepare<T, TElements>(device, Seed);
            PeakKind kind = ArithmeticOf<T, TElements>();
            double forward = Time(prepared, prepared.Forward, kind).Median;
            double backward = dense.HasBackward ? Time(prepared, prepared.Backward, kind).Median : 0;
            times = new DenseTimes(forward, backward);
            _dense.Add(problem, times);
        }

        return times;
    }

    // A GPU multiplies both 16-bit types at one rate.
    private PeakKind ArithmeticOf<T, TElements>()
        where T : unmanaged
        where TElements : IElements<T> => device is CudaDevice ? TElements.PeakOnGpu : TElements.Peak;

    private Timing Time(PreparedCase prepared, Action run, PeakKind kind)
    {
        double peak = _timer.MeasurePeak(kind, Math.Min(LongestPeakSeconds, seconds));
        double first = _timer.Time(run, prepared.Stream);
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
            times.Add(_timer.Time(run, prepared.Stream));
            total += times[^1];
        }

        times.Sort();
        return new Timing(times[times.Count / 2], times[0], times.Count, peak);
    }

    private sealed record Timing(double Median, double Fastest, int Runs, double Peak);

    private sealed record DenseTimes(double Forward, double Backward);
}
