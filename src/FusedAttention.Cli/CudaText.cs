// Words for what was found of CUDA; used by info and doctor.
using System.Globalization;

namespace FusedAttention.Cli;

internal static class CudaText
{
    /// <summary>"12.4, PATH", or why there is none.</summary>
    /// <param name="version">As 12040; 0 for none.</param>
    /// <param name="text">The path, or the reason.</param>
    internal static string Found(int version, string text) => version == 0
        ? $"not used: {text.TrimEnd('.')}"
        : string.Create(CultureInfo.InvariantCulture, $"{version / 1000}.{version % 1000 / 10}, {text}");

    /// <summary>What the library carries ready to run.</summary>
    internal static string Kernels(CudaReport cuda) => cuda.Images == 0
        ? "none in this build (made without a CUDA compiler); NVRTC makes them when a plan needs them"
        : $"{cuda.Images} images, for {cuda.ImageTargets}";

    /// <summary>Where compiled programs are kept, and how many there are.</summary>
    internal static string Cache(CudaReport cuda) => cuda.CacheEntries == 0
        ? cuda.Cache
        : $"{cuda.Cache}, {cuda.CacheEntries} programs, {Mebibytes(cuda.CacheBytes)}";

    /// <summary>What a GPU is, in numbers.</summary>
    internal static string Figures(DeviceDescription device) =>
        $"compute capability {device.Architecture / 10}.{device.Architecture % 10}, {device.Multiprocessors} "
        + $"multiprocessors, {Mebibytes(device.MemoryBytes)}";

    private static string Mebibytes(long bytes) =>
        string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1 << 20):0.#} MiB");
}
