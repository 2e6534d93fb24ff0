// The bench verb: the performance regression run.
using System;
using System.Collections.Generic;
using System.CommandLine;
using System.IO;
using System.Linq;
using FusedAttention.Cli.Families;
using FusedAttention.Cli.Imaging;
using FusedAttention.Cli.Measuring;

namespace FusedAttention.Cli.Verbs;

internal static class BenchVerb
{
    private const double SecondsPerPass = 1;

    internal static Command Make(ToolOutput output)
    {
        Option<string> folder = new("--out")
        {
            Description = "Folder for bench.json, bench.md and plots of cost against size."
                + " [default: .build/bench inside the repository, fattn-bench elsewhere]",
            HelpName = "DIR",
        };
        Option<string> baseline = new("--baseline")
        {
            Description = "A bench.json of an earlier run; adds the column of ratios (above 1 is faster now).",
            HelpName = "FILE",
        };
        Option<string> filter = new("--filter")
        {
            Description = "Measures only cases whose name contains this text.",
            HelpName = "TEXT",
        };
        NumberOption tokens = new("--tokens", "Cuts all sequences to at most this many tokens, for a slow device.", 1);
        DeviceArguments device = new();
        Command command = new("bench", "Measures a fixed list of shapes against the machine's peak and a baseline.")
        {
            folder,
            baseline,
            filter,
            tokens.Option,
        };
        device.AddTo(command);
        command.SetAction(parsed =>
        {
            Dictionary<string, double>? before =
                parsed.GetValue(baseline) is { } file ? Baseline.ReadFile(file) : null;
            long? most = (long?)tokens.Find(parsed);
            MeasuredCase[] cases = Select(parsed.GetValue(filter), most);
            if (most is { } cut)
            {
                cases = Array.ConvertAll(cases, one => one.Cut(cut));
            }

            using AttentionDevice opened = device.Open(parsed, output);
            VirtualGpuStatistics? statistics = opened is CudaDevice ? VirtualGpuStatistics.Find() : null;
            statistics?.Reset();
            string path = OutputFolder.Make(parsed.GetValue(folder), "bench");
            double seconds = statistics is null ? SecondsPerPass : VirtualGpuStatistics.SecondsPerPass;
            MeasuredReport report = CaseSuite.Measure(
                cases, opened, seconds, CaseSuite.CommandLine(parsed), output);
            ResultTable.Show(output.ResultConsole, report, before);
            OutputFile.Write(
                Path.Combine(path, "bench.json"),
                stream => ResultTable.WriteJson(stream, report, statistics?.ReadJson()));
            OutputFile.WriteText(
                Path.Combine(path, "bench.md"),
                text => ResultTable.WriteMarkdown(text, "Attention, measured", report, before));
            string written = $"Wrote {Path.Combine(path, "bench.json")}, bench.md";
            foreach (AttentionFamily family in FamilyRegistry.Available)
            {
                if (family.Scaling?.Plot(report.Results) is { } plot)
                {
                    string picture = $"scaling-{family.Name}.png";
                    PngWriter.WriteFile(Path.Combine(path, picture), plot.Draw());
                    written += $", {picture}";
                }
            }

            if (statistics is not null)
            {
                output.Results.WriteLine("Times and peaks are those of a virtual GPU's interpreter. What its kernels did:");
                output.Results.WriteLine(statistics.ReadTable());
            }

            output.Results.WriteLine($"{report.Machine}.");
            output.Results.WriteLine($"{written}.");
            return ExitCode.Success;
        });
        return command;
    }

    // A point of a series says how many tokens it has: longer ones are left out, not cut.
    private static MeasuredCase[] Select(string? filter, long? most)
    {
        MeasuredCase[] all =
        [
            .. FamilyRegistry.Available.SelectMany(family => family.BenchCases()
                .Concat(family.Scaling?.Points.Where(point => point.Tokens <= (most ?? point.Tokens))
                    .Select(static point => point.Case) ?? [])),
        ];
        MeasuredCase[] selected =
            [.. all.Where(entry => filter is null || entry.Name.Contains(filter, StringComparison.OrdinalIgnoreCase))];
        return selected.Length > 0
            ? selected
            : throw new BadInputException($"--filter {StrictJson.Quote(filter!)} matches no case; the names are" +
                $" {string.Join(", ", all.Select(static entry => entry.Name))}");
    }
}
