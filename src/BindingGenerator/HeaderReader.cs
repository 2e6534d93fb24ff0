// Reads the header through clang into the model. Called by Program and by the tests of the generator.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using FusedAttention.BindingGenerator.Model;

namespace FusedAttention.BindingGenerator;

/// <summary>Walks the top-level declarations of one header and its parts, the files beside it, in order.</summary>
internal sealed class HeaderReader
{
    private const string Prefix = "fattn_";
    private const string MacroPrefix = "FATTN_";
    private const string ValuesSuffix = "_values";

    private readonly TypeMapper _types = new();
    private readonly List<CEnum> _enums = [];
    private readonly List<CStruct> _structs = [];
    private readonly List<CFunction> _functions = [];
    private readonly Dictionary<string, string> _pendingEnums = new(StringComparer.Ordinal);

    private HeaderReader()
    {
    }

    /// <summary>Reads the header at a path.</summary>
    /// <exception cref="HeaderException">The header holds something that has no rule.</exception>
    public static Header Read(string headerPath, Clang clang)
    {
        var reader = new HeaderReader();
        string folder = FolderOf(headerPath);
        var files = new DeclarationFiles();
        using JsonDocument tree = clang.DumpTree(headerPath);
        foreach (JsonElement declaration in Children(tree.RootElement))
        {
            if (files.Next(declaration) is { } file && FolderOf(file) == folder)
            {
                reader.Add(declaration);
            }
        }

        reader.CheckComplete();
        return new Header(
            HashOf(headerPath), ReadConstants(clang.DumpMacros(headerPath)), reader._enums, reader._structs,
            reader._functions);
    }

    /// <summary>
    /// SHA-256 of the name and text of every header file in the folder, by name, with line feeds as line ends; in
    /// lower-case hexadecimal digits.
    /// </summary>
    public static string HashOf(string headerPath)
    {
        IEnumerable<string> texts = Directory.GetFiles(FolderOf(headerPath), "*.h").Order(StringComparer.Ordinal)
            .Select(file => $"{Path.GetFileName(file)}\n{File.ReadAllText(file).ReplaceLineEndings("\n")}");
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Concat(texts))));
    }

    private static string FolderOf(string path) => Path.GetFullPath(Path.Combine(path, ".."));

    private void Add(JsonElement declaration)
    {
        string kind = Text(declaration, "kind");
        string name = Text(declaration, "name");
        if (!name.StartsWith(Prefix, StringComparison.Ordinal))
        {
            throw new HeaderException($"{kind} '{name}' is declared; every name of the header starts with {Prefix}");
        }

        switch (kind)
        {
            case "TypedefDecl":
                AddTypedef(name, declaration);
                break;
            case "EnumDecl":
                AddEnum(name, declaration);
                break;
            case "RecordDecl":
                AddStruct(name, declaration);
                break;
            case "FunctionDecl":
                AddFunction(name, declaration);
                break;
            default:
                throw new HeaderException(
                    $"{kind} '{name}' has no rule; known are typedefs, enums, structs, functions");
        }
    }

    // A typedef either repeats the tag of a struct or announces an enumeration, whose values follow under
    // the same name and a suffix.
    private void AddTypedef(string name, JsonElement declaration)
    {
        string target = Text(declaration.GetProperty("type"), "qualType");
        if (target == $"struct {name}")
        {
            int place = _structs.FindIndex(s => s.Name == name);
            if (_structs[place].Documentation.Length == 0)
            {
                _structs[place] = _structs[place] with { Documentation = Documentation(declaration) };
            }

            return;
        }

        if (target != "uint32_t")
        {
            throw new HeaderException(
                $"typedef '{name}' stands for '{target}'; allowed are uint32_t (an enumeration) and 'struct {name}'");
        }

        _pendingEnums.Add(name, Documentation(declaration));
        _types.Declare(name);
    }

    private void AddEnum(string tag, JsonElement declaration)
    {
        string name = tag;
        string documentation = Documentation(declaration);
        bool isValues = tag.EndsWith(ValuesSuffix, StringComparison.Ordinal);
        if (isValues)
        {
            name = tag[..^ValuesSuffix.Length];
            if (!_pendingEnums.Remove(name, out string? announced))
            {
                throw new HeaderException($"enum '{tag}' has no 'typedef uint32_t {name};' before it");
            }

            documentation = announced;
        }
        else if (!tag.EndsWith("_flags", StringComparison.Ordinal))
        {
            throw new HeaderException($"enum '{tag}' must end with {ValuesSuffix} or _flags");
        }

        var values = new List<CEnumValue>();
        foreach (JsonElement constant in Children(declaration).Where(c => Text(c, "kind") == "EnumConstantDecl"))
        {
            JsonElement value = Children(constant).FirstOrDefault(c => Text(c, "kind") == "ConstantExpr");
            if (value.ValueKind == JsonValueKind.Undefined
                || !uint.TryParse(Text(value, "value"), CultureInfo.InvariantCulture, out uint number))
            {
                throw new HeaderException($"'{Text(constant, "name")}' of enum '{tag}' needs an explicit value >= 0");
            }

            values.Add(new CEnumValue(Text(constant, "name"), number, Documentation(constant)));
        }

        if (!isValues && values.FirstOrDefault(v => !uint.IsPow2(v.Value)) is { } odd)
        {
            throw new HeaderException($"'{odd.Name}' of enum '{tag}' is {odd.Value}; a flag is a power of two");
        }

        _enums.Add(new CEnum(name, !isValues, values, documentation));
    }

    private void AddStruct(string name, JsonElement declaration)
    {
        if (Text(declaration, "tagUsed") != "struct")
        {
            throw new HeaderException($"'{name}' is a {Text(declaration, "tagUsed")}; only structs have a rule");
        }

        bool isOpaque = !declaration.TryGetProperty("completeDefinition", out _);
        var fields = new List<CField>();
        foreach (JsonElement child in Children(declaration))
        {
            string kind = Text(child, "kind");
            if (kind == "FieldDecl")
            {
                string field = Text(child, "name");
                string where = $"{name}.{field}";
                if (child.TryGetProperty("isBitfield", out _))
                {
                    throw new HeaderException($"{where} is a bit-field; its place in memory is not fixed by C");
                }

                fields.Add(new CField(field, _types.Map(QualifiedType(child), where), Documentation(child)));
            }
            else if (kind != "FullComment")
            {
                throw new HeaderException($"{name} contains a {kind}; a struct holds plain fields only");
            }
        }

        _structs.Add(new CStruct(name, isOpaque, fields, Documentation(declaration)));
        _types.Declare(name);
    }

    private void AddFunction(string name, JsonElement declaration)
    {
        if (declaration.TryGetProperty("variadic", out _))
        {
            throw new HeaderException($"{name} takes a variable number of arguments");
        }

        string signature = QualifiedType(declaration);
        string result = signature[..signature.IndexOf('(', StringComparison.Ordinal)];
        var parameters = new List<CParameter>();
        foreach (JsonElement child in Children(declaration).Where(c => Text(c, "kind") == "ParmVarDecl"))
        {
            string parameter = Text(child, "name");
            if (parameter.Length == 0)
            {
                throw new HeaderException($"parameter {parameters.Count} of {name} has no name");
            }

            CType type = _types.Map(QualifiedType(child), $"parameter '{parameter}' of {name}");
            if (type.IsArray)
            {
                throw new HeaderException($"parameter '{parameter}' of {name} is an array; write a pointer");
            }

            parameters.Add(new CParameter(parameter, type));
        }

        _functions.Add(new CFunction(
            name, _types.Map(result, $"{name} result"), parameters, Documentation(declaration)));
    }

    private void CheckComplete()
    {
        if (_pendingEnums.Count > 0)
        {
            string name = _pendingEnums.Keys.First();
            throw new HeaderException($"'typedef uint32_t {name};' has no 'enum {name}{ValuesSuffix}' after it");
        }

        var undocumented = _functions.Where(f => f.Documentation.Length == 0).Select(f => f.Name)
            .Concat(_structs.Where(s => s.Documentation.Length == 0).Select(s => s.Name))
            .Concat(_structs.SelectMany(s => s.Fields.Where(f => f.Documentation.Length == 0)
                .Select(f => $"{s.Name}.{f.Name}")))
            .Concat(_enums.Where(e => e.Documentation.Length == 0).Select(e => e.Name))
            .Concat(_enums.SelectMany(e => e.Values.Where(v => v.Documentation.Length == 0).Select(v => v.Name)))
            .ToList();
        if (undocumented.Count > 0)
        {
            throw new HeaderException($"no comment on: {string.Join(", ", undocumented)}");
        }
    }

    // Object-like macros with an integer become constants; those without a value (guards) and FATTN_API are no data.
    private static List<KeyValuePair<string, uint>> ReadConstants(string macros)
    {
        var constants = new List<KeyValuePair<string, uint>>();
        foreach (string line in macros.Split('\n'))
        {
            string[] parts = line.Split(' ', 3);
            if (parts.Length < 2 || !parts[1].StartsWith(MacroPrefix, StringComparison.Ordinal)
                || parts[1] == "FATTN_API" || parts.Length == 2 || parts[2].Length == 0)
            {
                continue;
            }

            if (!uint.TryParse(parts[2], CultureInfo.InvariantCulture, out uint value))
            {
                throw new HeaderException($"macro {parts[1]} is '{parts[2]}'; only non-negative integers have a rule");
            }

            constants.Add(new KeyValuePair<string, uint>(parts[1], value));
        }

        constants.Sort((a, b) => string.CompareOrdinal(a.Key, b.Key));
        return constants;
    }

    private static string Documentation(JsonElement declaration)
    {
        JsonElement comment = Children(declaration).FirstOrDefault(c => Text(c, "kind") == "FullComment");
        if (comment.ValueKind == JsonValueKind.Undefined)
        {
            return "";
        }

        var lines = new List<string>();
        Collect(comment, lines);
        return string.Join(' ', lines.Where(l => l.Length > 0));
    }

    private static void Collect(JsonElement comment, List<string> lines)
    {
        switch (Text(comment, "kind"))
        {
            case "FullComment" or "ParagraphComment":
                foreach (JsonElement child in Children(comment))
                {
                    Collect(child, lines);
                }

                break;
            case "TextComment":
                lines.Add(Text(comment, "text").Trim());
                break;
            default:
                throw new HeaderException(
                    $"a comment holds a {Text(comment, "kind")}; write plain sentences, without commands or tags");
        }
    }

    private static string QualifiedType(JsonElement declaration) => Text(declaration.GetProperty("type"), "qualType");

    private static string Text(JsonElement element, string property) =>
        element.TryGetProperty(property, out JsonElement value) ? value.GetString() ?? "" : "";

    private static JsonElement.ArrayEnumerator Children(JsonElement element) =>
        element.TryGetProperty("inner", out JsonElement inner) ? inner.EnumerateArray() : default;
}
