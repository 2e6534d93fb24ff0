// Turns rows of PNG samples into 8-bit raster pixels; used by the PNG reader.
using System;
using System.Buffers.Binary;

namespace FusedAttention.Cli.Imaging;

internal sealed class PngPixels
{
    private const int Opaque = 255;

    private readonly PngHeader _header;
    private readonly byte[] _palette;
    private readonly byte[] _transparency;
    private readonly string _source;

    internal PngPixels(PngHeader header, byte[] palette, byte[] transparency, string source)
    {
        _header = header;
        _palette = palette;
        _source = source;

        // A transparent colour key of a gray or RGB picture is ignored: such a picture is read as opaque.
        _transparency = header.Color == PngColor.Palette ? transparency : [];
        bool needsPalette = header.Color == PngColor.Palette;
        if ((needsPalette && palette.Length == 0) || palette.Length % 3 != 0 || palette.Length > 3 * 256)
        {
            throw new BadInputException(
                $"{source}: the palette has {palette.Length} bytes; expected 3 for each of 1..256 colours");
        }
    }

    /// <summary>Channels of the raster: 1 gray, 3 RGB, 4 with alpha.</summary>
    internal int Channels => _header.Color switch
    {
        PngColor.Gray => 1,
        PngColor.Rgb => 3,
        PngColor.Palette => _transparency.Length > 0 ? 4 : 3,
        _ => 4,
    };

    /// <summary>Converts one unfiltered row.</summary>
    internal void Convert(ReadOnlySpan<byte> row, Span<byte> pixels)
    {
        for (int x = 0; x < _header.Width; ++x)
        {
            Span<byte> pixel = pixels.Slice(x * Channels, Channels);
            switch (_header.Color)
            {
                case PngColor.Palette:
                    LookUp(Sample(row, x), pixel);
                    break;
                case PngColor.GrayAlpha:
                    pixel[..3].Fill(To8Bits(Sample(row, 2 * x)));
                    pixel[3] = To8Bits(Sample(row, (2 * x) + 1));
                    break;
                default:
                    for (int channel = 0; channel < Channels; ++channel)
                    {
                        pixel[channel] = To8Bits(Sample(row, (x * Channels) + channel));
                    }

                    break;
            }
        }
    }

    private int Sample(ReadOnlySpan<byte> row, int index)
    {
        int depth = _header.BitDepth;
        switch (depth)
        {
            case 8:
                return row[index];
            case 16:
                return BinaryPrimitives.ReadUInt16BigEndian(row[(2 * index)..]);
            default:
                int bit = index * depth;
                return (row[bit / 8] >> (8 - depth - (bit % 8))) & ((1 << depth) - 1);
        }
    }

    // Rescales 0..2^depth-1 to 0..255, rounding to nearest.
    private byte To8Bits(int sample)
    {
        int max = (1 << _header.BitDepth) - 1;
        return (byte)(((sample * 255) + (max / 2)) / max);
    }

    private void LookUp(int index, Span<byte> pixel)
    {
        if (3 * index >= _palette.Length)
        {
            throw new BadInputException($"{_source} uses palette entry {index}; its palette has {_palette.Length / 3}");
        }

        _palette.AsSpan(3 * index, 3).CopyTo(pixel);
        if (pixel.Length == 4)
        {
            pixel[3] = index < _transparency.Length ? _transparency[index] : (byte)Opaque;
        }
    }
}
