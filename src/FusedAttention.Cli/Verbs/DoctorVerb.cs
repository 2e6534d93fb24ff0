// The doctor verb: everything about why the library, a device or an instruction set is or is not used.
using System;
using System.CommandLine;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using FusedAttention.Cli.Measuring;

namespace FusedAttention.Cli.Verbs;

internal static class DoctorVerb
{
    private static readonly string[] Variables = ["FATTN_CPU_TARGET", "FATTN_CUDA_DRIVER", "FATTN_NVRTC", "FATTN_CUDA_CACHE", "FATTN_PTX_PACK"];

    internal static Command Make(ToolOutput output)
    {
        Command command = new(
            "doctor", "Explains what is used and why, and checks every instruction set on a small problem.");
        command.SetAction(_ => Run(output.Results));
        return command;
    }

    private static int Run(TextWriter text)
    {
        NativeRuntimeReport report = NativeRuntime.Probe();
        text.WriteLine($"tool and library {report.ManagedVersion} on {RuntimeInformation.RuntimeIdentifier}, " +
            $"{RuntimeInformation.FrameworkDescription}");
        text.WriteLine("native library");
        foreach (NativeLoadAttempt attempt in report.Attempts)
        {
            text.WriteLine($"  looked in {attempt.Place}: {attempt.Result}");
        }

        text.WriteLine($"  version {report.NativeVersion ?? "unknown"}, expected {report.ManagedVersion}");
        string abi = report.NativeAbiVersion is { } found ? $"{found}" : "unknown";
        text.WriteLine($"  ABI {abi}, expected {report.ExpectedAbiVersion}");
        foreach (string variable in Variables)
        {
            text.WriteLine($"  {variable} is {Environment.GetEnvironmentVariable(variable) ?? "not set"}");
        }

        if (!report.IsLoaded)
        {
            text.WriteLine($"  NOT USABLE: {report.Error}");
            return ExitCode.Failure;
        }

        bool isHealthy = true;
        foreach (DeviceDescription device in report.Devices)
        {
            if (device.Kind == DeviceKind.Cuda)
            {
                isHealthy &= CheckCuda(text, device);
                continue;
            }

            text.WriteLine($"cpu: {device.Name}, {DeviceArguments.Threads(device)}");
            text.WriteLine($"  chosen: {DeviceArguments.NameOf(device.Target)}. {device.Reason}");
            foreach (CpuTarget target in device.BuiltTargets)
            {
                isHealthy &= CheckTarget(text, target, device.AvailableTargets.Contains(target));
            }
        }

        WriteCuda(text, report.Cuda!);
        foreach (string reason in report.UnavailableDevices)
        {
            text.WriteLine(reason);
        }

        text.WriteLine(isHealthy ? "all is well" : "something is wrong: see FAILED above");
        return isHealthy ? ExitCode.Success : ExitCode.Failure;
    }

    private static void WriteCuda(TextWriter text, CudaReport cuda)
    {
        text.WriteLine("cuda");
        text.WriteLine($"  driver: {CudaText.Found(cuda.DriverVersion, cuda.Driver)}");
        text.WriteLine($"  devices: {cuda.Devices}");
        text.WriteLine($"  nvrtc: {CudaText.Found(cuda.NvrtcVersion, cuda.Nvrtc)}");
        text.WriteLine($"  kernels: {CudaText.Kernels(cuda)}");
        text.WriteLine($"  cache: {CudaText.Cache(cuda)}");
        if (cuda.PtxPack.Length > 0)
        {
            text.WriteLine($"  PTX pack: {cuda.PtxPack}");
        }
    }

    private static bool CheckCuda(TextWriter text, DeviceDescription description)
    {
        text.WriteLine($"cuda:{description.Index}: {description.Name}, {CudaText.Figures(description)}");
        text.WriteLine($"  {description.Reason}");
        try
        {
            using CudaDevice device = CudaDevice.Open(description.Index);
            return Check(text, "dense attention", device);
        }
        catch (AttentionException error)
        {
            text.WriteLine($"  dense attention: FAILED, {error.NativeText}");
            return false;
        }
    }

    private static bool CheckTarget(TextWriter text, CpuTarget target, bool isAvailable)
    {
        string name = DeviceArguments.NameOf(target);
        if (!isAvailable)
        {
            text.WriteLine($"  {name}: built, but this processor lacks it");
            return true;
        }

        using AttentionDevice device = AttentionDevice.Open(target);
        return Check(text, name, device);
    }

    // Errors here are far below what a wrong kernel gives and far above rounding.
    private static bool Check(TextWriter text, string name, AttentionDevice device)
    {
        DenseOptions options = new() { Causal = true };
        AttentionShape shape = AttentionShape.Gqa(1, 4, 2, 150, 72);
        CaseRunner runner = new(device, seconds: 0);
        double single = runner.MeasureError(new DenseCase(name, CaseType.F32, shape, options));
        double brain = runner.MeasureError(new DenseCase(name, CaseType.BF16, shape, options));
        bool isRight = single < 1e-5 && brain < 2e-2;
        string verdict = isRight ? "right" : "FAILED";
        text.WriteLine($"  {name}: {verdict}, error {single:0.0e-0} in f32, {brain:0.0e-0} in bf16");
        return isRight;
    }
}
