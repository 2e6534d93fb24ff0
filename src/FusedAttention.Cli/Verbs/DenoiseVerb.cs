// The denoise verb: checks its picture, then says which family it needs.
using System.CommandLine;
using FusedAttention.Cli.Imaging;
using FusedAttention.Cli.Problems;

namespace FusedAttention.Cli.Verbs;

internal static class DenoiseVerb
{
    private const int MaxFileBytes = 1 << 30;

    internal static Command Make()
    {
        Argument<string> input = new("IN.png") { Description = "The picture to read." };
        Argument<string> output = new("OUT.png") { Description = "The picture to write." };
        Command command = new(
            "denoise", "Removes noise from a picture by 2-D neighborhood attention (not available yet).")
        {
            input,
            output,
        };
        command.SetAction(parsed => Run(parsed.GetValue(input)!));
        return command;
    }

    private static int Run(string path)
    {
        Raster picture = PngReader.Read(InputFile.ReadAll(path, MaxFileBytes), path);
        throw new UnsupportedException(
            $"denoise is not available yet in this version: {path} is a good picture of {picture.Width} x" +
            $" {picture.Height} pixels, but family {ProblemReader.NameOf(Family.Neighborhood)} is still missing");
    }
}
