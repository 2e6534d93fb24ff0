// The demo verb: dense attention at real sizes, with time, error and memory, a table file and a picture.
using System.Collections.Generic;
using System.CommandLine;
using System.IO;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Imaging;
using FusedAttention.Cli.Measuring;
using FusedAttention.Cli.Problems;

namespace FusedAttention.Cli.Verbs;

internal static class DemoVerb
{
    private const double SecondsPerPass = 0.5;
    private const double QuickSecondsPerPass = 0.05;
    private const long QuickDivisor = 4;

    internal static Command Make(ToolOutput output)
    {
        Option<string> folder = new("--out")
        {
            Description = "Folder for demo.md, demo.json and schedules.png."
                + " [default: .build/demo inside the repository, fattn-demo elsewhere]",
            HelpName = "DIR",
        };
        Option<bool> quick = new("--quick") { Description = "Quarters the sequence lengths: a first look in seconds." };
        DeviceArguments device = new();
        Command command = new("demo", "Runs attention at real sizes and shows time, speed, error and memory.")
        {
            folder,
            quick,
        };
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            using AttentionDevice opened = device.Open(parsed, output);
            string path = OutputFolder.Make(parsed.GetValue(folder), "demo");
            bool isQuick = parsed.GetValue(quick);
            MeasuredReport report = CaseSuite.Measure(
                Cases(isQuick ? QuickDivisor : 1),
                opened,
                isQuick ? QuickSecondsPerPass : SecondsPerPass,
                CaseSuite.CommandLine(parsed),
                output);
            ResultTable.Show(output.ResultConsole, report, baseline: null);
            OutputFile.WriteText(
                Path.Combine(path, "demo.md"),
                text => ResultTable.WriteMarkdown(text, "Dense attention on this machine", report, baseline: null));
            OutputFile.Write(Path.Combine(path, "demo.json"), stream => ResultTable.WriteJson(stream, report));
            PngWriter.WriteFile(Path.Combine(path, "schedules.png"), DrawSchedules(opened));
            output.Results.WriteLine($"{report.Machine}. Families: {FamilySupport.Describe()}.");
            output.Results.WriteLine($"Wrote {Path.Combine(path, "demo.md")}, demo.json and schedules.png.");
            return ExitCode.Success;
        });
        return command;
    }

    private static List<MeasuredCase> Cases(long divisor)
    {
        DenseOptions plain = new();
        DenseOptions causal = new() { Causal = true };
        DenseOptions training = new() { Causal = true, Backward = true };
        return
        [
            new("full", CaseType.F32, new AttentionShape(1, 8, 4096 / divisor, 64), plain),
            new("causal", CaseType.F32, new AttentionShape(1, 8, 4096 / divisor, 128), causal),
            new("causal half precision", CaseType.F16, new AttentionShape(1, 8, 4096 / divisor, 128), causal),
            new("prefill, grouped heads", CaseType.BF16, AttentionShape.Gqa(1, 32, 8, 4096 / divisor, 128), causal),
            new("long causal", CaseType.BF16, new AttentionShape(1, 4, 16384 / divisor, 64), causal),
            new("window of 256", CaseType.F32, new AttentionShape(1, 8, 16384 / divisor, 64),
                new DenseOptions { Causal = true, Window = new AttentionWindow(255, 0) }),
            new("soft-cap, ALiBi, sinks", CaseType.F32, new AttentionShape(2, 8, 1024 / divisor, 64),
                new DenseOptions { Causal = true, SoftCap = 30, Alibi = true, Sinks = true }),
            new("decode one token", CaseType.BF16, AttentionShape.Decode(1, 32, 8, 32768 / divisor, 128), causal),
            new("decode a batch", CaseType.F32, AttentionShape.Decode(8, 32, 8, 4096 / divisor, 128), causal),
            new("training", CaseType.F32, new AttentionShape(1, 8, 2048 / divisor, 64), training),
            new("training, grouped heads", CaseType.BF16, AttentionShape.Gqa(1, 16, 4, 2048 / divisor, 128), training),
        ];
    }

    private static Raster DrawSchedules(AttentionDevice device)
    {
        AttentionShape square = new(1, 1, 4096, 64);
        (string Name, AttentionShape Shape, DenseOptions Options)[] problems =
        [
            ("full", square, new DenseOptions()),
            ("causal", square, new DenseOptions { Causal = true }),
            ("causal, 1024 queries", square with { QueryLength = 1024 }, new DenseOptions { Causal = true }),
            ("window 1000 left", square, new DenseOptions { Causal = true, Window = new AttentionWindow(1000, null) }),
        ];
        List<PatternMap> maps = [];
        foreach ((string name, AttentionShape shape, DenseOptions options) in problems)
        {
            using DenseAttentionPlan<float> plan = new(shape, options, device);
            maps.AddRange(DenseDrawing.MapsOf(plan).ConvertAll(map => map.Rename(name)));
        }

        return SchedulePicture.Draw(maps, ["dense attention, 4096 keys: which tiles of the score matrix are computed"]);
    }
}
