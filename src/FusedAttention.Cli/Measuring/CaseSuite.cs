// Measures a list of cases behind a progress bar; shared by demo and bench.
using System;
using System.Collections.Generic;
using System.CommandLine;
using System.Globalization;
using System.Linq;
using Spectre.Console;

namespace FusedAttention.Cli.Measuring;

internal static class CaseSuite
{
    /// <summary>The command as it was typed.</summary>
    internal static string CommandLine(ParseResult parsed) =>
        $"fattn {string.Join(' ', parsed.Tokens.Select(static token => token.Value))}";

    /// <summary>Runs all cases; what happens is shown on the remark stream.</summary>
    /// <param name="cases">What to measure, in order.</param>
    /// <param name="device">Where.</param>
    /// <param name="seconds">About how long each pass is repeated.</param>
    /// <param name="command">The command line to note in the report.</param>
    /// <param name="output">Where remarks go.</param>
    internal static MeasuredReport Measure(
        IReadOnlyList<MeasuredCase> cases, AttentionDevice device, double seconds, string command, ToolOutput output)
    {
        using CaseRunner runner = new(device, seconds);
        List<CaseResult> results = [];
        List<string> refused = [];
        if (output.RemarkConsole.Profile.Capabilities.Interactive)
        {
            // Drawn between cases only: a drawing thread would take time from what is measured.
            output.RemarkConsole.Progress().AutoClear(true).AutoRefresh(false).Start(context =>
            {
                ProgressTask task = context.AddTask("measuring", maxValue: cases.Count);
                foreach (MeasuredCase measured in cases)
                {
                    task.Description = Markup.Escape(measured.Name);
                    context.Refresh();
                    Add(measured);
                    task.Increment(1);
                }
            });
        }
        else
        {
            for (int i = 0; i < cases.Count; ++i)
            {
                output.Remarks.WriteLine($"[{i + 1}/{cases.Count}] {cases[i].Name}");
                Add(cases[i]);
            }
        }

        foreach (string reason in refused)
        {
            output.Remarks.WriteLine(reason);
        }

        string date = DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture);
        return new MeasuredReport(DeviceArguments.Describe(device), date, command, results);

        // A device that lacks one feature still shows the others.
        void Add(MeasuredCase measured)
        {
            try
            {
                results.AddRange(runner.Measure(measured));
            }
            catch (AttentionException error) when (error.Status == AttentionStatus.Unsupported)
            {
                refused.Add($"{measured.Name} is left out: {error.NativeText}");
            }
        }
    }
}
