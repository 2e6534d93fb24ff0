// What demo and bench measure of lightning attention; asked through the lightning family.
using System;
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Measuring;

namespace FusedAttention.Cli.Families;

internal static class LightningCases
{
    private static readonly LightningOptions Plain = new();
    private static readonly LightningOptions Training = new() { Backward = true };

    /// <summary>One head from a thousand to a million tokens: time a token stays the same.</summary>
    internal static ScalingSeries Scaling { get; } = new(
        "linear attention, one head of 64",
        [
            .. new long[] { 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20 }.Select(
                static length => (
                    length,
                    (MeasuredCase)new LightningCase(
                        $"lightning grows s{length}", CaseType.F32, new AttentionShape(1, 1, length, 64), Plain))),
        ]);

    /// <param name="divisor">Lengths are divided by it; 1 is real size.</param>
    internal static IEnumerable<MeasuredCase> Demo(long divisor) =>
    [
        new LightningCase("linear, 16 heads", CaseType.F32, new AttentionShape(1, 16, 4096 / divisor, 128), Plain),
        new LightningCase("linear, long", CaseType.BF16, new AttentionShape(1, 16, 32768 / divisor, 128), Plain),
        new LightningCase(
            "linear, grouped heads", CaseType.F16, AttentionShape.Gqa(1, 16, 4, 4096 / divisor, 64), Plain),
        new LightningCase("linear, training", CaseType.F32, new AttentionShape(1, 16, 4096 / divisor, 64), Training),
    ];

    internal static IEnumerable<MeasuredCase> Bench()
    {
        foreach (CaseType type in Enum.GetValues<CaseType>())
        {
            string name = type.ToString().ToLowerInvariant();
            foreach (long length in new long[] { 1024, 16384 })
            {
                yield return new LightningCase(
                    $"{name} lightning d128 s{length}", type, new AttentionShape(1, 16, length, 128), Plain);
            }

            yield return new LightningCase(
                $"{name} lightning d64 s4096 train", type, new AttentionShape(1, 16, 4096, 64), Training);
        }
    }
}
