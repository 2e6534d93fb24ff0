// What demo and bench measure and draw of S2 attention; asked through the S2 family.
using System;
using System.Collections.Generic;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Measuring;

namespace FusedAttention.Cli.Families;

internal static class S2Cases
{
    private static readonly S2Options PerKeyHead = new() { BlockSize = 64, LocalBlocks = 16, VerticalStride = 8 };

    /// <param name="divisor">Lengths and, of the large cases, heads are divided by it; 1 is real size.</param>
    internal static IEnumerable<MeasuredCase> Demo(long divisor) =>
    [
        new S2Case(
            "s2 Phi-3-small", CaseType.BF16, AttentionShape.Gqa(1, 32 / divisor, 8 / divisor, 8192 / divisor, 128),
            S2Options.Phi3Small),
        new S2Case(
            "s2 long, pattern per key head", CaseType.BF16, new AttentionShape(1, 8 / divisor, 32768 / divisor, 128),
            PerKeyHead),
        new S2Case(
            "s2 training", CaseType.F32, new AttentionShape(1, 8, 4096 / divisor, 64),
            PerKeyHead with { LocalBlocks = 8, Backward = true }),
    ];

    internal static IEnumerable<MeasuredCase> Bench()
    {
        foreach (CaseType type in Enum.GetValues<CaseType>())
        {
            string name = type.ToString().ToLowerInvariant();
            foreach (long length in new long[] { 8192, 16384, 32768 })
            {
                yield return new S2Case(
                    $"{name} s2 d128 s{length}", type, AttentionShape.Gqa(1, 8, 2, length, 128), S2Options.Phi3Small);
            }

            yield return new S2Case(
                $"{name} s2 d64 s8192 train", type, new AttentionShape(1, 8, 8192, 64),
                PerKeyHead with { Backward = true });
        }
    }

    internal static IEnumerable<PatternMap> DemoMaps(AttentionDevice device)
    {
        AttentionShape shape = new(1, 4, 4096, 64);
        (string Name, S2Options Options)[] problems =
        [
            ("s2, stride 4", PerKeyHead with { LocalBlocks = 8, VerticalStride = 4 }),
            ("s2 two-sided", PerKeyHead with { LocalBlocks = 4, Causal = false }),
        ];
        foreach ((string name, S2Options options) in problems)
        {
            using S2AttentionPlan<float> plan = new(shape, options, device);
            List<PatternMap> maps = ScheduleDrawing.Of(plan, shape, name).Maps;
            for (int map = 0; map < Math.Min(2, maps.Count); ++map)
            {
                yield return maps[map].Rename($"{name}, {maps[map].Title}");
            }
        }
    }
}
