// What a plan is. Made by the plans.
namespace FusedAttention;

/// <summary>Kernel, memory and work of a plan.</summary>
public sealed record PlanDescription
{
    /// <summary>Kind of the device the plan runs on.</summary>
    public required DeviceKind Device { get; init; }

    /// <summary>Kernel of forward runs.</summary>
    public required string ForwardKernel { get; init; }

    /// <summary>Kernel of backward runs; empty when the plan has none.</summary>
    public required string BackwardKernel { get; init; }

    /// <summary>Host workspace of a forward run with the device's own number of threads, in bytes.</summary>
    public required ulong ForwardWorkspaceBytes { get; init; }

    /// <summary>Host workspace of a backward run, in bytes; 0 when the plan has none.</summary>
    public required ulong BackwardWorkspaceBytes { get; init; }

    /// <summary>Device memory of a forward run, in bytes; 0 on the CPU.</summary>
    public required ulong ForwardDeviceWorkspaceBytes { get; init; }

    /// <summary>Device memory of a backward run, in bytes; 0 on the CPU or when the plan has none.</summary>
    public required ulong BackwardDeviceWorkspaceBytes { get; init; }

    /// <summary>Floating-point operations of a forward run over the visited tiles.</summary>
    public required double ForwardFlops { get; init; }

    /// <summary>Floating-point operations of a backward run over the visited tiles.</summary>
    public required double BackwardFlops { get; init; }
}
