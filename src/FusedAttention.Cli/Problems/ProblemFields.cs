// The fields of one problem object, taken out one by one with their checks; used by the problem reader alone.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text;
using System.Text.Json;

namespace FusedAttention.Cli.Problems;

/// <summary>A flat JSON object: scalars and arrays of scalars. Fields nobody took are an error at the end.</summary>
internal sealed class ProblemFields
{
    private const int MaxArrayLength = 64;

    private readonly Dictionary<string, Value> _values = new(StringComparer.Ordinal);
    private readonly SortedSet<string> _known = new(StringComparer.Ordinal);
    private readonly string _source;

    private ProblemFields(string source)
    {
        _source = source;
    }

    /// <summary>Reads the object the reader stands on.</summary>
    internal static ProblemFields Read(ref Utf8JsonReader reader, string source)
    {
        ProblemFields fields = new(source);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = StrictJson.Text(ref reader, source);
            reader.Read();
            if (!fields._values.TryAdd(name, ReadValue(ref reader, $"{source}: {StrictJson.Quote(name)}")))
            {
                throw new BadInputException(
                    $"{source} has field {StrictJson.Quote(name)} twice; a field may occur once");
            }
        }

        return fields;
    }

    internal bool Boolean(string name, bool absent) =>
        Find(name) is { } value ? AsBoolean(name, value, "true or false") : absent;

    internal long Integer(string name, long min, long max, long? absent = null) =>
        Find(name) is { } value ? AsInteger(name, value, min, max) : absent ?? throw Missing(name);

    /// <summary>A number that a 32-bit float can hold; null when the field is absent.</summary>
    internal float? Single(string name)
    {
        if (Find(name) is not { } value)
        {
            return null;
        }

        float number = (float)AsNumber(name, value);
        return float.IsFinite(number) ? number : throw Wrong(name, value, "a number that a 32-bit float can hold");
    }

    internal double Number(string name, double min, double max, double absent)
    {
        if (Find(name) is not { } value)
        {
            return absent;
        }

        double number = AsNumber(name, value);
        return number >= min && number <= max
            ? number
            : throw Wrong(name, value, string.Create(CultureInfo.InvariantCulture, $"a number in {min}..{max}"));
    }

    /// <summary>One of a few words.</summary>
    internal T Choice<T>(string name, (string Word, T Value)[] choices, T? absent = null)
        where T : struct
    {
        if (Find(name) is not { } value)
        {
            return absent ?? throw Missing(name);
        }

        if (value.Token == JsonTokenType.String)
        {
            foreach ((string word, T choice) in choices)
            {
                if (word == value.Text)
                {
                    return choice;
                }
            }
        }

        StringBuilder words = new("one of ");
        words.AppendJoin(", ", choices.Select(static choice => $"\"{choice.Word}\""));
        throw Wrong(name, value, words.ToString());
    }

    /// <summary>An array of integers whose length lies in a range; null when absent.</summary>
    internal long[]? Integers(string name, (int Min, int Max) length, long min, long max)
    {
        if (Find(name) is not { } value)
        {
            return null;
        }

        Value[] items = AsArray(name, value, length, $"integers in {min}..{max}");
        return [.. items.Select(item => AsInteger(name, item, min, max))];
    }

    /// <summary>An array of booleans whose length lies in a range; null when absent.</summary>
    internal bool[]? Booleans(string name, (int Min, int Max) length)
    {
        if (Find(name) is not { } value)
        {
            return null;
        }

        Value[] items = AsArray(name, value, length, "true or false");
        return [.. items.Select(item => AsBoolean(name, item, "an array of true or false"))];
    }

    /// <summary>Refuses every field that was never asked for.</summary>
    internal void RejectUnknown(string family)
    {
        foreach (string name in _values.Keys)
        {
            if (!_known.Contains(name))
            {
                throw new BadInputException(
                    $"{_source} has field {StrictJson.Quote(name)}, which {family} does not know;" +
                    $" its fields are {string.Join(", ", _known)}");
            }
        }
    }

    internal BadInputException Missing(string name) => new($"{_source} lacks the field \"{name}\", which is required");

    /// <summary>An error about the relation between fields.</summary>
    internal BadInputException Fault(string text) => new($"{_source}: {text}");

    private static Value ReadValue(ref Utf8JsonReader reader, string what)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            return ReadScalar(ref reader, what);
        }

        List<Value> items = [];
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (items.Count == MaxArrayLength)
            {
                throw new BadInputException($"{what} has more than {MaxArrayLength} values");
            }

            items.Add(ReadScalar(ref reader, what));
        }

        return new Value(JsonTokenType.StartArray, $"an array of {items.Count}", [.. items]);
    }

    private static Value ReadScalar(ref Utf8JsonReader reader, string what) => reader.TokenType switch
    {
        JsonTokenType.String => new Value(reader.TokenType, StrictJson.Text(ref reader, what), []),
        JsonTokenType.Number or JsonTokenType.True or JsonTokenType.False or JsonTokenType.Null =>
            new Value(reader.TokenType, Encoding.UTF8.GetString(reader.ValueSpan), []),
        _ => throw new BadInputException(
            $"{what} holds {StrictJson.Describe(reader.TokenType)} where a plain value is expected"),
    };

    private Value? Find(string name)
    {
        _known.Add(name);
        return _values.GetValueOrDefault(name);
    }

    private bool AsBoolean(string name, Value value, string allowed) => value.Token switch
    {
        JsonTokenType.True => true,
        JsonTokenType.False => false,
        _ => throw Wrong(name, value, allowed),
    };

    private long AsInteger(string name, Value value, long min, long max)
    {
        if (value.Token == JsonTokenType.Number
            && long.TryParse(value.Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number)
            && number >= min && number <= max)
        {
            return number;
        }

        throw Wrong(name, value, $"an integer in {min}..{max}");
    }

    private double AsNumber(string name, Value value)
    {
        if (value.Token == JsonTokenType.Number
            && double.TryParse(value.Text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
            && double.IsFinite(number))
        {
            return number;
        }

        throw Wrong(name, value, "a finite number");
    }

    private Value[] AsArray(string name, Value value, (int Min, int Max) length, string items)
    {
        if (value.Token == JsonTokenType.StartArray
            && value.Items.Length >= length.Min && value.Items.Length <= length.Max)
        {
            return value.Items;
        }

        string count = length.Min == length.Max ? $"{length.Min}" : $"{length.Min} to {length.Max}";
        throw Wrong(name, value, $"an array of {count} values, each {items}");
    }

    private BadInputException Wrong(string name, Value value, string allowed)
    {
        string found = value.Token == JsonTokenType.String || value.Text.Length > 40
            ? StrictJson.Quote(value.Text)
            : value.Text;
        return new BadInputException($"{_source}: \"{name}\" is {found}; expected {allowed}");
    }

    /// <param name="Token">What kind of JSON value it was.</param>
    /// <param name="Text">The string's content, or the literal as written.</param>
    /// <param name="Items">The elements of an array.</param>
    private sealed record Value(JsonTokenType Token, string Text, Value[] Items);
}
