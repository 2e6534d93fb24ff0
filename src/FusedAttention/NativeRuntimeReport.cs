// What NativeRuntime.Probe found out. Shown by `fattn doctor` and in error reports.
using System.Collections.Generic;

namespace FusedAttention;

/// <summary>State of the native library in this process.</summary>
public sealed record NativeRuntimeReport
{
    /// <summary>True when the library is loaded and its interface matches.</summary>
    public required bool IsLoaded { get; init; }

    /// <summary>Where the library was found, or null.</summary>
    public required string? LibraryPath { get; init; }

    /// <summary>Every place looked in, in order.</summary>
    public required IReadOnlyList<NativeLoadAttempt> Attempts { get; init; }

    /// <summary>Version of this assembly.</summary>
    public required string ManagedVersion { get; init; }

    /// <summary>Version of the native library, or null when none was found.</summary>
    public required string? NativeVersion { get; init; }

    /// <summary>Version of the C interface this assembly was built for.</summary>
    public required uint ExpectedAbiVersion { get; init; }

    /// <summary>Version of the C interface of the native library, or null when none was found.</summary>
    public required uint? NativeAbiVersion { get; init; }

    /// <summary>Why the library cannot be used, or null.</summary>
    public required string? Error { get; init; }

    /// <summary>The devices of this machine; empty when the library is not loaded.</summary>
    public required IReadOnlyList<DeviceDescription> Devices { get; init; }

    /// <summary>Why there is no other device, one sentence each.</summary>
    public required IReadOnlyList<string> UnavailableDevices { get; init; }

    /// <summary>What was found of CUDA; null when the library is not loaded.</summary>
    public required CudaReport? Cuda { get; init; }
}
