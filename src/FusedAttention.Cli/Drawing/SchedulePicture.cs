// Draws schedules as a picture with a legend; used by draw and demo.
using System;
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Imaging;

namespace FusedAttention.Cli.Drawing;

/// <summary>One panel per map, side by side in rows, a caption under each, a legend below.</summary>
internal static class SchedulePicture
{
    private const int Margin = 16;
    private const int TextScale = 2;
    private const int LineHeight = (PixelFont.GlyphHeight + 4) * TextScale;
    private const int CaptionLines = 3;
    private const int MinPanel = 280;
    private const int MaxPanel = 512;
    private const int MaxPanels = 16;
    private const int PanelsPerRow = 5;
    private const int MaxCell = 32;
    private const int MinLinedCell = 4;

    private static ReadOnlySpan<byte> Background => [255, 255, 255];

    private static ReadOnlySpan<byte> Ink => [40, 40, 40];

    private static ReadOnlySpan<byte> Grid => [160, 160, 160];

    private static ReadOnlySpan<byte> Full => [38, 98, 168];

    private static ReadOnlySpan<byte> Partial => [240, 164, 60];

    private static ReadOnlySpan<byte> Skipped => [232, 232, 232];

    /// <param name="maps">At least one; only the first sixteen are drawn, the picture says how many there are.</param>
    /// <param name="heading">Lines above the panels, for example the problem and the tile size.</param>
    internal static Raster Draw(IReadOnlyList<PatternMap> maps, IReadOnlyList<string> heading)
    {
        int shown = Math.Min(maps.Count, MaxPanels);
        List<string> lines = [.. heading];
        if (shown < maps.Count)
        {
            lines.Add($"first {shown} of {maps.Count} different patterns");
        }

        int columns = Math.Min(shown, PanelsPerRow);
        int rows = (shown + columns - 1) / columns;
        int panelWidth = 0;
        int panelHeight = 0;
        for (int i = 0; i < shown; ++i)
        {
            Panel panel = new(maps[i]);
            panelWidth = Math.Max(panelWidth, Math.Max(panel.Width, MinPanel));
            panelHeight = Math.Max(panelHeight, panel.Height);
        }

        int textWidth = lines.Append(LegendText).Max(line => PixelFont.WidthOf(line, TextScale));
        int width = (2 * Margin) + Math.Max(textWidth, (columns * (panelWidth + Margin)) - Margin);
        int top = Margin + (lines.Count * LineHeight) + Margin;
        int panelStep = panelHeight + (CaptionLines * LineHeight) + Margin;
        Raster picture = new(width, top + (rows * panelStep) + LineHeight + Margin, 3);
        picture.Fill(0, 0, picture.Width, picture.Height, Background);
        for (int line = 0; line < lines.Count; ++line)
        {
            PixelFont.Draw(picture, Margin, Margin + (line * LineHeight), lines[line], TextScale, Ink);
        }

        for (int i = 0; i < shown; ++i)
        {
            int x = Margin + (i % columns * (panelWidth + Margin));
            DrawPanel(picture, x, top + (i / columns * panelStep), new Panel(maps[i]));
        }

        DrawLegend(picture, Margin, picture.Height - Margin - LineHeight);
        return picture;
    }

    /// <summary>Pictures under each other, on the background of all.</summary>
    internal static Raster Stack(IReadOnlyList<Raster> pictures)
    {
        Raster stack = new(pictures.Max(static one => one.Width), pictures.Sum(static one => one.Height), 3);
        stack.Fill(0, 0, stack.Width, stack.Height, Background);
        int top = 0;
        foreach (Raster picture in pictures)
        {
            for (int y = 0; y < picture.Height; ++y)
            {
                picture.Row(y).CopyTo(stack.Row(top + y));
            }

            top += picture.Height;
        }

        return stack;
    }

    private const string LegendText = "   full     partial     skipped   keys go right, queries go down";

    private static void DrawPanel(Raster picture, int left, int top, Panel panel)
    {
        PatternMap map = panel.Map;
        picture.Fill(left, top, panel.Width, panel.Height, Grid);
        for (int y = 0; y < panel.Height - 1; ++y)
        {
            int row = panel.RowAt(y);
            for (int x = 0; x < panel.Width - 1; ++x)
            {
                if (!panel.IsLine(x, y))
                {
                    picture.Fill(left + x, top + y, 1, 1, ColorOf(map[row, panel.ColumnAt(x)]));
                }
            }
        }

        int caption = top + panel.Height + (LineHeight / 3);
        string[] lines =
        [
            map.Title,
            $"{map.Count(TileState.Full)} full {map.Count(TileState.Partial)} partial",
            $"{map.Count(TileState.Skipped)} skipped",
        ];
        for (int line = 0; line < lines.Length; ++line)
        {
            PixelFont.Draw(picture, left, caption + (line * LineHeight), lines[line], TextScale, Ink);
        }
    }

    private static void DrawLegend(Raster picture, int x, int y)
    {
        int side = PixelFont.GlyphHeight * TextScale;
        int letter = PixelFont.Advance * TextScale;
        PixelFont.Draw(picture, x, y, LegendText, TextScale, Ink);
        (string Word, TileState State)[] entries =
            [("full", TileState.Full), ("partial", TileState.Partial), ("skipped", TileState.Skipped)];
        foreach ((string word, TileState state) in entries)
        {
            int before = LegendText.IndexOf(word, StringComparison.Ordinal) - 2;
            picture.Fill(x + (before * letter), y, side, side, Grid);
            picture.Fill(x + (before * letter) + 1, y + 1, side - 2, side - 2, ColorOf(state));
        }
    }

    private static ReadOnlySpan<byte> ColorOf(TileState state) => state switch
    {
        TileState.Full => Full,
        TileState.Partial => Partial,
        _ => Skipped,
    };

    // A map with few tiles gets square cells with lines between them; one with many is thinned to the panel's size.
    private readonly struct Panel
    {
        internal Panel(PatternMap map)
        {
            Map = map;
            CellWidth = Math.Clamp(MaxPanel / Math.Max(1, map.Columns), 1, MaxCell);
            CellHeight = Math.Clamp(MaxPanel / Math.Max(1, map.Rows), 1, MaxCell);
            Width = Math.Clamp(map.Columns * CellWidth, 1, MaxPanel) + 1;
            Height = Math.Clamp(map.Rows * CellHeight, 1, MaxPanel) + 1;
        }

        internal PatternMap Map { get; }

        internal int CellWidth { get; }

        internal int CellHeight { get; }

        internal int Width { get; }

        internal int Height { get; }

        /// <summary>Which column of tiles lies under a pixel of the panel.</summary>
        internal int ColumnAt(int x) => (int)((long)x * Map.Columns / (Width - 1));

        /// <summary>Which row of tiles lies under a pixel of the panel.</summary>
        internal int RowAt(int y) => (int)((long)y * Map.Rows / (Height - 1));

        /// <summary>Whether a pixel belongs to the lines between cells; small cells have none.</summary>
        internal bool IsLine(int x, int y) =>
            (CellWidth >= MinLinedCell && x % CellWidth == 0) || (CellHeight >= MinLinedCell && y % CellHeight == 0);
    }
}
