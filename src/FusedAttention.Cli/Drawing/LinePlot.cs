// Draws measured lines over logarithmic axes; used by bench for cost against size.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Numerics;
using FusedAttention.Cli.Imaging;

namespace FusedAttention.Cli.Drawing;

/// <param name="Name">Shown in the legend.</param>
/// <param name="Points">Positive sizes, ascending, each with a positive value.</param>
internal sealed record PlotLine(string Name, IReadOnlyList<(double X, double Y)> Points);

/// <param name="Title">Above the plot.</param>
/// <param name="XLabel">Below it, with the unit.</param>
/// <param name="YLabel">In its second line, with the unit.</param>
/// <param name="Lines">At least one, together at least one point.</param>
internal sealed record LinePlot(string Title, string XLabel, string YLabel, IReadOnlyList<PlotLine> Lines)
{
    private const int Width = 960;
    private const int Height = 600;
    private const int Left = 110;
    private const int Right = 32;
    private const int Top = 110;
    private const int Bottom = 80;
    private const int TextScale = 2;
    private const int LineHeight = (PixelFont.GlyphHeight + 4) * TextScale;
    private const float LineRadius = 1.5f;
    private const float MarkRadius = 5;

    private static readonly byte[][] Colors = [[38, 98, 168], [214, 118, 24], [70, 140, 70], [150, 60, 120]];
    private static readonly byte[] Ink = [40, 40, 40];
    private static readonly byte[] Grid = [224, 224, 224];

    internal Raster Draw()
    {
        Raster picture = new(Width, Height, 3);
        picture.Fill(0, 0, Width, Height, [255, 255, 255]);
        PixelFont.Draw(picture, Left, 16, Title, TextScale, Ink);
        PixelFont.Draw(picture, Left, 16 + LineHeight, YLabel, TextScale, Ink);
        PixelFont.Draw(picture, Left, Height - 16 - LineHeight, XLabel, TextScale, Ink);
        (double X, double Y)[] points = [.. Lines.SelectMany(static line => line.Points)];
        LogAxis across = LogAxis.Around(points.Select(static point => point.X), Left, Width - Right);
        LogAxis up = LogAxis.Around(points.Select(static point => point.Y), Height - Bottom, Top);
        DrawGrid(picture, across, up);
        for (int i = 0; i < Lines.Count; ++i)
        {
            byte[] color = Colors[i % Colors.Length];
            Vector2[] places =
                [.. Lines[i].Points.Select(point => new Vector2(across.Place(point.X), up.Place(point.Y)))];
            for (int point = 0; point < places.Length; ++point)
            {
                DrawSegment(picture, places[Math.Max(point - 1, 0)], places[point], LineRadius, color);
                DrawSegment(picture, places[point], places[point], MarkRadius, color);
            }

            int x = Left + (i * (Width - Left - Right) / Lines.Count);
            int y = 16 + (2 * LineHeight);
            picture.Fill(x, y, 2 * PixelFont.GlyphHeight, 2 * PixelFont.GlyphHeight, color);
            PixelFont.Draw(picture, x + (3 * PixelFont.GlyphHeight), y, Lines[i].Name, TextScale, Ink);
        }

        return picture;
    }

    private static void DrawGrid(Raster picture, LogAxis across, LogAxis up)
    {
        foreach (double tick in across.Ticks())
        {
            int x = (int)across.Place(tick);
            string text = Name(tick);
            picture.Fill(x, Top, 1, Height - Top - Bottom, Grid);
            PixelFont.Draw(
                picture, x - (PixelFont.WidthOf(text, TextScale) / 2), Height - Bottom + 8, text, TextScale, Ink);
        }

        foreach (double tick in up.Ticks())
        {
            int y = (int)up.Place(tick);
            string text = Name(tick);
            picture.Fill(Left, y, Width - Left - Right, 1, Grid);
            int x = Left - 8 - PixelFont.WidthOf(text, TextScale);
            PixelFont.Draw(picture, x, y - PixelFont.GlyphHeight, text, TextScale, Ink);
        }

        picture.Fill(Left, Top, 1, Height - Top - Bottom, Ink);
        picture.Fill(Left, Height - Bottom, Width - Left - Right, 1, Ink);
    }

    // All pixels nearer to the segment than the radius, with soft edges.
    private static void DrawSegment(Raster picture, Vector2 from, Vector2 to, float radius, byte[] color)
    {
        Vector2 least = Vector2.Min(from, to) - new Vector2(radius + 1);
        Vector2 most = Vector2.Max(from, to) + new Vector2(radius + 1);
        Vector2 along = to - from;
        float square = Math.Max(along.LengthSquared(), float.Epsilon);
        for (int y = Math.Max((int)least.Y, 0); y <= Math.Min((int)most.Y, picture.Height - 1); ++y)
        {
            Span<byte> row = picture.Row(y);
            for (int x = Math.Max((int)least.X, 0); x <= Math.Min((int)most.X, picture.Width - 1); ++x)
            {
                Vector2 pixel = new(x, y);
                float share = Math.Clamp(Vector2.Dot(pixel - from, along) / square, 0, 1);
                float distance = Vector2.Distance(pixel, from + (share * along));
                float cover = Math.Clamp(radius + 0.5f - distance, 0, 1);
                for (int channel = 0; channel < 3; ++channel)
                {
                    byte behind = row[(3 * x) + channel];
                    row[(3 * x) + channel] = (byte)MathF.Round(float.Lerp(behind, color[channel], cover));
                }
            }
        }
    }

    // 20000 as 20k, 0.5 as 0.5.
    private static string Name(double tick)
    {
        (double unit, string letter) = tick switch
        {
            >= 1e9 => (1e9, "G"),
            >= 1e6 => (1e6, "M"),
            >= 1e3 => (1e3, "k"),
            _ => (1, string.Empty),
        };
        return (tick / unit).ToString("G3", CultureInfo.InvariantCulture) + letter;
    }

    /// <param name="Low">Value at the axis's begin.</param>
    /// <param name="High">Value at its end.</param>
    /// <param name="Begin">Pixel of the begin.</param>
    /// <param name="End">Pixel of the end.</param>
    private sealed record LogAxis(double Low, double High, int Begin, int End)
    {
        private static readonly double[] Steps = [1, 2, 5];

        // A little room on both sides, at least a factor of four in all.
        internal static LogAxis Around(IEnumerable<double> values, int begin, int end)
        {
            double low = values.Min();
            double high = values.Max();
            double room = Math.Max(1.25, Math.Sqrt(4 * low / high));
            return new LogAxis(low / room, high * room, begin, end);
        }

        internal float Place(double value) =>
            (float)(Begin + ((End - Begin) * (Math.Log(value / Low) / Math.Log(High / Low))));

        internal IEnumerable<double> Ticks()
        {
            int first = (int)Math.Floor(Math.Log10(Low));
            int last = (int)Math.Ceiling(Math.Log10(High));
            return Enumerable.Range(first, last - first + 1)
                .SelectMany(static power => Steps.Select(step => step * Math.Pow(10, power)))
                .Where(tick => tick >= Low && tick <= High);
        }
    }
}
