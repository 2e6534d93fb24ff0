// The parts of the PNG format that its writer and its reader share: signature, checksum, row filters.
using System;

namespace FusedAttention.Cli.Imaging;

internal static class PngFormat
{
    private static readonly uint[] CrcTable = MakeCrcTable();

    internal enum Filter : byte
    {
        None,
        Sub,
        Up,
        Average,
        Paeth,
    }

    internal static ReadOnlySpan<byte> Signature => [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>CRC-32 of a chunk's type and data.</summary>
    internal static uint Crc(ReadOnlySpan<byte> type, ReadOnlySpan<byte> data) =>
        ~Update(Update(0xFFFFFFFFu, type), data);

    /// <summary>What a filter predicts for a byte from its left, upper and upper-left neighbours.</summary>
    internal static byte Predict(Filter filter, int left, int up, int upLeft) => filter switch
    {
        Filter.Sub => (byte)left,
        Filter.Up => (byte)up,
        Filter.Average => (byte)((left + up) / 2),
        Filter.Paeth => Paeth(left, up, upLeft),
        _ => 0,
    };

    private static byte Paeth(int left, int up, int upLeft)
    {
        int estimate = left + up - upLeft;
        int toLeft = Math.Abs(estimate - left);
        int toUp = Math.Abs(estimate - up);
        int toUpLeft = Math.Abs(estimate - upLeft);
        if (toLeft <= toUp && toLeft <= toUpLeft)
        {
            return (byte)left;
        }

        return (byte)(toUp <= toUpLeft ? up : upLeft);
    }

    private static uint Update(uint crc, ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes)
        {
            crc = CrcTable[(crc ^ value) & 0xFF] ^ (crc >> 8);
        }

        return crc;
    }

    private static uint[] MakeCrcTable()
    {
        uint[] table = new uint[256];
        for (uint index = 0; index < table.Length; ++index)
        {
            uint crc = index;
            for (int bit = 0; bit < 8; ++bit)
            {
                crc = (crc & 1) != 0 ? 0xEDB88320u ^ (crc >> 1) : crc >> 1;
            }

            table[index] = crc;
        }

        return table;
    }
}
