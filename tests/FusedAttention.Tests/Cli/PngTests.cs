// Tests of the tool's PNG codec: round trips, the other sample formats, and refusals.
using System;
using System.Buffers.Binary;
using System.IO;
using System.IO.Compression;
using FusedAttention.Cli;
using FusedAttention.Cli.Imaging;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class PngTests
{
    [Test]
    public void Picture_survives_the_round_trip([Values(1, 3, 4)] int channels, [Values(1, 7, 64)] int width,
        [Values(1, 5)] int height)
    {
        Raster picture = new(width, height, channels);
        Random random = new((channels * 1000) + width);
        random.NextBytes(picture.Pixels);
        for (int x = 0; x < width * channels; ++x)
        {
            picture.Row(0)[x] = (byte)(x * 3);
        }

        Raster back = PngReader.Read(Encode(picture), "x.png");
        Assert.That((back.Width, back.Height, back.Channels), Is.EqualTo((width, height, channels)));
        Assert.That(back.Pixels, Is.EqualTo(picture.Pixels));
    }

    [Test]
    public void Low_bit_depths_are_spread_to_eight_bits()
    {
        byte[] file = Make(width: 4, height: 1, depth: 2, color: 0, rows: [0, 0b00_01_10_11]);
        Assert.That(PngReader.Read(file, "x.png").Pixels, Is.EqualTo(new byte[] { 0, 85, 170, 255 }));
    }

    [Test]
    public void Sixteen_bits_round_to_eight()
    {
        byte[] file = Make(width: 2, height: 1, depth: 16, color: 0, rows: [0, 0xFF, 0xFF, 0x80, 0x00]);
        Assert.That(PngReader.Read(file, "x.png").Pixels, Is.EqualTo(new byte[] { 255, 128 }));
    }

    [Test]
    public void Palette_is_looked_up()
    {
        byte[] file = Make(width: 3, height: 1, depth: 4, color: 3, rows: [0, 0x10, 0x10], palette: [1, 2, 3, 9, 8, 7]);
        Assert.That(PngReader.Read(file, "x.png").Pixels, Is.EqualTo(new byte[] { 9, 8, 7, 1, 2, 3, 9, 8, 7 }));
    }

    [Test]
    public void Gray_with_alpha_becomes_rgba()
    {
        byte[] file = Make(width: 1, height: 1, depth: 8, color: 4, rows: [0, 50, 60]);
        Assert.That(PngReader.Read(file, "x.png").Pixels, Is.EqualTo(new byte[] { 50, 50, 50, 60 }));
    }

    [Test]
    public void Damage_is_noticed()
    {
        byte[] file = Encode(new Raster(8, 8, 3));
        byte[] damaged = (byte[])file.Clone();
        damaged[^20] ^= 1;
        Assert.That(() => PngReader.Read(damaged, "x.png"),
            Throws.TypeOf<BadInputException>().With.Message.Contains("checksum"));
        Assert.That(() => PngReader.Read(file.AsSpan(0, file.Length - 12), "x.png"),
            Throws.TypeOf<BadInputException>().With.Message.Contains("cut short"));
        Assert.That(() => PngReader.Read("GIF89a"u8, "x.png"),
            Throws.TypeOf<BadInputException>().With.Message.Contains("signature"));
    }

    [TestCase(0, 1, 8, 0, "0 x 1 pixels")]
    [TestCase(1 << 20, 1 << 20, 8, 0, "allowed are 1 to")]
    [TestCase(1, 1, 3, 0, "color type 0 with 3 bits")]
    [TestCase(1, 1, 16, 3, "color type 3 with 16 bits")]
    [TestCase(1, 1, 8, 5, "color type 5")]
    [TestCase(1, 1, 8, 3, "the palette has 0 bytes")]
    [TestCase(2, 2, 8, 0, "damaged or cut short")]
    public void Unusable_header_is_refused(int width, int height, int depth, int color, string reason)
    {
        byte[] file = Make(width, height, (byte)depth, (byte)color, rows: [0, 0]);
        Assert.That(() => PngReader.Read(file, "x.png"),
            Throws.TypeOf<BadInputException>().With.Message.Contains(reason));
    }

    [Test]
    public void Surplus_pixels_and_unknown_filters_are_refused()
    {
        Assert.That(() => PngReader.Read(Make(1, 1, 8, 0, rows: [0, 1, 2]), "x.png"),
            Throws.TypeOf<BadInputException>().With.Message.Contains("more pixels"));
        Assert.That(() => PngReader.Read(Make(1, 1, 8, 0, rows: [5, 1]), "x.png"),
            Throws.TypeOf<BadInputException>().With.Message.Contains("filter 5"));
    }

    private static byte[] Encode(Raster picture)
    {
        using MemoryStream file = new();
        PngWriter.Write(file, picture);
        return file.ToArray();
    }

    private static byte[] Make(int width, int height, byte depth, byte color, byte[] rows, byte[]? palette = null)
    {
        using MemoryStream file = new();
        file.Write(PngFormat.Signature);
        byte[] header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), height);
        header[8] = depth;
        header[9] = color;
        WriteChunk(file, "IHDR"u8, header);
        if (palette is not null)
        {
            WriteChunk(file, "PLTE"u8, palette);
        }

        using MemoryStream data = new();
        using (ZLibStream compressor = new(data, CompressionLevel.Fastest, leaveOpen: true))
        {
            compressor.Write(rows);
        }

        WriteChunk(file, "IDAT"u8, data.ToArray());
        WriteChunk(file, "IEND"u8, []);
        return file.ToArray();
    }

    private static void WriteChunk(MemoryStream file, ReadOnlySpan<byte> type, ReadOnlySpan<byte> data)
    {
        byte[] word = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(word, data.Length);
        file.Write(word);
        file.Write(type);
        file.Write(data);
        BinaryPrimitives.WriteUInt32BigEndian(word, PngFormat.Crc(type, data));
        file.Write(word);
    }
}
