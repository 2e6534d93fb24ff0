// What the process has of CUDA. Part of NativeRuntimeReport.
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Driver, run-time compiler, kernels and cache, and why one of them is absent.</summary>
public sealed record CudaReport
{
    /// <summary>Newest CUDA version that the driver serves, as 12040 for 12.4; 0 without a driver.</summary>
    public required int DriverVersion { get; init; }

    /// <summary>The driver library, or why there is none.</summary>
    public required string Driver { get; init; }

    /// <summary>GPUs that the driver shows.</summary>
    public required int Devices { get; init; }

    /// <summary>Version of NVRTC, as 12040 for 12.4; 0 without NVRTC.</summary>
    public required int NvrtcVersion { get; init; }

    /// <summary>The NVRTC library, or why there is none.</summary>
    public required string Nvrtc { get; init; }

    /// <summary>Kernel images that the native library holds.</summary>
    public required int Images { get; init; }

    /// <summary>What the images were made for, as "sm_80, sm_90a, compute_80"; "none" without images.</summary>
    public required string ImageTargets { get; init; }

    /// <summary>File of PTX that is looked at before the images, or why it is not; empty when none was asked
    /// for.</summary>
    public required string PtxPack { get; init; }

    /// <summary>Folder of compiled programs, or why there is none.</summary>
    public required string Cache { get; init; }

    /// <summary>Compiled programs in the cache.</summary>
    public required int CacheEntries { get; init; }

    /// <summary>Size of the cache in bytes.</summary>
    public required long CacheBytes { get; init; }

    /// <summary>Asks the native library.</summary>
    internal static unsafe CudaReport Read()
    {
        NativeRuntime.EnsureLoaded();
        fattn_cuda_description info = default;
        info.struct_size = (uint)sizeof(fattn_cuda_description);
        NativeCall.Check(NativeMethods.fattn_cuda_info(&info), "CudaReport");
        return new CudaReport
        {
            DriverVersion = info.driver_version,
            Driver = NativeCall.Text(info.driver, 512),
            Devices = info.num_devices,
            NvrtcVersion = info.nvrtc_version,
            Nvrtc = NativeCall.Text(info.nvrtc, 512),
            Images = info.num_images,
            ImageTargets = NativeCall.Text(info.image_targets, 128),
            PtxPack = NativeCall.Text(info.ptx_pack, 512),
            Cache = NativeCall.Text(info.cache, 512),
            CacheEntries = info.num_cache_entries,
            CacheBytes = (long)info.cache_bytes,
        };
    }
}
