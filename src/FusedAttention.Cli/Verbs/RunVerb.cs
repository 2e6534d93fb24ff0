// The run verb: a problem file and a tensor file in, a tensor file out.
using System;
using System.Collections.Generic;
using System.CommandLine;
using System.Text;
using FusedAttention.Cli.Families;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Running;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Verbs;

internal static class RunVerb
{
    internal static Command Make(ToolOutput output)
    {
        Argument<string> problem = new("PROBLEM.json")
        {
            Description = "The problem, for example {\"family\": \"dense\", \"causal\": true, \"window\": [256, -1]}.",
        };
        Option<string> input = new("--input")
        {
            Description = "Safetensors file with the tensors of the family.",
            HelpName = "FILE",
            Required = true,
        };
        Option<string> result = new("--output")
        {
            Description = "Safetensors file to write; floating-point results are float32.",
            HelpName = "FILE",
            Required = true,
        };
        Option<string> dtype = new("--dtype")
        {
            Description = "Casts q, k, v, do and additional_* before the call. [default: as stored, F64 as f32]",
            HelpName = "f32|f16|bf16",
        };
        DeviceArguments device = new();
        Command command = new("run", Describe()) { problem, input, result, dtype };
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            TensorDtype? cast = ParseDtype(parsed.GetValue(dtype));
            Problem given = ProblemReader.ReadFile(parsed.GetValue(problem)!);
            AttentionFamily family = FamilyRegistry.Require(given);
            using SafetensorsReader reader = SafetensorsReader.Open(parsed.GetValue(input)!);
            FamilyInputs inputs = family.FindInputs(given, reader);
            string path = parsed.GetValue(result)!;
            switch (cast ?? inputs.Q.Dtype)
            {
                case TensorDtype.F16:
                    Run<Half>(inputs, Open, path, output);
                    break;
                case TensorDtype.BF16:
                    Run<BFloat16>(inputs, Open, path, output);
                    break;
                default:
                    Run<float>(inputs, Open, path, output);
                    break;
            }

            return ExitCode.Success;

            AttentionDevice Open(Func<CudaDevice, string?> whyNotOn) => device.Open(parsed, output, whyNotOn);
        });
        return command;
    }

    private static string Describe()
    {
        StringBuilder text = new("Runs one problem on tensors from a file.\n\n");
        text.Append("  Fields of every family: scale, backward (false), layout (\"bhsd\" or \"bshd\").\n");
        foreach (AttentionFamily family in FamilyRegistry.Available)
        {
            text.Append("\n  ").Append(family.Name)
                .Append("\n    fields   ").Append(family.FieldsHelp)
                .Append("\n    tensors  ").Append(family.TensorsHelp)
                .Append("\n    results  ").Append(family.ResultsHelp).Append('\n');
        }

        return text.ToString();
    }

    private static void Run<T>(
        FamilyInputs inputs, Func<Func<CudaDevice, string?>, AttentionDevice> open, string path, ToolOutput output)
        where T : unmanaged => output.ShowProgress(progress =>
    {
        using FamilyRun<T> run = inputs.MakeRun<T>();
        using AttentionDevice device = open(run.WhyNotOn);
        IReadOnlyList<OutputTensor> results = run.Run(device, progress);
        progress($"writing {path}");
        SafetensorsWriter.Write(path, results);
    });

    private static TensorDtype? ParseDtype(string? text) => text switch
    {
        null => null,
        "f32" => TensorDtype.F32,
        "f16" => TensorDtype.F16,
        "bf16" => TensorDtype.BF16,
        _ => throw new BadInputException($"--dtype is {StrictJson.Quote(text)}; expected f32, f16 or bf16"),
    };
}
