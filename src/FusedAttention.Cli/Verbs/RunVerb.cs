// The run verb: a problem file and a tensor file in, a tensor file out.
using System;
using System.Collections.Generic;
using System.CommandLine;
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
            Description = "The problem, for example {\"family\": \"dense\", \"causal\": true, \"window\": [256, -1]}."
                + " Fields of dense: causal, causal_alignment, window, scale, softcap, backward, layout.",
        };
        Option<string> input = new("--input")
        {
            Description = "Safetensors file with q, k, v; optional bias, alibi_slopes, sink_logits, cu_seqlens_q,"
                + " cu_seqlens_k, do, dlse.",
            HelpName = "FILE",
            Required = true,
        };
        Option<string> result = new("--output")
        {
            Description = "Safetensors file to write: o and lse, with \"backward\": true also dq, dk, dv and the"
                + " gradients of bias and sink_logits. All are float32.",
            HelpName = "FILE",
            Required = true,
        };
        Option<string> dtype = new("--dtype")
        {
            Description = "Casts q, k, v and do before the call. [default: as stored, F64 as f32]",
            HelpName = "f32|f16|bf16",
        };
        DeviceArguments device = new();
        Command command = new("run", "Runs one problem on tensors from a file.") { problem, input, result, dtype };
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            TensorDtype? cast = ParseDtype(parsed.GetValue(dtype));
            DenseProblem dense = FamilySupport.RequireAvailable(ProblemReader.ReadFile(parsed.GetValue(problem)!));
            using SafetensorsReader reader = SafetensorsReader.Open(parsed.GetValue(input)!);
            DenseInputs inputs = DenseInputs.Find(dense, reader);
            using AttentionDevice opened = device.Open(parsed, output);
            string path = parsed.GetValue(result)!;
            switch (cast ?? inputs.Q.Dtype)
            {
                case TensorDtype.F16:
                    Run<Half>(dense, inputs, reader, opened, path);
                    break;
                case TensorDtype.BF16:
                    Run<BFloat16>(dense, inputs, reader, opened, path);
                    break;
                default:
                    Run<float>(dense, inputs, reader, opened, path);
                    break;
            }

            return ExitCode.Success;
        });
        return command;
    }

    private static void Run<T>(
        DenseProblem problem, DenseInputs inputs, SafetensorsReader reader, AttentionDevice device, string path)
        where T : unmanaged
    {
        using DenseRun<T> run = new(problem, inputs, reader);
        List<OutputTensor> results = run.Run(device);
        SafetensorsWriter.Write(path, results);
    }

    private static TensorDtype? ParseDtype(string? text) => text switch
    {
        null => null,
        "f32" => TensorDtype.F32,
        "f16" => TensorDtype.F16,
        "bf16" => TensorDtype.BF16,
        _ => throw new BadInputException($"--dtype is {StrictJson.Quote(text)}; expected f32, f16 or bf16"),
    };
}
