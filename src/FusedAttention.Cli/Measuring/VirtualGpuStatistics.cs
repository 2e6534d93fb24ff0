// What kernels did on a virtual GPU: instructions, bytes, conflicts; printed by bench where the driver is one.
using System;
using System.Runtime.InteropServices;
using System.Text;

namespace FusedAttention.Cli.Measuring;

/// <summary>Two functions that the virtual GPU exports beside those of a CUDA driver.</summary>
internal sealed unsafe class VirtualGpuStatistics
{
    /// <summary>
    /// How long passes and peaks are repeated: once. Their times say nothing, and the counts of one run everything.
    /// </summary>
    internal const double SecondsPerPass = 1e-6;

    private readonly delegate* unmanaged<int, byte*, nuint, nuint*, int> _read;
    private readonly delegate* unmanaged<int> _reset;

    private VirtualGpuStatistics(nint read, nint reset)
    {
        _read = (delegate* unmanaged<int, byte*, nuint, nuint*, int>)read;
        _reset = (delegate* unmanaged<int>)reset;
    }

    /// <summary>Those of the driver that the environment names; null where it is none, or one of a GPU.</summary>
    internal static VirtualGpuStatistics? Find()
    {
        string? driver = Environment.GetEnvironmentVariable("FATTN_CUDA_DRIVER");
        return !string.IsNullOrEmpty(driver) && NativeLibrary.TryLoad(driver, out nint library)
            && NativeLibrary.TryGetExport(library, "fattnVirtualGpuStatistics", out nint read)
            && NativeLibrary.TryGetExport(library, "fattnVirtualGpuResetStatistics", out nint reset)
            ? new VirtualGpuStatistics(read, reset)
            : null;
    }

    /// <summary>Forgets what was counted.</summary>
    internal void Reset() => Check(_reset());

    /// <summary>A table, a kernel a block of lines.</summary>
    internal string ReadTable() => Read(json: 0);

    /// <summary>The same as JSON: an object with the array "kernels".</summary>
    internal string ReadJson() => Read(json: 1);

    private string Read(int json)
    {
        nuint length;
        Check(_read(json, null, 0, &length));
        byte[] text = new byte[(int)length + 1];
        fixed (byte* first = text)
        {
            Check(_read(json, first, (nuint)text.Length, &length));
        }

        return Encoding.UTF8.GetString(text.AsSpan(0, (int)length));
    }

    private static void Check(int result)
    {
        if (result != 0)
        {
            throw new InvalidOperationException($"the virtual GPU gave {result} when asked for its statistics");
        }
    }
}
