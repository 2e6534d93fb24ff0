// What demo and bench measure and draw of permuted block-sparse attention; asked through its family.
using System;
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Measuring;

namespace FusedAttention.Cli.Families;

internal static class PermutedBlockCases
{
    private static readonly PermutedBlockOptions Plain = new();

    /// <param name="divisor">Lengths are divided by it; 1 is real size.</param>
    internal static IEnumerable<MeasuredCase> Demo(long divisor) =>
    [
        new PermutedBlockCase(
            "permuted blocks", CaseType.F32, new AttentionShape(1, 2, 16384 / divisor, 64), Plain),
        new PermutedBlockCase(
            "permuted blocks, shared by grouped heads", CaseType.BF16,
            AttentionShape.Gqa(1, 4, 1, 16384 / divisor, 128), Plain with { SharePermutation = true }),
        new PermutedBlockCase(
            "permuted blocks, training", CaseType.F32, new AttentionShape(1, 2, 8192 / divisor, 64),
            Plain with { Backward = true }),
    ];

    internal static IEnumerable<MeasuredCase> Bench()
    {
        foreach (CaseType type in Enum.GetValues<CaseType>())
        {
            string name = type.ToString().ToLowerInvariant();
            yield return new PermutedBlockCase(
                $"permuted_block {name} d64 s16384", type, new AttentionShape(1, 2, 16384, 64), Plain);
            yield return new PermutedBlockCase(
                $"permuted_block {name} d64 s8192 train", type, new AttentionShape(1, 2, 8192, 64),
                Plain with { Backward = true });
        }
    }

    internal static ScalingSeries Scaling { get; } = new(
        "permuted blocks, coverage 0.9, over the length",
        [
            .. new long[] { 4096, 8192, 16384, 32768 }.Select(static tokens => (
                tokens,
                (MeasuredCase)new PermutedBlockCase(
                    $"permuted_block scaling {tokens}", CaseType.F32, new AttentionShape(1, 1, tokens, 64), Plain))),
        ]);

    internal static IEnumerable<PatternMap> DemoMaps(AttentionDevice device)
    {
        AttentionShape shape = new(1, 1, 8192, 64);
        (float[] q, float[] k) = PermutedBlockSample.Make(shape, Plain);
        ScheduleDrawing drawing = PermutedBlockDrawing.Selected(shape, Plain, q, k, device, "permuted blocks");
        foreach (PatternMap map in drawing.Maps)
        {
            yield return map.Rename("permuted blocks, coverage 0.9");
        }
    }
}
