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
    private static readonly string[] Variables = ["FATTN_CPU_TARGET", "FATTN_CUDA_DRIVER"];

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
                text.WriteLine($"cuda:{device.Index}: {device.Name}");
                text.WriteLine($"  {device.Reason}");
                continue;
            }

            text.WriteLine($"cpu: {device.Name}, {device.Threads} threads");
            text.WriteLine($"  chosen: {DeviceArguments.NameOf(device.Target)}. {device.Reason}");
            foreach (CpuTarget target in device.BuiltTargets)
            {
                isHealthy &= CheckTarget(text, target, device.AvailableTargets.Contains(target));
            }
        }

        foreach (string reason in report.UnavailableDevices)
        {
            text.WriteLine(reason);
        }

        text.WriteLine(isHealthy ? "all is well" : "something is wrong: see FAILED above");
        return isHealthy ? ExitCode.Success : ExitCode.Failure;
    }

    // Errors here are far below what a wrong kernel gives and far above rounding.
    private static bool CheckTarget(TextWriter text, CpuTarget target, bool isAvailable)
    {
        string name = DeviceArguments.NameOf(target);
        if (!isAvailable)
        {
            text.WriteLine($"  {name}: built, but this processor lacks it");
            return true;
        }

        using AttentionDevice device = AttentionDevice.Open(target);
        DenseOptions options = new() { Causal = true };
        AttentionShape shape = AttentionShape.Gqa(1, 4, 2, 150, 72);
        CaseRunner runner = new(device, seconds: 0);
        double single = runner.Measure(new DenseCase(name, CaseType.F32, shape, options))[0].Error;
        double brain = runner.Measure(new DenseCase(name, CaseType.BF16, shape, options))[0].Error;
        bool isRight = single < 1e-5 && brain < 2e-2;
        string verdict = isRight ? "right" : "FAILED";
        text.WriteLine($"  {name}: {verdict}, error {single:0.0e-0} in f32, {brain:0.0e-0} in bf16");
        return isRight;
    }
}
