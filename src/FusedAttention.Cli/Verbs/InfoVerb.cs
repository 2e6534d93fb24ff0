// The info verb: what this tool can use here, in a few lines.
using System.CommandLine;
using System.IO;
using System.Linq;
using FusedAttention.Cli.Families;

namespace FusedAttention.Cli.Verbs;

internal static class InfoVerb
{
    internal static Command Make(ToolOutput output)
    {
        Command command = new("info", "Shows devices, instruction sets, and why something is not used.");
        command.SetAction(_ => Run(output.Results));
        return command;
    }

    private static int Run(TextWriter text)
    {
        NativeRuntimeReport report = NativeRuntime.Probe();
        if (!report.IsLoaded)
        {
            throw new UnsupportedException(
                $"the native library cannot be used: {report.Error} (fattn doctor says more)");
        }

        text.WriteLine($"fattn {report.ManagedVersion}");
        text.WriteLine($"library: version {report.NativeVersion}, ABI {report.NativeAbiVersion}");
        text.WriteLine($"         {report.LibraryPath}");
        foreach (DeviceDescription device in report.Devices)
        {
            if (device.Kind == DeviceKind.Cuda)
            {
                text.WriteLine($"device:  cuda:{device.Index}, {device.Name}, {CudaText.Figures(device)}");
                text.WriteLine($"         {device.Reason}");
                continue;
            }

            text.WriteLine($"device:  cpu, {device.Name}, {DeviceArguments.Threads(device)}");
            text.WriteLine($"         instruction sets here: {Names(device.AvailableTargets)}");
            text.WriteLine($"         in use: {DeviceArguments.NameOf(device.Target)}. {device.Reason}");
        }

        foreach (string reason in report.UnavailableDevices)
        {
            text.WriteLine($"not used: {reason}");
        }

        WriteCuda(text, report.Cuda!);
        text.WriteLine($"families: {FamilyRegistry.Describe()}");
        return ExitCode.Success;
    }

    private static void WriteCuda(TextWriter text, CudaReport cuda)
    {
        text.WriteLine($"cuda:    driver {CudaText.Found(cuda.DriverVersion, cuda.Driver)}");
        text.WriteLine($"         nvrtc {CudaText.Found(cuda.NvrtcVersion, cuda.Nvrtc)}");
        text.WriteLine($"         kernels {CudaText.Kernels(cuda)}");
        text.WriteLine($"         cache {CudaText.Cache(cuda)}");
    }

    private static string Names(System.Collections.Generic.IEnumerable<CpuTarget> targets) =>
        string.Join(", ", targets.Select(DeviceArguments.NameOf));
}
