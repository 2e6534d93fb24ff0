// Encodes a raster as PNG for draw and demo.
using System;
using System.Buffers.Binary;
using System.IO;
using System.IO.Compression;

namespace FusedAttention.Cli.Imaging;

internal static class PngWriter
{
    /// <exception cref="BadInputException">The path cannot be written.</exception>
    internal static void WriteFile(string path, Raster picture)
    {
        OutputFile.Write(path, stream => Write(stream, picture));
    }

    internal static void Write(Stream stream, Raster picture)
    {
        stream.Write(PngFormat.Signature);
        Span<byte> header = stackalloc byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, picture.Width);
        BinaryPrimitives.WriteInt32BigEndian(header[4..], picture.Height);
        header[8] = 8;
        header[9] = picture.Channels switch
        {
            1 => 0,
            3 => 2,
            _ => 6,
        };
        header[10..].Clear();
        WriteChunk(stream, "IHDR"u8, header);
        using MemoryStream data = new();
        using (ZLibStream compressor = new(data, CompressionLevel.SmallestSize, leaveOpen: true))
        {
            WriteRows(compressor, picture);
        }

        WriteChunk(stream, "IDAT"u8, data.GetBuffer().AsSpan(0, (int)data.Length));
        WriteChunk(stream, "IEND"u8, []);
    }

    // Each row goes out under the filter with the smallest sum of absolute differences, the format's usual heuristic.
    private static void WriteRows(Stream stream, Raster picture)
    {
        int rowBytes = picture.Width * picture.Channels;
        byte[] best = new byte[1 + rowBytes];
        byte[] candidate = new byte[1 + rowBytes];
        byte[] zeros = new byte[rowBytes];
        for (int y = 0; y < picture.Height; ++y)
        {
            ReadOnlySpan<byte> above = y == 0 ? zeros : picture.Row(y - 1);
            long bestCost = long.MaxValue;
            foreach (PngFormat.Filter filter in Enum.GetValues<PngFormat.Filter>())
            {
                long cost = ApplyFilter(filter, picture.Row(y), above, picture.Channels, candidate);
                if (cost < bestCost)
                {
                    bestCost = cost;
                    (best, candidate) = (candidate, best);
                }
            }

            stream.Write(best);
        }
    }

    private static long ApplyFilter(
        PngFormat.Filter filter, ReadOnlySpan<byte> row, ReadOnlySpan<byte> above, int channels, Span<byte> output)
    {
        long cost = 0;
        output[0] = (byte)filter;
        for (int i = 0; i < row.Length; ++i)
        {
            int left = i < channels ? 0 : row[i - channels];
            int upLeft = i < channels ? 0 : above[i - channels];
            byte difference = (byte)(row[i] - PngFormat.Predict(filter, left, above[i], upLeft));
            output[1 + i] = difference;
            cost += Math.Abs((int)(sbyte)difference);
        }

        return cost;
    }

    private static void WriteChunk(Stream stream, ReadOnlySpan<byte> type, ReadOnlySpan<byte> data)
    {
        Span<byte> word = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(word, data.Length);
        stream.Write(word);
        stream.Write(type);
        stream.Write(data);
        BinaryPrimitives.WriteUInt32BigEndian(word, PngFormat.Crc(type, data));
        stream.Write(word);
    }
}
