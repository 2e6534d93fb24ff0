// What one measured case gave; printed, written to files and compared with a baseline.

namespace FusedAttention.Cli.Measuring;

internal sealed record CaseResult
{
    /// <summary>Name of the case and pass; unique in a run.</summary>
    internal required string Name { get; init; }

    internal required string Type { get; init; }

    internal required string Shape { get; init; }

    /// <summary>"forward" or "backward".</summary>
    internal required string Pass { get; init; }

    /// <summary>The kernel the plan chose.</summary>
    internal required string Kernel { get; init; }

    /// <summary>Median of the runs.</summary>
    internal required double Milliseconds { get; init; }

    internal required double FastestMilliseconds { get; init; }

    internal required int Runs { get; init; }

    /// <summary>1e9 floating-point operations a second, counting visible pairs only.</summary>
    internal required double GigaFlops { get; init; }

    /// <summary>1e9 bytes of keys and values read a second.</summary>
    internal required double GigaBytes { get; init; }

    /// <summary>Share of the peak that bounds the case, arithmetic, or memory for decode.</summary>
    internal required double PeakShare { get; init; }

    /// <summary>"GFLOP/s" or "GB/s": what the peak share is a share of.</summary>
    internal required string PeakUnit { get; init; }

    /// <summary>The measured peak in that unit.</summary>
    internal required double Peak { get; init; }

    /// <summary>Largest difference from double precision on sampled rows over the largest value there.</summary>
    internal required double Error { get; init; }

    internal required ulong WorkspaceBytes { get; init; }

    /// <summary>What a stored score matrix would take.</summary>
    internal required ulong ScoreMatrixBytes { get; init; }

    /// <summary>Visible pairs over all pairs.</summary>
    internal required double VisibleShare { get; init; }

    /// <summary>Pairs in visited tiles over visible pairs.</summary>
    internal required double VisitedShare { get; init; }

    /// <summary>Time of dense attention over the same tokens; null where there is nothing to compare.</summary>
    internal double? DenseMilliseconds { get; init; }

    /// <summary>What was chosen before the pass; null where nothing is.</summary>
    internal CaseSelection? Selection { get; init; }
}
