// Pictures of one size side by side with captions; used by denoise.
using System;
using System.Collections.Generic;

namespace FusedAttention.Cli.Imaging;

internal static class PanelPicture
{
    private const int Margin = 12;
    private const int TextScale = 2;
    private const int CaptionHeight = (PixelFont.GlyphHeight * TextScale) + Margin;

    /// <param name="panels">At least one; gray and RGB, alpha is left out.</param>
    internal static Raster Draw(IReadOnlyList<(string Caption, Raster Picture)> panels)
    {
        int width = panels[0].Picture.Width;
        int height = panels[0].Picture.Height;
        Raster result = new(
            Margin + (panels.Count * (width + Margin)), Margin + height + Margin + CaptionHeight, 3);
        result.Fill(0, 0, result.Width, result.Height, [255, 255, 255]);
        for (int i = 0; i < panels.Count; ++i)
        {
            int left = Margin + (i * (width + Margin));
            Copy(panels[i].Picture, result, left, Margin);
            PixelFont.Draw(result, left, (2 * Margin) + height, panels[i].Caption, TextScale, [40, 40, 40]);
        }

        return result;
    }

    private static void Copy(Raster from, Raster to, int left, int top)
    {
        for (int y = 0; y < from.Height; ++y)
        {
            ReadOnlySpan<byte> source = from.Row(y);
            Span<byte> target = to.Row(top + y);
            for (int x = 0; x < from.Width; ++x)
            {
                for (int color = 0; color < 3; ++color)
                {
                    int channel = from.Channels == 1 ? 0 : color;
                    target[(3 * (left + x)) + color] = source[(x * from.Channels) + channel];
                }
            }
        }
    }
}
