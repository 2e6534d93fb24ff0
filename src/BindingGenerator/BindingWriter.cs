// Writes the C# side of a header: one text per generated file. Called by Program and by the tests of the generator.
using System.Collections.Generic;
using System.Linq;
using FusedAttention.BindingGenerator.Model;

namespace FusedAttention.BindingGenerator;

/// <summary>Turns the model of the header into C# files. The same header always gives the same text.</summary>
internal static class BindingWriter
{
    private const string Indent = "    ";

    // Words of C# that C allows as names.
    private static readonly HashSet<string> Keywords =
    [
        "as", "base", "bool", "byte", "catch", "checked", "class", "decimal", "delegate", "event", "explicit",
        "false", "finally", "fixed", "foreach", "implicit", "in", "interface", "internal", "is", "lock", "namespace",
        "new", "null", "object", "operator", "out", "override", "params", "private", "protected", "public", "readonly",
        "ref", "sbyte", "sealed", "stackalloc", "string", "this", "throw", "true", "try", "typeof", "uint", "ulong",
        "unchecked", "unsafe", "ushort", "using", "virtual",
    ];

    /// <summary>File name and text of every generated file.</summary>
    public static IReadOnlyList<KeyValuePair<string, string>> Write(Header header) =>
    [
        new("AbiTable.Generated.cs", WriteAbiTable(header)),
        new("Enums.Generated.cs", WriteEnums(header)),
        new("NativeMethods.Generated.cs", WriteFunctions(header)),
        new("Structs.Generated.cs", WriteStructs(header)),
    ];

    private static string WriteFunctions(Header header)
    {
        var text = new SourceText(
            header.Hash, "Every function of the native library.", "System.CodeDom.Compiler",
            "System.Runtime.CompilerServices", "System.Runtime.InteropServices");
        text.Line();
        text.Line("/// <summary>The functions and constants of the native library, under their C names.</summary>");
        text.Line("[GeneratedCode(\"BindingGenerator\", \"1\")]");
        text.Line("internal static unsafe partial class NativeMethods");
        text.Line("{");
        text.Line($"{Indent}/// <summary>Name of the library, as the loader is asked for it.</summary>");
        text.Line($"{Indent}internal const string LibraryName = \"fused_attention\";");
        foreach (KeyValuePair<string, uint> constant in header.Constants)
        {
            text.Line();
            text.Line($"{Indent}/// <summary>Constant of the header.</summary>");
            text.Line($"{Indent}internal const uint {constant.Key} = {constant.Value};");
        }

        foreach (CFunction function in header.Functions)
        {
            text.Line();
            text.Summary(Indent, function.Documentation);
            text.Line($"{Indent}[LibraryImport(LibraryName)]");
            text.Line($"{Indent}[UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]");
            string start = $"{Indent}internal static partial {function.ReturnType.CSharp} {function.Name}(";
            string parameters = string.Join(", ", function.Parameters.Select(p => $"{p.Type.CSharp} {Name(p.Name)}"));
            if (start.Length + parameters.Length + 2 <= 120)
            {
                text.Line($"{start}{parameters});");
            }
            else
            {
                text.Line(start);
                text.Line($"{Indent}{Indent}{parameters});");
            }
        }

        text.Line("}");
        return text.ToString();
    }

    private static string WriteStructs(Header header)
    {
        var text = new SourceText(
            header.Hash, "Every struct of the native library, with its layout in memory.", "System.CodeDom.Compiler",
            "System.Runtime.InteropServices");
        foreach (CStruct structure in header.Structs)
        {
            text.Line();
            text.Summary("", structure.Documentation);
            text.Line("[GeneratedCode(\"BindingGenerator\", \"1\")]");
            if (structure.IsOpaque)
            {
                text.Line($"internal readonly struct {structure.Name};");
                continue;
            }

            text.Line("[StructLayout(LayoutKind.Sequential)]");
            text.Line($"internal unsafe struct {structure.Name}");
            text.Line("{");
            for (int i = 0; i < structure.Fields.Count; ++i)
            {
                CField field = structure.Fields[i];
                if (i > 0)
                {
                    text.Line();
                }

                text.Summary(Indent, field.Documentation);
                text.Line(field.Type.IsArray
                    ? $"{Indent}public fixed {field.Type.CSharp} {Name(field.Name)}[{field.Type.ArrayLength}];"
                    : $"{Indent}public {field.Type.CSharp} {Name(field.Name)};");
            }

            text.Line("}");
        }

        return text.ToString();
    }

    private static string WriteEnums(Header header)
    {
        var text = new SourceText(
            header.Hash, "Every enumeration of the native library.", "System", "System.CodeDom.Compiler");
        foreach (CEnum enumeration in header.Enums)
        {
            text.Line();
            text.Summary("", enumeration.Documentation);
            text.Line("[GeneratedCode(\"BindingGenerator\", \"1\")]");
            if (enumeration.IsFlags)
            {
                text.Line("[Flags]");
            }

            text.Line($"internal enum {enumeration.Name} : uint");
            text.Line("{");
            for (int i = 0; i < enumeration.Values.Count; ++i)
            {
                CEnumValue value = enumeration.Values[i];
                if (i > 0)
                {
                    text.Line();
                }

                text.Summary(Indent, value.Documentation);
                text.Line($"{Indent}{value.Name} = {value.Value},");
            }

            text.Line("}");
        }

        return text.ToString();
    }

    private static string WriteAbiTable(Header header)
    {
        var text = new SourceText(
            header.Hash, "Size and place of every struct and field as this build of the library sees them.",
            "System.CodeDom.Compiler", "System.Collections.Generic", "FusedAttention.Internal");
        text.Line();
        text.Line(
            "/// <summary>This side's answer to fattn_abi_describe, and the names it expects as exports.</summary>");
        text.Line("[GeneratedCode(\"BindingGenerator\", \"1\")]");
        text.Line("internal static unsafe class AbiTable");
        text.Line("{");
        text.Line($"{Indent}/// <summary>Names of all functions.</summary>");
        text.Line($"{Indent}internal static string[] CreateFunctionNames() =>");
        text.Line($"{Indent}[");
        foreach (CFunction function in header.Functions)
        {
            text.Line($"{Indent}{Indent}\"{function.Name}\",");
        }

        text.Line($"{Indent}];");
        text.Line();
        text.Line(
            $"{Indent}/// <summary>All structs (no field name) and fields, in the order of the header.</summary>");
        text.Line($"{Indent}internal static List<AbiEntry> CreateEntries()");
        text.Line($"{Indent}{{");
        int count = header.Structs.Where(s => !s.IsOpaque).Sum(s => 1 + s.Fields.Count);
        text.Line($"{Indent}{Indent}var entries = new List<AbiEntry>({count});");
        IEnumerable<CStruct> concrete = header.Structs.Where(s => !s.IsOpaque);
        foreach (CStruct structure in concrete)
        {
            text.Line($"{Indent}{Indent}Add_{structure.Name}(entries);");
        }

        text.Line($"{Indent}{Indent}return entries;");
        text.Line($"{Indent}}}");
        foreach (CStruct structure in concrete)
        {
            WriteAbiStruct(text, structure);
        }

        text.Line("}");
        return text.ToString();
    }

    private static void WriteAbiStruct(SourceText text, CStruct structure)
    {
        string body = Indent + Indent;
        text.Line();
        text.Line($"{Indent}private static void Add_{structure.Name}(List<AbiEntry> entries)");
        text.Line($"{Indent}{{");
        text.Line($"{body}{structure.Name} value = default;");
        text.Line($"{body}byte* start = (byte*)&value;");
        text.Line($"{body}const string Name = \"{structure.Name}\";");
        text.Line($"{body}entries.Add(new AbiEntry(Name, null, 0, (uint)sizeof({structure.Name})));");
        foreach (CField field in structure.Fields)
        {
            string address = field.Type.IsArray ? $"value.{Name(field.Name)}" : $"&value.{Name(field.Name)}";
            string size = field.Type.IsArray
                ? $"{field.Type.ArrayLength} * sizeof({field.Type.CSharp})"
                : $"sizeof({field.Type.CSharp})";
            text.Line($"{body}entries.Add(new AbiEntry(");
            text.Line($"{body}{Indent}Name, \"{field.Name}\",");
            text.Line($"{body}{Indent}(uint)((byte*){address} - start), (uint)({size})));");
        }

        text.Line($"{Indent}}}");
    }

    private static string Name(string cName) => Keywords.Contains(cName) ? "@" + cName : cName;
}
