// The demo verb: every family at real sizes, with time, error and memory, a table file and a picture.
using System;
using System.Collections.Generic;
using System.CommandLine;
using System.IO;
using System.Linq;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Families;
using FusedAttention.Cli.Imaging;
using FusedAttention.Cli.Measuring;

namespace FusedAttention.Cli.Verbs;

internal static class DemoVerb
{
    private const double SecondsPerPass = 0.5;
    private const double QuickSecondsPerPass = 0.05;
    private const long QuickDivisor = 8;

    internal static Command Make(ToolOutput output)
    {
        Option<string> folder = new("--out")
        {
            Description = "Folder for demo.md, demo.json and schedules.png."
                + " [default: .build/demo inside the repository, fattn-demo elsewhere]",
            HelpName = "DIR",
        };
        Option<bool> quick = new("--quick") { Description = "An eighth of the sequence lengths: a first look in seconds." };
        NumberOption tokens = new("--tokens", "Cuts all sequences to at most this many tokens, for a slow device.", 1);
        DeviceArguments device = new();
        Command command = new("demo", "Runs attention at real sizes and shows time, speed, error and memory.")
        {
            folder,
            quick,
            tokens.Option,
        };
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            using AttentionDevice opened = device.Open(parsed, output);
            string path = OutputFolder.Make(parsed.GetValue(folder), "demo");
            bool isQuick = parsed.GetValue(quick);
            bool isVirtual = opened is CudaDevice && VirtualGpuStatistics.Find() is not null;
            long divisor = isQuick ? QuickDivisor : 1;
            MeasuredCase[] cases = [.. FamilyRegistry.Available.SelectMany(family => family.DemoCases(divisor))];
            if (tokens.Find(parsed) is { } most)
            {
                cases = Array.ConvertAll(cases, one => one.Cut((long)most));
            }

            MeasuredReport report = CaseSuite.Measure(
                cases,
                opened,
                isVirtual ? VirtualGpuStatistics.SecondsPerPass : isQuick ? QuickSecondsPerPass : SecondsPerPass,
                CaseSuite.CommandLine(parsed),
                output);
            ResultTable.Show(output.ResultConsole, report, baseline: null);
            OutputFile.WriteText(
                Path.Combine(path, "demo.md"),
                text => ResultTable.WriteMarkdown(text, "Attention on this machine", report, baseline: null));
            OutputFile.Write(Path.Combine(path, "demo.json"), stream => ResultTable.WriteJson(stream, report));
            PngWriter.WriteFile(Path.Combine(path, "schedules.png"), DrawSchedules(opened));
            if (isVirtual)
            {
                output.Results.WriteLine("Times and peaks are those of a virtual GPU's interpreter.");
            }

            output.Results.WriteLine($"{report.Machine}. Families: {FamilyRegistry.Describe()}.");
            output.Results.WriteLine($"Wrote {Path.Combine(path, "demo.md")}, demo.json and schedules.png.");
            return ExitCode.Success;
        });
        return command;
    }

    // One block of panels for each family, under each other.
    private static Raster DrawSchedules(AttentionDevice device)
    {
        List<Raster> blocks = [];
        foreach (AttentionFamily family in FamilyRegistry.Available)
        {
            PatternMap[] maps = [.. family.DemoMaps(device)];
            if (maps.Length > 0)
            {
                string heading = $"{family.Name.Replace('_', ' ')}: which tiles of the score matrix are computed";
                blocks.Add(SchedulePicture.Draw(maps, [heading]));
            }
        }

        return SchedulePicture.Stack(blocks);
    }
}
