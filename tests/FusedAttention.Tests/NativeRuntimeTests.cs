// The report about the native library and the rules of configuring it.
using System.Linq;
using FusedAttention.Interop;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class NativeRuntimeTests
{
    [Test]
    public void Probe_tells_where_the_library_is_and_what_it_can()
    {
        NativeRuntimeReport report = NativeRuntime.Probe();
        Assert.That(report.IsLoaded, report.Error);
        Assert.That(report.LibraryPath, Is.EqualTo(report.Attempts[^1].Place));
        Assert.That(report.Attempts[^1].Result, Is.EqualTo("loaded"));
        Assert.That(report.NativeVersion, Is.EqualTo(report.ManagedVersion));
        Assert.That(report.NativeAbiVersion, Is.EqualTo(NativeMethods.FATTN_ABI_VERSION));
        Assert.That(report.ExpectedAbiVersion, Is.EqualTo(NativeMethods.FATTN_ABI_VERSION));
        Assert.That(report.Devices[0].Kind, Is.EqualTo(DeviceKind.Cpu));
        Assert.That(report.Devices.Skip(1), Is.All.Property(nameof(DeviceDescription.Kind)).EqualTo(DeviceKind.Cuda));
        Assert.That(report.UnavailableDevices.Single(), Does.StartWith("CUDA: ").And.Length.GreaterThan(10));
    }

    [Test]
    public void Configuring_after_the_first_use_throws()
    {
        Assert.That(AttentionDevice.Cpu, Is.Not.Null);
        Assert.That(
            () => NativeRuntime.Configure("/other.so"),
            Throws.InvalidOperationException.With.Message.Contains("/other.so").And.Message.Contains("already in use"));
    }

    [Test]
    public void An_empty_path_is_refused() =>
        Assert.That(() => NativeRuntime.Configure(" "), Throws.ArgumentException);
}
