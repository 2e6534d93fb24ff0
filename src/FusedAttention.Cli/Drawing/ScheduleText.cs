// Draws a schedule with characters, for terminals; used by draw.
using System;
using System.Text;

namespace FusedAttention.Cli.Drawing;

internal static class ScheduleText
{
    internal const string Legend = "# full   + partial   . skipped   (rows: query tiles, columns: key tiles)";

    private const int MaxSide = 64;

    /// <summary>The map as lines of text; in a larger map a character stands for several tiles.</summary>
    internal static string Draw(PatternMap map)
    {
        int rowStep = Math.Max(1, (map.Rows + MaxSide - 1) / MaxSide);
        int columnStep = Math.Max(1, (map.Columns + MaxSide - 1) / MaxSide);
        StringBuilder text = new();
        text.Append(map.Title).Append(": ").Append(map.Summary()).Append('\n');
        if (rowStep > 1 || columnStep > 1)
        {
            text.Append("one character is ").Append(rowStep).Append(" x ").Append(columnStep).Append(" tiles\n");
        }

        for (int row = 0; row < map.Rows; row += rowStep)
        {
            for (int column = 0; column < map.Columns; column += columnStep)
            {
                text.Append(Character(map, row, rowStep, column, columnStep));
            }

            text.Append('\n');
        }

        return text.ToString();
    }

    // A group of unequal tiles shows as partial.
    private static char Character(PatternMap map, int row, int rowStep, int column, int columnStep)
    {
        bool anySkipped = false;
        bool anyFull = false;
        bool anyPartial = false;
        for (int y = row; y < Math.Min(row + rowStep, map.Rows); ++y)
        {
            for (int x = column; x < Math.Min(column + columnStep, map.Columns); ++x)
            {
                anySkipped |= map[y, x] == TileState.Skipped;
                anyFull |= map[y, x] == TileState.Full;
                anyPartial |= map[y, x] == TileState.Partial;
            }
        }

        return (anyPartial || (anyFull && anySkipped)) ? '+' : anyFull ? '#' : '.';
    }
}
