// Shows measured cases: as a table on the terminal, as Markdown, as JSON; used by demo and bench.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text.Encodings.Web;
using System.Text.Json;
using Spectre.Console;

namespace FusedAttention.Cli.Measuring;

internal static class ResultTable
{
    private static readonly string[] Columns =
    [
        "case", "type", "shape", "pass", "time", "speed", "of peak", "visited", "on visited", "vs dense", "error",
        "workspace", "score matrix",
    ];

    // A terminal has no room for them; the name of a case says its pass.
    private static readonly string[] FileColumns = ["pass", "on visited", "score matrix"];

    /// <summary>Writes the table for a terminal, without the columns that only files have.</summary>
    /// <param name="console">Where to.</param>
    /// <param name="report">What was measured.</param>
    /// <param name="baseline">Milliseconds of an earlier run by case name; null leaves the ratio column out.</param>
    internal static void Show(
        IAnsiConsole console, MeasuredReport report, IReadOnlyDictionary<string, double>? baseline)
    {
        Table table = new Table().Border(TableBorder.Simple);
        string[] headings = HeadingsOf(baseline);
        foreach (string column in headings.Except(FileColumns))
        {
            bool isNumber = Array.IndexOf(Columns, column) is not (>= 0 and < 4);
            Justify alignment = isNumber ? Justify.Right : Justify.Left;
            table.AddColumn(new TableColumn(column) { Alignment = alignment, NoWrap = column != "case" });
        }

        foreach (CaseResult result in report.Results)
        {
            table.AddRow([
                .. CellsOf(result, baseline).Where((_, column) => !FileColumns.Contains(headings[column]))
                    .Select(Markup.Escape),
            ]);
        }

        console.Write(table);
        foreach (string line in SelectionsOf(report))
        {
            console.WriteLine(line);
        }
    }

    /// <summary>The same table as Markdown, with the machine above it.</summary>
    internal static void WriteMarkdown(
        TextWriter text, string title, MeasuredReport report, IReadOnlyDictionary<string, double>? baseline)
    {
        text.WriteLine($"# {title}");
        text.WriteLine();
        text.WriteLine($"{report.Machine}. {report.Date}. `{report.Command}`");
        text.WriteLine();
        string[] headings = HeadingsOf(baseline);
        text.WriteLine($"| {string.Join(" | ", headings)} |");
        text.WriteLine($"|{string.Concat(Enumerable.Repeat("---|", headings.Length))}");
        foreach (CaseResult result in report.Results)
        {
            text.WriteLine($"| {string.Join(" | ", CellsOf(result, baseline))} |");
        }

        text.WriteLine();
        text.WriteLine("""
            Time is the median. Speed counts visible pairs only; a case that is bound by memory is given in GB/s of
            what it must read: above 100 % of peak that came from a cache. The peak was measured in the same run,
            just before each case (on a GPU that of copies alone, and time is that of the device, between two
            events). Visited is how many times the visible pairs the tiles hold that are computed, on visited the
            GFLOP/s that count them all. Vs dense is the time of dense attention over the same tokens, measured in
            the same run (of one head, times the heads), over the case's. Error is the largest difference from double
            precision on sampled rows, over the largest value there. The score matrix is what storing all scores
            would take; it is never stored.
            """);
        string[] selections = [.. SelectionsOf(report)];
        if (selections.Length > 0)
        {
            text.WriteLine();
            text.WriteLine("Of cases that choose what they see (the time of choosing is part of theirs):");
            text.WriteLine();
        }

        foreach (string line in selections)
        {
            text.WriteLine($"- {line}");
        }
    }

    /// <summary>
    /// Writes the file that a later run can take as its baseline; <paramref name="statistics"/> is JSON that says what
    /// kernels did on a virtual GPU, null elsewhere.
    /// </summary>
    internal static void WriteJson(Stream stream, MeasuredReport report, string? statistics = null)
    {
        JsonWriterOptions options = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using Utf8JsonWriter json = new(stream, options);
        json.WriteStartObject();
        json.WriteString("machine", report.Machine);
        json.WriteString("date", report.Date);
        json.WriteString("command", report.Command);
        json.WriteStartArray("cases");
        foreach (CaseResult result in report.Results)
        {
            json.WriteStartObject();
            json.WriteString("name", result.Name);
            json.WriteString("type", result.Type);
            json.WriteString("shape", result.Shape);
            json.WriteString("pass", result.Pass);
            json.WriteString("kernel", result.Kernel);
            json.WriteNumber("milliseconds", result.Milliseconds);
            json.WriteNumber("fastest_milliseconds", result.FastestMilliseconds);
            json.WriteNumber("runs", result.Runs);
            json.WriteNumber("gflops", result.GigaFlops);
            json.WriteNumber("gbytes", result.GigaBytes);
            json.WriteString("peak_unit", result.PeakUnit);
            json.WriteNumber("peak", result.Peak);
            json.WriteNumber("peak_share", result.PeakShare);
            if (double.IsFinite(result.Error))
            {
                json.WriteNumber("error", result.Error);
            }
            else
            {
                json.WriteString("error", "infinite");
            }

            json.WriteNumber("workspace_bytes", result.WorkspaceBytes);
            json.WriteNumber("score_matrix_bytes", result.ScoreMatrixBytes);
            json.WriteNumber("visible_share", result.VisibleShare);
            json.WriteNumber("visited_share", result.VisitedShare);
            if (result.DenseMilliseconds is { } dense)
            {
                json.WriteNumber("dense_milliseconds", dense);
                json.WriteNumber("speedup_over_dense", dense / result.Milliseconds);
            }

            if (result.Selection is { } selection)
            {
                json.WriteNumber("selection_milliseconds", selection.Milliseconds);
                json.WriteNumber("kept_block_share", selection.KeptShare);
                json.WriteNumber("coverage", selection.Coverage);
                json.WriteNumber("error_against_dense", selection.DenseError);
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
        if (statistics is not null)
        {
            json.WritePropertyName("virtual_gpu");
            json.WriteRawValue(statistics);
        }

        json.WriteEndObject();
    }

    /// <summary>Bytes with a binary unit: "1.5 MiB".</summary>
    internal static string Bytes(double bytes)
    {
        string[] units = ["B", "KiB", "MiB", "GiB", "TiB"];
        int unit = 0;
        while (bytes >= 1024 && unit < units.Length - 1)
        {
            bytes /= 1024;
            ++unit;
        }

        return $"{Number(bytes, unit == 0 || bytes >= 100 ? "F0" : "F1")} {units[unit]}";
    }

    private static IEnumerable<string> SelectionsOf(MeasuredReport report) =>
        from result in report.Results
        let selection = result.Selection
        where selection is not null
        select $"{result.Name}: selection {Milliseconds(selection.Milliseconds)} of"
            + $" {Milliseconds(result.Milliseconds)}, {Number(100 * selection.KeptShare, "F0")} % of the blocks kept,"
            + $" coverage {Number(selection.Coverage, "F3")},"
            + $" {Number(selection.DenseError, "0.0e-0")} from dense attention";

    private static string[] HeadingsOf(IReadOnlyDictionary<string, double>? baseline) =>
        baseline is null ? Columns : [.. Columns, "vs baseline"];

    private static string[] CellsOf(CaseResult result, IReadOnlyDictionary<string, double>? baseline)
    {
        bool inBytes = result.PeakUnit == "GB/s";
        List<string> cells =
        [
            result.Name,
            result.Type,
            result.Shape,
            result.Pass,
            Milliseconds(result.Milliseconds),
            Rate(inBytes ? result.GigaBytes : result.GigaFlops) + " " + result.PeakUnit,
            Number(100 * result.PeakShare, "F0") + " %",
            Number(result.VisitedShare, "F2") + " x",
            Rate(result.GigaFlops * result.VisitedShare),
            result.DenseMilliseconds is { } dense ? Rate(dense / result.Milliseconds) + " x" : "",
            Number(result.Error, "0.0e-0"),
            Bytes(result.WorkspaceBytes),
            Bytes(result.ScoreMatrixBytes),
        ];
        if (baseline is not null)
        {
            cells.Add(baseline.TryGetValue(result.Name, out double before)
                ? Number(before / result.Milliseconds, "F2") + " x"
                : "new");
        }

        return [.. cells];
    }

    private static string Milliseconds(double value) => Number(value, value < 10 ? "F2" : "F1") + " ms";

    private static string Rate(double value) => Number(value, value < 10 ? "F1" : "F0");

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
