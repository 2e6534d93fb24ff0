// What demo and bench measure and draw of dense attention; asked through the dense family.
using System;
using System.Collections.Generic;
using FusedAttention.Cli.Drawing;
using FusedAttention.Cli.Measuring;

namespace FusedAttention.Cli.Families;

internal static class DenseCases
{
    private static readonly DenseOptions Plain = new();
    private static readonly DenseOptions Causal = new() { Causal = true };

    /// <param name="divisor">Lengths are divided by it; 1 is real size.</param>
    internal static IEnumerable<MeasuredCase> Demo(long divisor)
    {
        DenseOptions training = Causal with { Backward = true };
        return
        [
            new DenseCase("full", CaseType.F32, new AttentionShape(1, 8, 4096 / divisor, 64), Plain),
            new DenseCase("causal", CaseType.F32, new AttentionShape(1, 8, 4096 / divisor, 128), Causal),
            new DenseCase("causal half precision", CaseType.F16, new AttentionShape(1, 8, 4096 / divisor, 128), Causal),
            new DenseCase(
                "prefill, grouped heads", CaseType.BF16, AttentionShape.Gqa(1, 32, 8, 4096 / divisor, 128), Causal),
            new DenseCase("long causal", CaseType.BF16, new AttentionShape(1, 4, 16384 / divisor, 64), Causal),
            new DenseCase("window of 256", CaseType.F32, new AttentionShape(1, 8, 16384 / divisor, 64),
                new DenseOptions { Causal = true, Window = new AttentionWindow(255, 0) }),
            new DenseCase("soft-cap, ALiBi, sinks", CaseType.F32, new AttentionShape(2, 8, 1024 / divisor, 64),
                new DenseOptions { Causal = true, SoftCap = 30, Alibi = true, Sinks = true }),
            new DenseCase(
                "decode one token", CaseType.BF16, AttentionShape.Decode(1, 32, 8, 32768 / divisor, 128), Causal),
            new DenseCase("decode a batch", CaseType.F32, AttentionShape.Decode(8, 32, 8, 4096 / divisor, 128), Causal),
            new DenseCase("training", CaseType.F32, new AttentionShape(1, 8, 2048 / divisor, 64), training),
            new DenseCase(
                "training, grouped heads", CaseType.BF16, AttentionShape.Gqa(1, 16, 4, 2048 / divisor, 128), training),
        ];
    }

    internal static IEnumerable<MeasuredCase> Bench()
    {
        foreach (CaseType type in Enum.GetValues<CaseType>())
        {
            string name = type.ToString().ToLowerInvariant();
            foreach (long width in new long[] { 64, 128 })
            {
                foreach ((long heads, long length) in new[] { (4L, 4096L), (8L, 1024L), (48L, 512L) })
                {
                    AttentionShape shape = new(1, heads, length, width);
                    yield return new DenseCase($"{name} d{width} s{length} full", type, shape, Plain);
                    yield return new DenseCase($"{name} d{width} s{length} causal", type, shape, Causal);
                }

                AttentionShape training = new(1, 4, 4096, width);
                yield return new DenseCase(
                    $"{name} d{width} s4096 train", type, training, new DenseOptions { Backward = true });
                yield return new DenseCase(
                    $"{name} d{width} s4096 train causal", type, training, Causal with { Backward = true });
            }

            foreach (long cache in new long[] { 4096, 32768 })
            {
                yield return new DenseCase(
                    $"{name} d128 decode {cache}", type, AttentionShape.Decode(1, 32, 8, cache, 128), Causal);
            }
        }
    }

    internal static IEnumerable<PatternMap> DemoMaps(AttentionDevice device)
    {
        AttentionShape square = new(1, 1, 4096, 64);
        (string Name, AttentionShape Shape, DenseOptions Options)[] problems =
        [
            ("full", square, Plain),
            ("causal", square, Causal),
            ("causal, 1024 queries", square with { QueryLength = 1024 }, Causal),
            ("window 1000 left", square, Causal with { Window = new AttentionWindow(1000, null) }),
        ];
        foreach ((string name, AttentionShape shape, DenseOptions options) in problems)
        {
            using DenseAttentionPlan<float> plan = new(shape, options, device);
            foreach (PatternMap map in ScheduleDrawing.Of(plan, shape, name).Maps)
            {
                yield return map.Rename(name);
            }
        }
    }
}
