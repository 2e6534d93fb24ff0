// What tests on a GPU share: the device, or the reason why there is none, and the virtual GPU's own switches.
using System;
using System.Runtime.InteropServices;
using System.Text;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

/// <summary>
/// Tests that need a GPU. On a machine without one the environment variable FATTN_CUDA_DRIVER names the virtual GPU, as
/// tests/legs/managed.sh does.
/// </summary>
[Category("GPU")]
internal abstract class GpuTest
{
    private static readonly string DriverPath = Environment.GetEnvironmentVariable("FATTN_CUDA_DRIVER") ?? "";

    protected CudaDevice Device { get; private set; } = null!;

    /// <summary>Whether the driver is the virtual GPU's, which can be told when to run what.</summary>
    protected static bool IsVirtual => DriverPath.Contains("virtual", StringComparison.Ordinal);

    [OneTimeSetUp]
    public void OpenDevice()
    {
        if (CudaDevice.Count == 0)
        {
            Assert.Ignore($"there is no GPU: {NativeRuntime.Probe().Cuda?.Driver}");
        }

        Device = CudaDevice.Open();
    }

    [OneTimeTearDown]
    public void CloseDevice() => Device?.Dispose();

    /// <summary>Makes queued work wait until something waits for it, until the result is disposed.</summary>
    protected static IDisposable RunLate()
    {
        NeedVirtual();
        Configure("order=late");
        return new Reset();
    }

    /// <summary>A device of the virtual GPU that other tests do not use.</summary>
    protected static CudaDevice OpenOther(int index)
    {
        NeedVirtual();
        return CudaDevice.Open(index);
    }

    /// <summary>Calls a function of the driver that takes nothing or one integer.</summary>
    protected static unsafe int CallDriver(string name, int argument)
    {
        var function = (delegate* unmanaged<int, int>)NativeLibrary.GetExport(NativeLibrary.Load(DriverPath), name);
        return function(argument);
    }

    /// <summary>A context beside the primary one, as ManagedCuda and ILGPU make them; current afterwards.</summary>
    protected static unsafe nint MakeContext(int device)
    {
        nint context = 0;
        var create = (delegate* unmanaged<nint*, uint, int, int>)NativeLibrary.GetExport(
            NativeLibrary.Load(DriverPath), "cuCtxCreate_v2");
        Assert.That(create(&context, 0, device), Is.Zero);
        return context;
    }

    /// <summary>Ends a context of <see cref="MakeContext"/>.</summary>
    protected static unsafe void DestroyContext(nint context)
    {
        var destroy = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(
            NativeLibrary.Load(DriverPath), "cuCtxDestroy_v2");
        Assert.That(destroy(context), Is.Zero);
    }

    protected static void NeedVirtual()
    {
        if (!IsVirtual)
        {
            Assert.Ignore("this test needs the virtual GPU, which does what it is told");
        }
    }

    private static unsafe void Configure(string text)
    {
        var function = (delegate* unmanaged<byte*, int>)NativeLibrary.GetExport(
            NativeLibrary.Load(DriverPath), "fattnVirtualGpuConfigure");
        fixed (byte* bytes = Encoding.UTF8.GetBytes(text + "\0"))
        {
            Assert.That(function(bytes), Is.Zero, text);
        }
    }

    private sealed class Reset : IDisposable
    {
        public void Dispose() => Configure("order=seeded");
    }
}
