// Builds safetensors bytes from a hand-written header, for the tests of the reader.
using System;
using System.Buffers.Binary;
using System.Text;

namespace FusedAttention.Tests.Cli;

internal static class TensorFileBuilder
{
    internal static byte[] Make(string header, int dataBytes)
    {
        byte[] text = Encoding.UTF8.GetBytes(header);
        byte[] file = new byte[8 + text.Length + dataBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(file, (ulong)text.Length);
        text.CopyTo(file.AsSpan(8));
        return file;
    }
}
