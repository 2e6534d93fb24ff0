// The tiles that a selection of permuted blocks visits as a drawing; used by its family.
using System.Collections.Generic;
using System.Globalization;

namespace FusedAttention.Cli.Drawing;

internal static class PermutedBlockDrawing
{
    /// <summary>Selects, then draws.</summary>
    internal static ScheduleDrawing Selected(
        AttentionShape shape, PermutedBlockOptions options, TensorIn<float> q, TensorIn<float> k,
        AttentionDevice device, string words)
    {
        using PermutedBlockAttentionPlan<float> plan = new(shape, options, device);
        long heads = shape.Batch * shape.QueryHeads;
        int[] permutation = new int[heads * shape.KeyLength];
        byte[] blockMask = new byte[heads * plan.QueryBlocks * plan.KeyBlocks];
        plan.Select(q, k, permutation, blockMask);
        return Given(plan, permutation, blockMask, words);
    }

    /// <summary>Draws a selection, of batch entry 0.</summary>
    internal static ScheduleDrawing Given(
        PermutedBlockAttentionPlan<float> plan, int[] permutation, byte[] blockMask, string words)
    {
        List<TileState[]> perHead = [];
        for (long head = 0; head < plan.Shape.QueryHeads; ++head)
        {
            perHead.Add(plan.GetTileMap(permutation, blockMask, 0, head).Tiles.ToArray());
        }

        ScheduleStats stats = plan.GetScheduleStats(permutation, blockMask);
        double all = (double)plan.Shape.Batch * plan.Shape.QueryHeads * plan.Shape.QueryLength * plan.Shape.KeyLength;
        string[] heading =
        [
            $"{words}, {plan.Shape.QueryLength} queries, {plan.Shape.KeyLength} keys",
            string.Create(CultureInfo.InvariantCulture,
                $"blocks of {stats.TileQueries} x {stats.TileKeys}, {100 * stats.VisitedPairs / all:F0}% of all pairs" +
                $" visited"),
        ];
        return new ScheduleDrawing(
            PatternMap.Group((int)plan.QueryBlocks, (int)plan.KeyBlocks, perHead), heading);
    }
}
