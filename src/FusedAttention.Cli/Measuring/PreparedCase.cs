// A measured case ready to run: its plan, tensors and double-precision reference; made by the cases.
using System;

namespace FusedAttention.Cli.Measuring;

internal abstract class PreparedCase : IDisposable
{
    /// <summary>Kernels and workspace of the plan.</summary>
    internal abstract PlanDescription Description { get; }

    internal abstract CaseWork Work { get; }

    /// <summary>Where runs are queued on a GPU; null on the CPU, where they are done when they return.</summary>
    internal abstract CudaStream? Stream { get; }

    internal abstract void Forward();

    /// <summary>Needs a forward run before it.</summary>
    internal abstract void Backward();

    /// <summary>What the forward pass chooses before it computes; null where nothing is chosen. Needs a forward run
    /// before it.</summary>
    /// <param name="time">Gives the median of some runs, seconds.</param>
    internal virtual CaseSelection? MeasureSelection(Func<Action, double> time) => null;

    /// <summary>Largest difference from the reference on sampled rows over the largest value there.</summary>
    internal abstract double ForwardError();

    /// <summary>The same for the gradients.</summary>
    internal abstract double BackwardError();

    public abstract void Dispose();
}

/// <summary>What a case costs by its definition.</summary>
internal sealed record CaseWork
{
    /// <summary>Floating-point operations of the forward pass, visible pairs only.</summary>
    internal required double ForwardFlops { get; init; }

    /// <summary>The same for the backward pass.</summary>
    internal required double BackwardFlops { get; init; }

    /// <summary>Bytes that the forward pass must move, as counted for a memory-bound case.</summary>
    internal required double Bytes { get; init; }

    /// <summary>Pairs in visited tiles over visible pairs; 1 when nothing is computed in vain.</summary>
    internal required double VisitedShare { get; init; }

    /// <summary>All pairs of a stored score matrix.</summary>
    internal required double AllPairs { get; init; }

    /// <summary>Visible pairs over all pairs.</summary>
    internal required double VisibleShare { get; init; }
}
