// What demo and bench measure and draw of neighborhood attention; asked through the neighborhood family.
using System;
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Measuring;

namespace FusedAttention.Cli.Families;

internal static class NeighborhoodCases
{
    /// <param name="divisor">Token counts are divided by it; 1 is real size.</param>
    internal static IEnumerable<MeasuredCase> Demo(long divisor)
    {
        NeighborhoodOptions square = Square(Side(128, divisor, 26), 13);
        return
        [
            Case("1-D window of 513", CaseType.F32, 4, Line(Math.Max(16384 / divisor, 513), 513)),
            Case("2-D window 13x13", CaseType.F32, 4, square),
            Case("2-D window 13x13, half precision", CaseType.F16, 4, square),
            Case("2-D window 13x13, bfloat16", CaseType.BF16, 4, square),
            Case("2-D window 25x25 dilated by 2", CaseType.F32, 4, Square(Side(128, divisor, 50), 25, dilation: 2)),
            Case("2-D blocks of 16x16", CaseType.F32, 4, Square(Side(128, divisor, 32), 16, stride: 16)),
            Case("3-D window 5x7x7", CaseType.F32, 4, Volume(Side(32, divisor, 14))),
            Case("2-D window 13x13, training", CaseType.F32, 4, square with { Backward = true }),
        ];
    }

    internal static IEnumerable<MeasuredCase> Bench()
    {
        foreach (CaseType type in Enum.GetValues<CaseType>())
        {
            string name = type.ToString().ToLowerInvariant();
            yield return Case($"{name} 1-D 16384 w513", type, 2, Line(16384, 513));
            yield return Case($"{name} 2-D 128 w13", type, 2, Square(128, 13));
            yield return Case($"{name} 2-D 128 w25 d2", type, 2, Square(128, 25, dilation: 2));
            yield return Case($"{name} 3-D 16x32x32 w5x7x7", type, 2, Volume(32));
            yield return Case($"{name} 2-D 128 w13 train", type, 2, Square(128, 13) with { Backward = true });
        }
    }

    /// <summary>Larger and larger grids under the same window.</summary>
    internal static ScalingSeries Scaling() => new(
        "2-D neighborhood attention, window 13 x 13, one head of 64, f32",
        [
            .. new long[] { 32, 64, 128, 256, 512 }.Select(static side => (
                side * side, (MeasuredCase)Case($"f32 2-D {side} w13 growing", CaseType.F32, 1, Square(side, 13)))),
        ]);

    /// <summary>Small grids whose patterns can be seen.</summary>
    internal static IEnumerable<(string Name, NeighborhoodOptions Options)> Patterns() =>
    [
        ("1-D, window of 257", Line(4096, 257)),
        ("2-D, window 13x13", Square(64, 13)),
        ("2-D, window 7x7 dilated by 2", Square(64, 7, dilation: 2)),
        ("2-D, blocks of 16x16", Square(64, 16, stride: 16)),
        ("3-D, window 5x7x7", Volume(16)),
    ];

    private static NeighborhoodCase Case(string name, CaseType type, long heads, NeighborhoodOptions options) =>
        new(name, type, new AttentionShape(1, heads, options.Tokens, 64), options);

    private static NeighborhoodOptions Line(long tokens, long window) => new(new NeighborhoodAxis(tokens, window));

    private static NeighborhoodOptions Square(long side, long window, long stride = 1, long dilation = 1)
    {
        var axis = new NeighborhoodAxis(side, window) { Stride = stride, Dilation = dilation };
        return new NeighborhoodOptions(axis, axis);
    }

    private static NeighborhoodOptions Volume(long side) => new(
        new NeighborhoodAxis(side / 2, 5), new NeighborhoodAxis(side, 7), new NeighborhoodAxis(side, 7));

    // The side of a square of fewer tokens, where the window still fits.
    private static long Side(long side, long divisor, long least) =>
        Math.Max((long)(side / Math.Sqrt(divisor)), least);
}
