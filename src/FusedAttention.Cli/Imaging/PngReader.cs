// Decodes PNG files into 8-bit rasters for the verbs that take a picture.
using System;
using System.Buffers.Binary;
using System.IO;
using System.IO.Compression;

namespace FusedAttention.Cli.Imaging;

/// <summary>Reads gray, RGB and palette pictures with or without alpha, 1 to 16 bits, not interlaced.</summary>
internal static class PngReader
{
    private const int ChunkOverhead = 12;

    // Deflate spends at least two bits on 258 bytes, so nothing unpacks to more than this many times its size.
    private const long MaxDeflateRatio = 1032;

    /// <exception cref="BadInputException">The bytes are not a PNG this reader takes.</exception>
    internal static Raster Read(ReadOnlySpan<byte> file, string source)
    {
        if (!file.StartsWith(PngFormat.Signature))
        {
            throw new BadInputException($"{source} does not start with the PNG signature; expected a PNG picture");
        }

        PngHeader? header = null;
        byte[] palette = [];
        byte[] transparency = [];
        bool ended = false;
        using MemoryStream compressed = new();
        int at = PngFormat.Signature.Length;
        while (!ended)
        {
            (ReadOnlySpan<byte> type, ReadOnlySpan<byte> data) = ReadChunk(file, at, source, out int chunkBytes);
            at += chunkBytes;
            bool isHeader = type.SequenceEqual("IHDR"u8);
            if (isHeader != header is null)
            {
                throw new BadInputException($"{source}: the IHDR chunk must come first and once");
            }

            if (isHeader)
            {
                header = PngHeader.Parse(data, source);
            }
            else if (type.SequenceEqual("PLTE"u8))
            {
                palette = data.ToArray();
            }
            else if (type.SequenceEqual("tRNS"u8))
            {
                transparency = data.ToArray();
            }
            else if (type.SequenceEqual("IDAT"u8))
            {
                compressed.Write(data);
            }
            else if (type.SequenceEqual("IEND"u8))
            {
                ended = true;
            }
            else if ((type[0] & 0x20) == 0)
            {
                throw new BadInputException($"{source} has a critical chunk this reader does not know;" +
                    " known are IHDR, PLTE, IDAT, IEND");
            }
        }

        PngPixels pixels = new(header!, palette, transparency, source);
        compressed.Position = 0;
        return Decode(compressed, header!, pixels, source);
    }

    private static ChunkParts ReadChunk(ReadOnlySpan<byte> file, int at, string source, out int chunkBytes)
    {
        ReadOnlySpan<byte> rest = file[at..];
        uint length = rest.Length >= ChunkOverhead ? BinaryPrimitives.ReadUInt32BigEndian(rest) : 0;
        if (rest.Length < ChunkOverhead || length > rest.Length - ChunkOverhead)
        {
            throw new BadInputException($"{source} ends inside a chunk at byte {at}; the file is cut short");
        }

        ChunkParts parts = new(rest.Slice(4, 4), rest.Slice(8, (int)length));
        chunkBytes = ChunkOverhead + (int)length;
        if (PngFormat.Crc(parts.Type, parts.Data) != BinaryPrimitives.ReadUInt32BigEndian(rest[(8 + (int)length)..]))
        {
            throw new BadInputException(
                $"{source}: the checksum of the chunk at byte {at} is wrong; the file is damaged");
        }

        return parts;
    }

    private static Raster Decode(MemoryStream compressed, PngHeader header, PngPixels pixels, string source)
    {
        if (((long)header.RowBytes + 1) * header.Height > compressed.Length * MaxDeflateRatio)
        {
            throw new BadInputException($"{source}: {compressed.Length} bytes of pixel data cannot hold" +
                $" {header.Width} x {header.Height} pixels; the file is damaged or cut short");
        }

        Raster picture = new(header.Width, header.Height, pixels.Channels);
        byte[] row = new byte[header.RowBytes];
        byte[] above = new byte[header.RowBytes];
        try
        {
            using ZLibStream decompressor = new(compressed, CompressionMode.Decompress);
            for (int y = 0; y < header.Height; ++y)
            {
                int filter = decompressor.ReadByte();
                if (filter is < 0 or > (int)PngFormat.Filter.Paeth)
                {
                    throw new BadInputException(
                        $"{source}: row {y} is missing or has filter {filter}; allowed are 0..4");
                }

                decompressor.ReadExactly(row);
                RemoveFilter((PngFormat.Filter)filter, row, above, header.FilterDistance);
                pixels.Convert(row, picture.Row(y));
                (row, above) = (above, row);
            }

            if (decompressor.ReadByte() >= 0)
            {
                throw new BadInputException($"{source} holds more pixels than {header.Width} x {header.Height}");
            }
        }
        catch (Exception error) when (error is InvalidDataException or IOException)
        {
            throw new BadInputException($"{source}: the pixel data is damaged or cut short", error);
        }

        return picture;
    }

    private static void RemoveFilter(PngFormat.Filter filter, Span<byte> row, ReadOnlySpan<byte> above, int distance)
    {
        for (int i = 0; i < row.Length; ++i)
        {
            int left = i < distance ? 0 : row[i - distance];
            int upLeft = i < distance ? 0 : above[i - distance];
            row[i] += PngFormat.Predict(filter, left, above[i], upLeft);
        }
    }

    private readonly ref struct ChunkParts(ReadOnlySpan<byte> type, ReadOnlySpan<byte> data)
    {
        internal ReadOnlySpan<byte> Type { get; } = type;

        internal ReadOnlySpan<byte> Data { get; } = data;

        internal void Deconstruct(out ReadOnlySpan<byte> type, out ReadOnlySpan<byte> data)
        {
            type = Type;
            data = Data;
        }
    }
}
