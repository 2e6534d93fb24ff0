// Parses and checks the JSON header of a safetensors file for the reader.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text.Json;

namespace FusedAttention.Cli.Safetensors;

internal static class SafetensorsHeader
{
    /// <summary>The largest header the format allows, in bytes.</summary>
    internal const long MaxBytes = 100_000_000;

    /// <summary>More extents than any tensor has; keeps a hostile header from asking for memory.</summary>
    internal const int MaxRank = 16;

    private const string MetadataName = "__metadata__";

    /// <summary>Reads all entries and proves that they tile the data exactly.</summary>
    /// <param name="text">The header's UTF-8 bytes, padding blanks included.</param>
    /// <param name="dataBytes">Bytes in the file after the header.</param>
    /// <param name="source">The file's name for messages.</param>
    /// <exception cref="BadInputException">The header breaks a rule of the format.</exception>
    internal static Dictionary<string, TensorEntry> Parse(ReadOnlySpan<byte> text, long dataBytes, string source)
    {
        if (text.IsEmpty || text[0] != (byte)'{')
        {
            throw new BadInputException(
                $"{source}: the header does not start with '{{'; this is not a safetensors file");
        }

        string where = $"the header of {source}";
        Dictionary<string, TensorEntry> tensors = StrictJson.ParseObject(text, where, ReadTensors);
        CheckTiling(tensors.Values, dataBytes, source);
        return tensors;
    }

    private static Dictionary<string, TensorEntry> ReadTensors(ref Utf8JsonReader reader, string where)
    {
        Dictionary<string, TensorEntry> tensors = new(StringComparer.Ordinal);
        bool hasMetadata = false;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = StrictJson.Text(ref reader, where);
            if (name == MetadataName)
            {
                if (hasMetadata)
                {
                    throw new BadInputException($"{where} has {MetadataName} twice; a key may occur once");
                }

                hasMetadata = true;
                CheckMetadata(ref reader, where);
            }
            else if (!tensors.TryAdd(name, ReadTensor(ref reader, name, where)))
            {
                throw new BadInputException(
                    $"{where} has tensor {StrictJson.Quote(name)} twice; a name may occur once");
            }
        }

        return tensors;
    }

    private static void CheckMetadata(ref Utf8JsonReader reader, string where)
    {
        Expect(ref reader, JsonTokenType.StartObject, $"{where}: {MetadataName}");
        HashSet<string> keys = new(StringComparer.Ordinal);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = StrictJson.Text(ref reader, where);
            if (!keys.Add(key))
            {
                throw new BadInputException(
                    $"{where}: {MetadataName} has {StrictJson.Quote(key)} twice; a key may occur once");
            }

            Expect(ref reader, JsonTokenType.String, $"{where}: {MetadataName} {StrictJson.Quote(key)}");
            StrictJson.Text(ref reader, where);
        }
    }

    private static TensorEntry ReadTensor(ref Utf8JsonReader reader, string name, string where)
    {
        string what = $"{where}: tensor {StrictJson.Quote(name)}";
        Expect(ref reader, JsonTokenType.StartObject, what);
        TensorDtype? dtype = null;
        long[]? shape = null;
        long[]? offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = StrictJson.Text(ref reader, where);
            bool twice;
            switch (key)
            {
                case "dtype":
                    twice = dtype is not null;
                    dtype = ReadDtype(ref reader, what);
                    break;
                case "shape":
                    twice = shape is not null;
                    shape = ReadIntegers(ref reader, $"{what}: shape", MaxRank);
                    break;
                case "data_offsets":
                    twice = offsets is not null;
                    offsets = ReadIntegers(ref reader, $"{what}: data_offsets", 2);
                    break;
                default:
                    throw new BadInputException(
                        $"{what} has field {StrictJson.Quote(key)}; allowed are dtype, shape, data_offsets");
            }

            if (twice)
            {
                throw new BadInputException($"{what} has {key} twice; a key may occur once");
            }
        }

        if (dtype is null || shape is null || offsets is null)
        {
            throw new BadInputException($"{what} lacks one of dtype, shape, data_offsets; all three are needed");
        }

        if (offsets.Length != 2 || offsets[0] > offsets[1])
        {
            throw new BadInputException(
                $"{what}: data_offsets is [{string.Join(", ", offsets)}]; expected [begin, end] with begin <= end");
        }

        TensorEntry entry = new(name, dtype.Value, shape, offsets[0], offsets[1]);
        CheckSize(entry, what);
        return entry;
    }

    private static TensorDtype ReadDtype(ref Utf8JsonReader reader, string what)
    {
        Expect(ref reader, JsonTokenType.String, $"{what}: dtype");
        string name = StrictJson.Text(ref reader, what);
        if (!TensorDtypes.TryParse(name, out TensorDtype dtype))
        {
            throw new BadInputException(
                $"{what}: dtype is {StrictJson.Quote(name)}; allowed are {TensorDtypes.Allowed}");
        }

        return dtype;
    }

    private static long[] ReadIntegers(ref Utf8JsonReader reader, string what, int maxCount)
    {
        Expect(ref reader, JsonTokenType.StartArray, what);
        List<long> values = [];
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out long value) || value < 0)
            {
                throw new BadInputException($"{what} holds something that is not an integer in 0..2^63-1");
            }

            if (values.Count == maxCount)
            {
                throw new BadInputException($"{what} has more than {maxCount} numbers; at most {maxCount} are allowed");
            }

            values.Add(value);
        }

        return [.. values];
    }

    // Extents of zero are left out of the product, so that strides computed from any shape fit in 64 bits too.
    private static void CheckSize(TensorEntry entry, string what)
    {
        UInt128 bytes = (UInt128)entry.Dtype.SizeInBytes();
        bool empty = false;
        foreach (long extent in entry.Shape)
        {
            empty |= extent == 0;
            bytes *= (UInt128)Math.Max(extent, 1);
            if (bytes > (UInt128)long.MaxValue)
            {
                throw new BadInputException($"{what}: shape {entry.ShapeText} needs more than 2^63-1 bytes");
            }
        }

        long needed = empty ? 0 : (long)bytes;
        long found = entry.End - entry.Begin;
        if (needed != found)
        {
            throw new BadInputException(string.Create(CultureInfo.InvariantCulture,
                $"{what}: shape {entry.ShapeText} of {entry.Dtype} needs {needed} bytes, data_offsets give {found}"));
        }
    }

    private static void CheckTiling(IEnumerable<TensorEntry> entries, long dataBytes, string source)
    {
        TensorEntry[] ordered = [.. entries];
        Array.Sort(ordered, static (a, b) => a.Begin != b.Begin ? a.Begin.CompareTo(b.Begin) : a.End.CompareTo(b.End));
        long at = 0;
        foreach (TensorEntry entry in ordered)
        {
            if (entry.Begin != at)
            {
                string fault = entry.Begin < at ? "overlaps the tensor before it" : "leaves a gap before it";
                throw new BadInputException(
                    $"{source}: tensor {StrictJson.Quote(entry.Name)} begins at byte {entry.Begin}" +
                    $" and {fault}; expected byte {at}, offsets must tile the data");
            }

            at = entry.End;
        }

        if (at != dataBytes)
        {
            throw new BadInputException(
                $"{source}: the tensors cover {at} bytes, the file has {dataBytes} after its header; expected equal");
        }
    }

    private static void Expect(ref Utf8JsonReader reader, JsonTokenType wanted, string what)
    {
        reader.Read();
        if (reader.TokenType != wanted)
        {
            throw new BadInputException(
                $"{what} is {StrictJson.Describe(reader.TokenType)}; expected {StrictJson.Describe(wanted)}");
        }
    }
}
