// The options that choose a device, shared by the verbs that compute, and what they choose.
using System;
using System.CommandLine;
using System.Globalization;

namespace FusedAttention.Cli;

internal sealed class DeviceArguments
{
    private const string TargetVariable = "FATTN_CPU_TARGET";

    private static readonly (string Name, CpuTarget Target)[] Targets =
    [
        ("best", CpuTarget.Best),
        ("scalar", CpuTarget.Scalar),
        ("avx2", CpuTarget.Avx2),
        ("avx512", CpuTarget.Avx512),
        ("avx512_bf16", CpuTarget.Avx512Bf16),
        ("neon", CpuTarget.Neon),
    ];

    private readonly Option<string> _device = new("--device")
    {
        Description = "Where to compute: auto, cpu, cuda or cuda:N."
            + " auto takes a GPU only when it supports the problem.",
        HelpName = "auto|cpu|cuda[:N]",
        DefaultValueFactory = static _ => "auto",
    };

    private readonly Option<string> _threads = new("--threads")
    {
        Description = "Most CPU threads to use; results are the same for any number. [default: all processors]",
        HelpName = "N",
    };

    private readonly Option<string> _target = new("--cpu-target")
    {
        Description = "Forces an instruction set: best, scalar, avx2, avx512, avx512_bf16 or neon."
            + " The environment variable FATTN_CPU_TARGET does the same.",
        HelpName = "NAME",
    };

    /// <summary>Adds the three options to a verb.</summary>
    internal void AddTo(Command command)
    {
        command.Options.Add(_device);
        command.Options.Add(_threads);
        command.Options.Add(_target);
    }

    /// <summary>The instruction set's name as options and reports spell it.</summary>
    internal static string NameOf(CpuTarget target) => Array.Find(Targets, entry => entry.Target == target).Name;

    /// <summary>Opens the device that the command line asks for; says on the remark stream what auto chose.</summary>
    /// <param name="command">The command line.</param>
    /// <param name="output">Where remarks go.</param>
    /// <param name="whyNotOn">Why the work cannot be done on a GPU, or null when it can; auto takes a GPU only then. Null:
    /// auto takes none.</param>
    /// <exception cref="BadInputException">An option has a value it does not know.</exception>
    /// <exception cref="UnsupportedException">The device is absent.</exception>
    internal AttentionDevice Open(
        ParseResult command, ToolOutput output, Func<CudaDevice, string?>? whyNotOn = null)
    {
        string device = command.GetValue(_device)!;
        int threads = ParseThreads(command.GetValue(_threads));
        CpuTarget target = ParseTarget(command.GetValue(_target));
        if (device == "auto")
        {
            return OpenBest(target, threads, output, whyNotOn);
        }

        return device == "cpu" ? AttentionDevice.Open(target, threads) : OpenCuda(device);
    }

    /// <summary>"1 thread", "2 threads".</summary>
    internal static string Threads(DeviceDescription device) =>
        device.Threads == 1 ? "1 thread" : $"{device.Threads} threads";

    /// <summary>What is used for the work, one line.</summary>
    internal static string Describe(AttentionDevice device)
    {
        DeviceDescription description = device.Describe();
        return description.Kind == DeviceKind.Cuda
            ? $"cuda:{description.Index}, {description.Name}"
            : $"cpu, {description.Name}, {NameOf(description.Target)}, {Threads(description)}";
    }

    private static AttentionDevice OpenBest(
        CpuTarget target, int threads, ToolOutput output, Func<CudaDevice, string?>? whyNotOn)
    {
        AttentionDevice cpu = AttentionDevice.Open(target, threads);
        string reason = string.Join(" ", NativeRuntime.Probe().UnavailableDevices);
        if (whyNotOn is not null && CudaDevice.Count > 0)
        {
            CudaDevice cuda = OpenCuda("cuda");
            if (whyNotOn(cuda) is not { } problem)
            {
                cpu.Dispose();
                output.Remarks.WriteLine($"device: {Describe(cuda)}; it supports the problem");
                return cuda;
            }

            reason = $"CUDA: {problem}";
            cuda.Dispose();
        }

        output.Remarks.WriteLine($"device: {Describe(cpu)}; {reason}");
        return cpu;
    }

    private static CudaDevice OpenCuda(string device)
    {
        const string Prefix = "cuda:";
        string ordinal = device.StartsWith(Prefix, StringComparison.Ordinal) ? device[Prefix.Length..] : string.Empty;
        ordinal = device == "cuda" ? "0" : ordinal;
        if (!int.TryParse(ordinal, NumberStyles.None, CultureInfo.InvariantCulture, out int index))
        {
            throw new BadInputException($"--device is {StrictJson.Quote(device)}; expected auto, cpu, cuda or cuda:N");
        }

        try
        {
            return CudaDevice.Open(index);
        }
        catch (AttentionException error)
        {
            throw new UnsupportedException($"device {device} cannot be used: {error.NativeText}");
        }
    }

    private static int ParseThreads(string? text)
    {
        if (text is null)
        {
            return 0;
        }

        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int threads) && threads > 0
            ? threads
            : throw new BadInputException($"--threads is {StrictJson.Quote(text)}; expected a whole number from 1");
    }

    private static CpuTarget ParseTarget(string? option)
    {
        (string source, string? text) = option is null
            ? (TargetVariable, Environment.GetEnvironmentVariable(TargetVariable))
            : ("--cpu-target", option);
        if (string.IsNullOrEmpty(text))
        {
            return CpuTarget.Best;
        }

        foreach ((string name, CpuTarget target) in Targets)
        {
            if (name == text)
            {
                return target;
            }
        }

        string names = string.Join(", ", Array.ConvertAll(Targets, static entry => entry.Name));
        throw new BadInputException($"{source} is {StrictJson.Quote(text)}; expected one of {names}");
    }
}
