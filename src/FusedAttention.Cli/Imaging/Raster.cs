// An 8-bit picture in memory; drawn by the schedule drawing, read and written by the PNG codec.
using System;

namespace FusedAttention.Cli.Imaging;

/// <summary>Rows from top to bottom, pixels from left to right, channels interleaved.</summary>
internal sealed class Raster
{
    /// <summary>The most pixels a picture may have; keeps a hostile file from asking for memory.</summary>
    internal const long MaxPixels = 1 << 26;

    /// <param name="width">In pixels, at least 1.</param>
    /// <param name="height">In pixels, at least 1.</param>
    /// <param name="channels">1 gray, 3 RGB or 4 RGBA.</param>
    internal Raster(int width, int height, int channels)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(height, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)width * height, MaxPixels);
        if (channels is not (1 or 3 or 4))
        {
            throw new ArgumentOutOfRangeException(nameof(channels), channels, "expected 1, 3 or 4");
        }

        Width = width;
        Height = height;
        Channels = channels;
        Pixels = new byte[width * height * channels];
    }

    internal int Width { get; }

    internal int Height { get; }

    internal int Channels { get; }

    internal byte[] Pixels { get; }

    internal Span<byte> Row(int y) => Pixels.AsSpan(y * Width * Channels, Width * Channels);

    /// <summary>Fills a rectangle; what lies outside the picture is cut off.</summary>
    internal void Fill(int x, int y, int width, int height, ReadOnlySpan<byte> color)
    {
        int right = Math.Min(x + width, Width);
        int bottom = Math.Min(y + height, Height);
        for (int row = Math.Max(y, 0); row < bottom; ++row)
        {
            Span<byte> pixels = Row(row);
            for (int column = Math.Max(x, 0); column < right; ++column)
            {
                color.CopyTo(pixels[(column * Channels)..]);
            }
        }
    }
}
