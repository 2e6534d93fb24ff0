// The draw verb: the schedule of a problem as a picture and as text.
using System.Collections.Generic;
using System.CommandLine;
using System.Globalization;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Imaging;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Running;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Verbs;

internal static class DrawVerb
{
    private const long DefaultLength = 2048;
    private const long DefaultHeadDim = 64;

    internal static Command Make(ToolOutput output)
    {
        Argument<string> problem = new("PROBLEM.json") { Description = "The problem, as for run." };
        Option<string> picture = new("--output")
        {
            Description = "PNG file to write.",
            HelpName = "FILE",
            Required = true,
        };
        Option<string> input = new("--input")
        {
            Description = "Takes the sizes from this safetensors file instead of --q-len and --kv-len.",
            HelpName = "FILE",
        };
        Option<string> queries = new("--q-len")
        {
            Description = $"Number of queries. [default: as --kv-len, else {DefaultLength}]",
            HelpName = "N",
        };
        Option<string> keys = new("--kv-len")
        {
            Description = $"Number of keys. [default: as --q-len, else {DefaultLength}]",
            HelpName = "N",
        };
        DeviceArguments device = new();
        Command command = new("draw", "Draws which tiles of the score matrix are full, partial and skipped, per head.")
        {
            problem,
            picture,
            input,
            queries,
            keys,
        };
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            DenseProblem dense = FamilySupport.RequireAvailable(ProblemReader.ReadFile(parsed.GetValue(problem)!));
            long? queryLength = ParseLength("--q-len", parsed.GetValue(queries));
            long? keyLength = ParseLength("--kv-len", parsed.GetValue(keys));
            AttentionShape shape = parsed.GetValue(input) is { } path
                ? ShapeOf(dense, path)
                : new AttentionShape(1, 1, queryLength ?? keyLength ?? DefaultLength, DefaultHeadDim)
                {
                    KeyLength = keyLength ?? queryLength ?? DefaultLength,
                };
            using AttentionDevice opened = device.Open(parsed, output);
            using DenseAttentionPlan<float> plan = new(
                shape, DensePlanOptions.From(dense) with { Backward = false }, opened);
            List<PatternMap> maps = DenseDrawing.MapsOf(plan);
            PngWriter.WriteFile(
                parsed.GetValue(picture)!, SchedulePicture.Draw(maps, DenseDrawing.HeadingOf(plan)));
            foreach (PatternMap map in maps)
            {
                output.Results.WriteLine(ScheduleText.Draw(map));
            }

            output.Results.WriteLine(ScheduleText.Legend);
            return ExitCode.Success;
        });
        return command;
    }

    private static AttentionShape ShapeOf(DenseProblem problem, string path)
    {
        using SafetensorsReader reader = SafetensorsReader.Open(path);
        return DenseInputs.Find(problem, reader).Shape;
    }

    private static long? ParseLength(string option, string? text)
    {
        if (text is null)
        {
            return null;
        }

        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int length) && length > 0
            ? length
            : throw new BadInputException($"{option} is {StrictJson.Quote(text)}; expected a whole number from 1");
    }
}
