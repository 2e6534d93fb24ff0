// The denoise verb: non-local means as 2-D neighborhood attention, on a picture or on a generated scene.
using System.CommandLine;
using FusedAttention.Cli.Denoising;
using FusedAttention.Cli.Imaging;

namespace FusedAttention.Cli.Verbs;

internal static class DenoiseVerb
{
    private const int DefaultHeight = 480;
    private const int DefaultWindow = 15;
    private const int DefaultPatch = 5;
    private const double SceneNoise = 25;

    internal static Command Make(ToolOutput output)
    {
        Argument<string[]> pictures = new("IN OUT")
        {
            Description = "The picture to read and that to write: .png, .ppm or .pgm. OUT alone generates a scene.",
            Arity = new ArgumentArity(1, 2),
        };
        Option<bool> scene = new("--scene")
        {
            Description = "Generates a scene, dusk over a lake; there is no IN then.",
        };
        Option<string> comparison = new("--compare")
        {
            Description = "Also writes the pictures before and after side by side, and the original where it is known.",
            HelpName = "FILE",
        };
        NumberOption height = new("--size", $"Height of the scene, pixels. [default: {DefaultHeight}]", 16, 4096);
        NumberOption noise = new(
            "--noise", $"Adds noise of this deviation, 0..255, first. [default: {SceneNoise} for the scene, else 0]",
            0, 255, isWhole: false);
        NumberOption strength = new(
            "--strength", "1 fits the noise, more smooths more. [default: 1]", 0.01, 100, isWhole: false);
        NumberOption window = new(
            "--window", $"Pixels along a side of the searched window. [default: {DefaultWindow}]", 1, 255);
        NumberOption patch = new(
            "--patch", $"Pixels along a side of a patch, odd. [default: {DefaultPatch}]", 1, 13);
        DeviceArguments device = new();
        Command command = new(
            "denoise", "Removes noise from a picture by non-local means, which is 2-D neighborhood attention.")
        {
            pictures,
            scene,
            comparison,
            height.Option,
            noise.Option,
            strength.Option,
            window.Option,
            patch.Option,
        };
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            string[] names = parsed.GetValue(pictures)!;
            string? input = InputOf(names, parsed.GetValue(scene));
            DenoiseRequest request = new(input, names[^1], parsed.GetValue(comparison))
            {
                SceneHeight = (int)height.Get(parsed, DefaultHeight),
                AddedNoise = noise.Get(parsed, input is null ? SceneNoise : 0),
                Strength = strength.Get(parsed, 1),
                Window = (int)window.Get(parsed, DefaultWindow),
                Patch = CheckOdd((int)patch.Get(parsed, DefaultPatch)),
            };
            PictureFile.CheckName(request.Output);
            PictureFile.CheckName(request.Comparison ?? request.Output);
            using AttentionDevice opened = device.Open(parsed, output);
            DenoiseJob.Run(request, opened, output);
            return ExitCode.Success;
        });
        return command;
    }

    private static string? InputOf(string[] names, bool isScene)
    {
        if (isScene && names.Length > 1)
        {
            throw new BadInputException(
                $"--scene generates the picture, but {StrictJson.Quote(names[0])} is given to read; leave one out");
        }

        return names.Length > 1 ? names[0] : null;
    }

    private static int CheckOdd(int patch) => patch % 2 == 1
        ? patch
        : throw new BadInputException($"--patch is {patch}; expected an odd number, so that it has a middle pixel");
}
