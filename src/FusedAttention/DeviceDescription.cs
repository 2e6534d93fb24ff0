// What a device is. Made by AttentionDevice and NativeRuntime.
using System.Collections.Generic;

namespace FusedAttention;

/// <summary>Name and abilities of a device.</summary>
public sealed record DeviceDescription
{
    /// <summary>CPU or CUDA.</summary>
    public required DeviceKind Kind { get; init; }

    /// <summary>Number of the device among its kind, from 0.</summary>
    public required int Index { get; init; }

    /// <summary>Name of the processor or GPU.</summary>
    public required string Name { get; init; }

    /// <summary>Instruction set in use (CPU).</summary>
    public required CpuTarget Target { get; init; }

    /// <summary>Instruction sets that this build holds and this processor runs (CPU).</summary>
    public required IReadOnlyList<CpuTarget> AvailableTargets { get; init; }

    /// <summary>Instruction sets that this build holds (CPU).</summary>
    public required IReadOnlyList<CpuTarget> BuiltTargets { get; init; }

    /// <summary>Threads of a run that does not say.</summary>
    public required int Threads { get; init; }

    /// <summary>Why this instruction set was chosen, a sentence; of a GPU, what is used there.</summary>
    public required string Reason { get; init; }

    /// <summary>Compute capability, as 90 for 9.0 (CUDA).</summary>
    public required int Architecture { get; init; }

    /// <summary>Multiprocessors (CUDA).</summary>
    public required int Multiprocessors { get; init; }

    /// <summary>Bytes of device memory (CUDA).</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Most bytes of shared memory in a block of threads (CUDA).</summary>
    public required int SharedBytesPerBlock { get; init; }

    /// <summary>Bytes of the second-level cache (CUDA).</summary>
    public required int L2Bytes { get; init; }
}
