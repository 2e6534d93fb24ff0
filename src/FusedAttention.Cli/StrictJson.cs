// Strict JSON reading shared by the problem reader, the safetensors header and the benchmark baseline.
using System;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace FusedAttention.Cli;

/// <summary>Parses UTF-8 text so that every malformed byte becomes a <see cref="BadInputException"/>.</summary>
internal static class StrictJson
{
    private const int MaxDepth = 8;
    private const int MaxShownCharacters = 60;

    internal delegate T Parser<out T>(ref Utf8JsonReader reader, string source);

    /// <summary>Parses exactly one object; nothing but blanks may follow it.</summary>
    /// <param name="text">The UTF-8 text, without a byte-order mark.</param>
    /// <param name="source">How error messages name the text, for example a file name.</param>
    /// <param name="parse">Called with the reader on the opening brace; returns with it on the closing one.</param>
    /// <exception cref="BadInputException">The text is no strict JSON, or was refused.</exception>
    internal static T ParseObject<T>(ReadOnlySpan<byte> text, string source, Parser<T> parse)
    {
        if (text.StartsWith("\uFEFF"u8))
        {
            throw new BadInputException($"{source} starts with a byte-order mark; save it as UTF-8 without one");
        }

        if (!Utf8.IsValid(text))
        {
            throw new BadInputException($"{source} is not valid UTF-8; JSON must be UTF-8 text");
        }

        try
        {
            JsonReaderOptions options = new()
            {
                AllowTrailingCommas = false,
                CommentHandling = JsonCommentHandling.Disallow,
                MaxDepth = MaxDepth,
            };
            Utf8JsonReader reader = new(text, options);
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                throw new BadInputException($"{source} holds {Describe(reader.TokenType)}; expected one JSON object");
            }

            T result = parse(ref reader, source);

            // Reading on makes the reader itself complain about anything that follows the object.
            reader.Read();
            return result;
        }
        catch (JsonException error)
        {
            long line = (error.LineNumber ?? 0) + 1;
            long column = (error.BytePositionInLine ?? 0) + 1;
            throw new BadInputException(
                $"{source} is not strict JSON (line {line}, byte {column}): {FirstSentence(error.Message)}", error);
        }
    }

    /// <summary>The text of the string or property name the reader stands on.</summary>
    internal static string Text(ref Utf8JsonReader reader, string source)
    {
        try
        {
            return reader.GetString() ?? string.Empty;
        }
        catch (InvalidOperationException error)
        {
            throw HalfPair(source, error);
        }
    }

    /// <summary>The text of a string element.</summary>
    internal static string Text(JsonElement element, string source)
    {
        try
        {
            return element.GetString() ?? string.Empty;
        }
        catch (InvalidOperationException error)
        {
            throw HalfPair(source, error);
        }
    }

    /// <summary>What a value is, in words.</summary>
    internal static string Describe(JsonTokenType token) => token switch
    {
        JsonTokenType.StartObject => "an object",
        JsonTokenType.StartArray => "an array",
        JsonTokenType.String => "a string",
        JsonTokenType.Number => "a number",
        JsonTokenType.True or JsonTokenType.False => "true or false",
        JsonTokenType.Null => "null",
        _ => "nothing",
    };

    /// <summary>User text made safe for a one-line message: quoted, controls escaped, cut when long.</summary>
    internal static string Quote(string text)
    {
        StringBuilder quoted = new("\"");
        foreach (char c in text.AsSpan(0, Math.Min(text.Length, MaxShownCharacters)))
        {
            if (char.IsControl(c) || char.IsSurrogate(c) || c is '\u2028' or '\u2029')
            {
                quoted.Append("\\u").Append(((int)c).ToString("x4", CultureInfo.InvariantCulture));
            }
            else
            {
                quoted.Append(c);
            }
        }

        return quoted.Append(text.Length > MaxShownCharacters ? "...\"" : "\"").ToString();
    }

    // The only thing that a string of valid UTF-8 can still get wrong.
    private static BadInputException HalfPair(string source, Exception error) =>
        new($"{source} has a string with an escaped half of a surrogate pair", error);

    // The runtime's messages end in " LineNumber: .. | BytePositionInLine: .."; the caller says that in its own words.
    private static string FirstSentence(string message)
    {
        int end = message.IndexOf(" LineNumber:", StringComparison.Ordinal);
        string sentence = end < 0 ? message : message[..end];
        return sentence.ReplaceLineEndings(" ").TrimEnd('.', ' ');
    }
}
