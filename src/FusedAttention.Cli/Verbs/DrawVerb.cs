// The draw verb: the schedule of a problem as a picture and as text.
using System.CommandLine;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Families;
using FusedAttention.Cli.Imaging;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Running;
using FusedAttention.Cli.Safetensors;

namespace FusedAttention.Cli.Verbs;

internal static class DrawVerb
{
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
            Description = "Takes the sizes from this safetensors file instead of the options below.",
            HelpName = "FILE",
        };
        NumberOption queries = new(
            "--q-len", $"Number of queries. [default: as --kv-len, else {DrawSizes.DefaultLength}]", 1);
        NumberOption keys = new(
            "--kv-len", $"Number of keys. [default: as --q-len, else {DrawSizes.DefaultLength}]", 1);
        NumberOption heads = new("--heads", "Number of query heads. [default: as --kv-heads, else 1]", 1);
        NumberOption keyHeads = new("--kv-heads", "Number of key and value heads. [default: as --heads]", 1);
        DeviceArguments device = new();
        Command command = new("draw", "Draws which tiles of the score matrix are full, partial and skipped, per head.")
        {
            problem,
            picture,
            input,
            queries.Option,
            keys.Option,
            heads.Option,
            keyHeads.Option,
        };
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            Problem given = ProblemReader.ReadFile(parsed.GetValue(problem)!);
            AttentionFamily family = FamilyRegistry.Require(given);
            using SafetensorsReader? reader =
                parsed.GetValue(input) is { } path ? SafetensorsReader.Open(path) : null;
            FamilyInputs? inputs = reader is null ? null : family.FindInputs(given, reader);
            DrawSizes sizes = new(
                inputs,
                (long?)queries.Find(parsed),
                (long?)keys.Find(parsed),
                (long?)heads.Find(parsed),
                (long?)keyHeads.Find(parsed));
            using AttentionDevice opened = device.Open(parsed, output);
            ScheduleDrawing drawing = family.Draw(given, sizes, opened);
            PngWriter.WriteFile(parsed.GetValue(picture)!, SchedulePicture.Draw(drawing.Maps, drawing.Heading));
            foreach (PatternMap map in drawing.Maps)
            {
                output.Results.WriteLine(ScheduleText.Draw(map));
            }

            output.Results.WriteLine(ScheduleText.Legend);
            foreach (string line in drawing.Heading)
            {
                output.Results.WriteLine(line);
            }

            return ExitCode.Success;
        });
        return command;
    }
}
