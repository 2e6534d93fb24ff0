// A tiny capital-letter font for legends; used by the schedule drawing.
using System;
using System.Collections.Generic;

namespace FusedAttention.Cli.Imaging;

/// <summary>Glyphs of 5 x 7 pixels, each a 35-bit number: seven rows from the top, five bits from the left.</summary>
internal static class PixelFont
{
    internal const int GlyphWidth = 5;
    internal const int GlyphHeight = 7;

    /// <summary>Distance from one letter to the next, in unscaled pixels.</summary>
    internal const int Advance = GlyphWidth + 1;

    private static readonly Dictionary<char, ulong> Glyphs = new()
    {
        [' '] = 0x000000000, ['0'] = 0x3A33AE62E, ['1'] = 0x11842108E, ['2'] = 0x3A211111F, ['3'] = 0x7C441062E,
        ['4'] = 0x08CA97C42, ['5'] = 0x7E1E0862E, ['6'] = 0x1910F462E, ['7'] = 0x7C2222108, ['8'] = 0x3A317462E,
        ['9'] = 0x3A317844C, ['A'] = 0x3A31FC631, ['B'] = 0x7A31F463E, ['C'] = 0x3A308422E, ['D'] = 0x72518C65C,
        ['E'] = 0x7E10F421F, ['F'] = 0x7E10F4210, ['G'] = 0x3A30BC62F, ['H'] = 0x4631FC631, ['I'] = 0x38842108E,
        ['J'] = 0x1C4210A4C, ['K'] = 0x4654C5251, ['L'] = 0x42108421F, ['M'] = 0x4775AC631, ['N'] = 0x4639ACE31,
        ['O'] = 0x3A318C62E, ['P'] = 0x7A31F4210, ['Q'] = 0x3A318D64D, ['R'] = 0x7A31F5251, ['S'] = 0x3E107043E,
        ['T'] = 0x7C8421084, ['U'] = 0x46318C62E, ['V'] = 0x46318C544, ['W'] = 0x4631AD6AA, ['X'] = 0x462A22A31,
        ['Y'] = 0x463151084, ['Z'] = 0x7C222221F, ['.'] = 0x00000018C, [','] = 0x000003088, [':'] = 0x018C03180,
        ['-'] = 0x0000F8000, ['+'] = 0x0084F9080, ['='] = 0x001F07C00, ['/'] = 0x002222200, ['%'] = 0x632222263,
        ['('] = 0x088842082, [')'] = 0x208210888, ['_'] = 0x00000001F, ['>'] = 0x208208888,
    };

    internal static int WidthOf(string text, int scale) => text.Length * Advance * scale;

    /// <summary>Draws text in capitals; a character without a glyph leaves its place blank.</summary>
    internal static void Draw(Raster picture, int x, int y, string text, int scale, ReadOnlySpan<byte> color)
    {
        foreach (char letter in text)
        {
            ulong glyph = Glyphs.GetValueOrDefault(char.ToUpperInvariant(letter));
            for (int bit = 0; bit < GlyphWidth * GlyphHeight; ++bit)
            {
                if ((glyph >> ((GlyphWidth * GlyphHeight) - 1 - bit) & 1) != 0)
                {
                    picture.Fill(x + (bit % GlyphWidth * scale), y + (bit / GlyphWidth * scale), scale, scale, color);
                }
            }

            x += Advance * scale;
        }
    }
}
