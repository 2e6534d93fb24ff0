// Runs the fattn command in this process and keeps what it wrote, for the tests of its verbs.
using System;
using System.Collections.Generic;
using System.IO;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using FusedAttention.Cli;
using FusedAttention.Cli.Safetensors;
using Spectre.Console;

namespace FusedAttention.Tests.Cli;

/// <summary>A temporary folder, and the exit code and text of the last command.</summary>
internal sealed class ToolRun : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fattn").FullName;

    internal int ExitCode { get; private set; }

    internal string Results { get; private set; } = string.Empty;

    internal string Remarks { get; private set; } = string.Empty;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>A path in the folder.</summary>
    internal string At(string name) => Path.Combine(_folder, name);

    /// <summary>Progress is shown as on a terminal, among the remarks.</summary>
    internal bool IsInteractive { get; set; }

    internal void Run(params string[] args)
    {
        using StringWriter results = new();
        using StringWriter remarks = new();
        IAnsiConsole? terminal = IsInteractive
            ? AnsiConsole.Create(new AnsiConsoleSettings
            {
                Out = new AnsiConsoleOutput(remarks),
                Ansi = AnsiSupport.Yes,
                Interactive = InteractionSupport.Yes,
            })
            : null;
        ExitCode = FattnCommand.Run(args, new ToolOutput(results, remarks, terminal));
        Results = results.ToString();
        Remarks = remarks.ToString();
    }

    /// <summary>Writes problem and tensors, runs them, and gives the results by name.</summary>
    internal Dictionary<string, float[]> RunProblem(string problem, OutputTensor[] tensors, params string[] options)
    {
        File.WriteAllText(At("problem.json"), problem);
        SafetensorsWriter.Write(At("in.safetensors"), tensors);
        File.Delete(At("out.safetensors"));
        Run([
            "run", At("problem.json"), "--input", At("in.safetensors"), "--output", At("out.safetensors"), .. options,
        ]);
        Dictionary<string, float[]> results = [];
        if (File.Exists(At("out.safetensors")))
        {
            using SafetensorsReader reader = SafetensorsReader.Open(At("out.safetensors"));
            foreach (TensorEntry entry in reader.Tensors.Values)
            {
                float[] values = new float[entry.NumElements];
                reader.Read(entry, (bytes, first) => Widen(entry.Dtype, bytes, values.AsSpan((int)first)));
                results.Add(entry.Name, values);
            }
        }

        return results;
    }

    private static void Widen(TensorDtype dtype, ReadOnlySpan<byte> bytes, Span<float> values)
    {
        switch (dtype)
        {
            case TensorDtype.U8:
                TensorPrimitives.ConvertChecked<byte, float>(bytes, values);
                break;
            case TensorDtype.I32:
                TensorPrimitives.ConvertChecked<int, float>(MemoryMarshal.Cast<byte, int>(bytes), values);
                break;
            default:
                ElementConversion.ToSingle(dtype, bytes, values);
                break;
        }
    }

    internal static OutputTensor Floats(string name, long[] shape, float[] values) =>
        new(name, TensorDtype.F32, shape, stream => stream.Write(MemoryMarshal.AsBytes<float>(values)));

    internal static OutputTensor Doubles(string name, long[] shape, float[] values) =>
        new(name, TensorDtype.F64, shape, stream =>
            stream.Write(MemoryMarshal.AsBytes<double>(Array.ConvertAll(values, static value => (double)value))));

    internal static OutputTensor Halves(string name, long[] shape, float[] values) =>
        new(name, TensorDtype.F16, shape, stream =>
            stream.Write(MemoryMarshal.AsBytes<Half>(Array.ConvertAll(values, static value => (Half)value))));

    internal static OutputTensor Indices(string name, params int[] values) =>
        new(name, TensorDtype.I32, [values.Length], stream => stream.Write(MemoryMarshal.AsBytes<int>(values)));

    internal static OutputTensor WideIndices(string name, params long[] values) =>
        new(name, TensorDtype.I64, [values.Length], stream => stream.Write(MemoryMarshal.AsBytes<long>(values)));
}
