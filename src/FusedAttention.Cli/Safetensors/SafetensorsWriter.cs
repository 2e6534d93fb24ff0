// Writes safetensors files for the run verb and the tests.
using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.IO;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace FusedAttention.Cli.Safetensors;

internal static class SafetensorsWriter
{
    private const int Alignment = 8;

    /// <summary>Writes all tensors in the order of their names; the file appears whole or not at all.</summary>
    /// <exception cref="BadInputException">The path cannot be written.</exception>
    internal static void Write(string path, IReadOnlyList<OutputTensor> tensors)
    {
        OutputFile.Write(path, stream => Write(stream, tensors));
    }

    internal static void Write(Stream stream, IReadOnlyList<OutputTensor> tensors)
    {
        OutputTensor[] ordered = [.. tensors];
        Array.Sort(ordered, static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        byte[] header = MakeHeader(ordered);
        Span<byte> prefix = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(prefix, (ulong)header.Length);
        stream.Write(prefix);
        stream.Write(header);
        foreach (OutputTensor tensor in ordered)
        {
            long start = stream.Position;
            tensor.Write(stream);
            long written = stream.Position - start;
            long needed = tensor.NumElements * tensor.Dtype.SizeInBytes();
            if (written != needed)
            {
                throw new InvalidOperationException(
                    $"tensor {tensor.Name} wrote {written} bytes, its shape needs {needed}");
            }
        }
    }

    private static byte[] MakeHeader(OutputTensor[] tensors)
    {
        using MemoryStream text = new();
        JsonWriterOptions options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        using (Utf8JsonWriter json = new(text, options))
        {
            long at = 0;
            json.WriteStartObject();
            foreach (OutputTensor tensor in tensors)
            {
                long end = checked(at + (tensor.NumElements * tensor.Dtype.SizeInBytes()));
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", tensor.Dtype.ToString());
                json.WriteStartArray("shape");
                foreach (long extent in tensor.Shape)
                {
                    json.WriteNumberValue(extent);
                }

                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(at);
                json.WriteNumberValue(end);
                json.WriteEndArray();
                json.WriteEndObject();
                at = end;
            }

            json.WriteEndObject();
        }

        // The data starts on an 8-byte boundary; blanks are the format's padding.
        while (text.Length % Alignment != 0)
        {
            text.WriteByte((byte)' ');
        }

        return text.ToArray();
    }
}
