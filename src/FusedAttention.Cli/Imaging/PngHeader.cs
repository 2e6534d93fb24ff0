// The checked IHDR chunk of a PNG file; made by the PNG reader.
using System;
using System.Buffers.Binary;

namespace FusedAttention.Cli.Imaging;

internal enum PngColor : byte
{
    Gray = 0,
    Rgb = 2,
    Palette = 3,
    GrayAlpha = 4,
    RgbAlpha = 6,
}

internal sealed record PngHeader(int Width, int Height, int BitDepth, PngColor Color)
{
    private const int Bytes = 13;

    internal int SamplesPerPixel => Color switch
    {
        PngColor.Gray or PngColor.Palette => 1,
        PngColor.GrayAlpha => 2,
        PngColor.Rgb => 3,
        _ => 4,
    };

    internal int RowBytes => (int)((((long)Width * SamplesPerPixel * BitDepth) + 7) / 8);

    /// <summary>How far back, in bytes, a filter looks for the pixel on the left.</summary>
    internal int FilterDistance => Math.Max(1, SamplesPerPixel * BitDepth / 8);

    internal static PngHeader Parse(ReadOnlySpan<byte> data, string source)
    {
        if (data.Length != Bytes)
        {
            throw new BadInputException($"{source}: the IHDR chunk has {data.Length} bytes; expected {Bytes}");
        }

        uint width = BinaryPrimitives.ReadUInt32BigEndian(data);
        uint height = BinaryPrimitives.ReadUInt32BigEndian(data[4..]);
        if (width == 0 || height == 0 || (ulong)width * height > Raster.MaxPixels)
        {
            throw new BadInputException(
                $"{source} is {width} x {height} pixels; allowed are 1 to {Raster.MaxPixels} pixels in all");
        }

        int depth = data[8];
        PngColor color = (PngColor)data[9];
        bool known = color switch
        {
            PngColor.Gray => depth is 1 or 2 or 4 or 8 or 16,
            PngColor.Palette => depth is 1 or 2 or 4 or 8,
            PngColor.Rgb or PngColor.GrayAlpha or PngColor.RgbAlpha => depth is 8 or 16,
            _ => false,
        };
        if (!known)
        {
            throw new BadInputException($"{source} has color type {data[9]} with {depth} bits; allowed are the PNG" +
                " combinations of 0, 2, 3, 4, 6 with 1, 2, 4, 8, 16");
        }

        if (data[10] != 0 || data[11] != 0 || data[12] != 0)
        {
            throw new BadInputException(
                $"{source} has compression {data[10]}, filter method {data[11]}, interlace {data[12]};" +
                " only 0, 0, 0 (not interlaced) is supported");
        }

        return new PngHeader((int)width, (int)height, depth, color);
    }
}
