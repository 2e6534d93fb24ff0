// Opens a safetensors file and streams its tensors; used by run, draw and the tests.
using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;

namespace FusedAttention.Cli.Safetensors;

/// <summary>Reads tensors of any size in pieces: neither 2 GiB nor the size of memory is a limit.</summary>
internal sealed class SafetensorsReader : IDisposable
{
    private const int PrefixBytes = 8;

    // A multiple of every element size.
    private const int PieceBytes = 1 << 20;

    private readonly Stream _stream;
    private readonly long _dataStart;

    /// <param name="stream">A seekable stream; disposed with the reader.</param>
    /// <param name="source">The file's name for messages.</param>
    /// <exception cref="BadInputException">The file is not a well-formed safetensors file.</exception>
    internal SafetensorsReader(Stream stream, string source)
    {
        _stream = stream;
        Source = source;
        long fileBytes = stream.Length;
        if (fileBytes < PrefixBytes)
        {
            throw new BadInputException(
                $"{source} has {fileBytes} bytes; a safetensors file starts with an 8-byte header length");
        }

        Span<byte> prefix = stackalloc byte[PrefixBytes];
        stream.Position = 0;
        stream.ReadExactly(prefix);
        ulong headerBytes = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (headerBytes > SafetensorsHeader.MaxBytes)
        {
            throw new BadInputException($"{source}: the header length is {headerBytes} bytes;" +
                $" at most {SafetensorsHeader.MaxBytes} are allowed");
        }

        if ((long)headerBytes > fileBytes - PrefixBytes)
        {
            throw new BadInputException($"{source}: the header length is {headerBytes} bytes," +
                $" the file has {fileBytes - PrefixBytes} after the length; the file is cut short");
        }

        byte[] header = new byte[(int)headerBytes];
        stream.ReadExactly(header);
        _dataStart = PrefixBytes + (long)headerBytes;
        Tensors = SafetensorsHeader.Parse(header, fileBytes - _dataStart, source);
    }

    /// <summary>Receives the next bytes of a tensor.</summary>
    /// <param name="bytes">A whole number of elements.</param>
    /// <param name="firstElement">Index of the first of them in the tensor.</param>
    internal delegate void PieceHandler(ReadOnlySpan<byte> bytes, long firstElement);

    internal string Source { get; }

    internal IReadOnlyDictionary<string, TensorEntry> Tensors { get; }

    /// <summary>Opens a file; every reason why it cannot be read is the caller's input at fault.</summary>
    internal static SafetensorsReader Open(string path)
    {
        FileStream stream = InputFile.Open(path);
        try
        {
            return new SafetensorsReader(stream, path);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>Streams a tensor's bytes in order.</summary>
    internal void Read(TensorEntry entry, PieceHandler handle)
    {
        byte[] piece = new byte[(int)Math.Min(PieceBytes, entry.End - entry.Begin)];
        int elementBytes = entry.Dtype.SizeInBytes();
        _stream.Position = _dataStart + entry.Begin;
        for (long at = entry.Begin; at < entry.End; at += piece.Length)
        {
            Span<byte> bytes = piece.AsSpan(0, (int)Math.Min(piece.Length, entry.End - at));
            try
            {
                _stream.ReadExactly(bytes);
            }
            catch (EndOfStreamException error)
            {
                throw new BadInputException($"{Source} became shorter while it was read", error);
            }

            handle(bytes, (at - entry.Begin) / elementBytes);
        }
    }

    public void Dispose() => _stream.Dispose();
}
