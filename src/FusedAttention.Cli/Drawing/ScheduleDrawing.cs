// The schedule of a plan as the maps and words of a drawing; used by draw and demo.
using System.Collections.Generic;
using System.Globalization;

namespace FusedAttention.Cli.Drawing;

/// <param name="Maps">One map for each run of heads that share it, of batch entry 0.</param>
/// <param name="Heading">Two lines: the problem, and its tiles.</param>
internal sealed record ScheduleDrawing(List<PatternMap> Maps, string[] Heading)
{
    /// <param name="plan">Asked for the tiles of every head.</param>
    /// <param name="shape">The sizes the plan was made for.</param>
    /// <param name="problem">The problem in words, for example "dense causal".</param>
    internal static ScheduleDrawing Of(AttentionPlan plan, AttentionShape shape, string problem)
    {
        List<TileState[]> perHead = [];
        TileMap map = plan.GetTileMap();
        for (long head = 0; head < shape.QueryHeads; ++head)
        {
            perHead.Add(plan.GetTileMap(0, head).Tiles.ToArray());
        }

        ScheduleStats stats = plan.GetScheduleStats();
        double useful = stats.VisitedPairs == 0 ? 100 : 100 * stats.NeededPairs / stats.VisitedPairs;
        string[] heading =
        [
            $"{problem}, {shape.QueryLength} queries, {shape.KeyLength} keys",
            string.Create(CultureInfo.InvariantCulture,
                $"tiles of {stats.TileQueries} x {stats.TileKeys}, {useful:F0}% of the visited pairs are needed"),
        ];
        return new ScheduleDrawing(PatternMap.Group((int)map.Rows, (int)map.Columns, perHead), heading);
    }
}
