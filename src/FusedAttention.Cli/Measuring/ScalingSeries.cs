// How a family's cost grows with the size of its problem; measured and plotted by bench.
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Drawing;

namespace FusedAttention.Cli.Measuring;

/// <param name="Title">What grows and what stays, in a few words.</param>
/// <param name="Points">Tokens and case, ascending.</param>
internal sealed record ScalingSeries(string Title, IReadOnlyList<(long Tokens, MeasuredCase Case)> Points)
{
    /// <summary>Microseconds a token over tokens, with dense attention where it was measured.</summary>
    /// <param name="results">Of a whole run.</param>
    /// <returns>Null when fewer than two points were measured.</returns>
    internal LinePlot? Plot(IEnumerable<CaseResult> results)
    {
        Dictionary<string, CaseResult> byName = results.ToDictionary(static result => result.Name);
        List<(double X, double Y)> own = [];
        List<(double X, double Y)> dense = [];
        foreach ((long tokens, MeasuredCase measured) in Points)
        {
            if (byName.TryGetValue(measured.Name, out CaseResult? result))
            {
                own.Add((tokens, 1e3 * result.Milliseconds / tokens));
                if (result.DenseMilliseconds is { } milliseconds)
                {
                    dense.Add((tokens, 1e3 * milliseconds / tokens));
                }
            }
        }

        if (own.Count < 2)
        {
            return null;
        }

        List<PlotLine> lines = [new PlotLine("this family", own)];
        if (dense.Count > 0)
        {
            lines.Add(new PlotLine("dense over the same tokens", dense));
        }

        return new LinePlot(Title, "tokens", "microseconds a token", lines);
    }
}
