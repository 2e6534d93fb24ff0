// Asks a dense plan for its tile maps and puts the problem into words for a picture; used by draw and demo.
using System.Collections.Generic;
using System.Globalization;

namespace FusedAttention.Cli.Drawing;

internal static class DenseDrawing
{
    /// <summary>One map for each run of heads that share it, of batch entry 0.</summary>
    internal static List<PatternMap> MapsOf<T>(DenseAttentionPlan<T> plan)
        where T : unmanaged
    {
        List<TileState[]> perHead = [];
        TileMap map = plan.GetTileMap();
        for (long head = 0; head < plan.Shape.QueryHeads; ++head)
        {
            perHead.Add(plan.GetTileMap(0, head).Tiles.ToArray());
        }

        return PatternMap.Group((int)map.Rows, (int)map.Columns, perHead);
    }

    /// <summary>Two lines: the problem, and its tiles.</summary>
    internal static string[] HeadingOf<T>(DenseAttentionPlan<T> plan)
        where T : unmanaged
    {
        ScheduleStats stats = plan.GetScheduleStats();
        double useful = stats.VisitedPairs == 0 ? 100 : 100 * stats.NeededPairs / stats.VisitedPairs;
        return
        [
            $"{Describe(plan.Options)}, {plan.Shape.QueryLength} queries, {plan.Shape.KeyLength} keys",
            string.Create(CultureInfo.InvariantCulture,
                $"tiles of {stats.TileQueries} x {stats.TileKeys}, {useful:F0}% of the visited pairs are needed"),
        ];
    }

    private static string Describe(DenseOptions options)
    {
        List<string> words = ["dense"];
        if (options.Causal)
        {
            words.Add("causal");
        }

        if (options.CausalAlignment == CausalAlignment.TopLeft)
        {
            words.Add("top left");
        }

        if (options.Window is { } window)
        {
            words.Add($"window {Side(window.Left)} left {Side(window.Right)} right");
        }

        return string.Join(" ", words);
    }

    private static string Side(long? keys) => keys?.ToString(CultureInfo.InvariantCulture) ?? "open";
}
