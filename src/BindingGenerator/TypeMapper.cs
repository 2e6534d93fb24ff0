// Turns the type names that clang prints into C# types. Called by HeaderReader; anything unknown is an error.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Text.RegularExpressions;
using FusedAttention.BindingGenerator.Model;

namespace FusedAttention.BindingGenerator;

/// <summary>Knows the scalar types of C and the names that the header declared so far.</summary>
internal sealed partial class TypeMapper
{
    private static readonly Dictionary<string, string> Scalars = new(StringComparer.Ordinal)
    {
        ["void"] = "void",
        ["char"] = "byte",
        ["int8_t"] = "sbyte",
        ["uint8_t"] = "byte",
        ["int16_t"] = "short",
        ["uint16_t"] = "ushort",
        ["int32_t"] = "int",
        ["uint32_t"] = "uint",
        ["int64_t"] = "long",
        ["uint64_t"] = "ulong",
        ["float"] = "float",
        ["double"] = "double",
    };

    private readonly HashSet<string> _declared = new(StringComparer.Ordinal);

    /// <summary>Makes a struct or enumeration of the header usable as a type.</summary>
    public void Declare(string name) => _declared.Add(name);

    /// <summary>The C# type of a field, parameter or result.</summary>
    public CType Map(string cType, string where)
    {
        string text = QualifierPattern().Replace(cType, " ");
        int length = 0;
        Match array = ArrayPattern().Match(text);
        if (array.Success)
        {
            length = int.Parse(array.Groups[1].Value, CultureInfo.InvariantCulture);
            text = text[..array.Index];
        }

        int pointers = 0;
        text = text.Trim();
        while (text.EndsWith('*'))
        {
            ++pointers;
            text = text[..^1].TrimEnd();
        }

        if (Scalars.TryGetValue(text, out string? scalar))
        {
            text = scalar;
        }
        else if (!_declared.Contains(text))
        {
            throw new HeaderException(
                $"{where} has type '{cType}'; bindings know the fixed-width integers, float, double, char, void, "
                + "pointers to them, arrays of known length, and what the header declares above");
        }

        if (text == "void" && pointers == 0 && !where.EndsWith(" result", StringComparison.Ordinal))
        {
            throw new HeaderException($"{where} has type 'void', which only a result may have");
        }

        if (length > 0 && (pointers > 0 || !Scalars.ContainsValue(text)))
        {
            throw new HeaderException($"{where} has type '{cType}'; only arrays of numbers can be fixed buffers");
        }

        return new CType(text + new string('*', pointers), length);
    }

    [GeneratedRegex(@"\b(const|struct)\b")]
    private static partial Regex QualifierPattern();

    [GeneratedRegex(@"\s*\[(\d+)\]\s*$")]
    private static partial Regex ArrayPattern();
}
