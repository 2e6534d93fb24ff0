// The generator: what it writes for a small header, that it repeats itself, and what it refuses.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using FusedAttention.BindingGenerator;
using FusedAttention.BindingGenerator.Model;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests.BindingGenerator;

[TestFixture]
internal sealed class HeaderReaderTests
{
    private const string Start = "#include <stdint.h>\n";
    private static readonly string[] KnownCompilers = ["clang-14", "clang-19"];
    private string _folder = "";
    private string _path = "";

    [SetUp]
    public void MakeFolder()
    {
        _folder = Directory.CreateTempSubdirectory("fattn_").FullName;
        _path = Path.Combine(_folder, "whole.h");
    }

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void A_clang_is_here_to_test_with() =>
        Assert.That(Clang.Find(), Is.Not.Null, "install one of: " + string.Join(", ", KnownCompilers));

    [TestCaseSource(nameof(KnownCompilers))]
    public void Committed_files_are_what_every_clang_gives(string compiler)
    {
        Assume.That(new Clang(compiler).IsPresent(), $"{compiler} is not on this machine");
        Header header = HeaderReader.Read(Repository.Header, new Clang(compiler));
        foreach (KeyValuePair<string, string> file in BindingWriter.Write(header))
        {
            string committed = File.ReadAllText(Path.Combine(Repository.Interop, file.Key));
            Assert.That(file.Value, Is.EqualTo(committed), file.Key);
        }
    }

    [Test]
    public void A_small_header_becomes_these_bindings()
    {
        Dictionary<string, string> files = Generate("""
            #define FATTN_LIMIT 7
            /** A kind. */
            typedef uint32_t fattn_kind;
            enum fattn_kind_values {
                /** The first. */
                FATTN_KIND_A = 0,
                /** The second < the third. */
                FATTN_KIND_B = 4
            };
            /** Bits. */
            enum fattn_thing_flags {
                /** One. */
                FATTN_THING_ONE = 1
            };
            /** A handle. */
            typedef struct fattn_handle fattn_handle;
            /** A thing. */
            typedef struct fattn_thing {
                /** Its kind. */
                fattn_kind kind;
                /** A keyword. */
                uint32_t in;
                /** Numbers. */
                int64_t shape[4];
                /** Text. */
                char name[16];
                /** A pointer to pointers. */
                const float* const* parts;
            } fattn_thing;
            /** Does it. */
            fattn_kind fattn_do(fattn_handle* handle, const fattn_thing* thing, fattn_handle** out);
            /** Ends it. */
            void fattn_end(void);
            """);
        string structs = files["Structs.Generated.cs"], functions = files["NativeMethods.Generated.cs"];
        Assert.That(structs, Does.Contain("internal readonly struct fattn_handle;"));
        Assert.That(structs, Does.Contain("public fattn_kind kind;"));
        Assert.That(structs, Does.Contain("public uint @in;"));
        Assert.That(structs, Does.Contain("public fixed long shape[4];"));
        Assert.That(structs, Does.Contain("public fixed byte name[16];"));
        Assert.That(structs, Does.Contain("public float** parts;"));
        Assert.That(functions, Does.Contain(
            "internal static partial fattn_kind fattn_do("
            + "fattn_handle* handle, fattn_thing* thing, fattn_handle** @out);"));
        Assert.That(functions, Does.Contain("internal static partial void fattn_end();"));
        Assert.That(functions, Does.Contain("internal const uint FATTN_LIMIT = 7;"));
        Assert.That(files["Enums.Generated.cs"], Does.Contain("internal enum fattn_kind : uint"));
        Assert.That(files["Enums.Generated.cs"], Does.Contain("/// <summary>The second &lt; the third.</summary>"));
        Assert.That(files["Enums.Generated.cs"], Does.Contain("[Flags]"));
        Assert.That(files["AbiTable.Generated.cs"], Does.Contain("(uint)((byte*)&value.@in - start)"));
    }

    [TestCaseSource(nameof(KnownCompilers))]
    public void Parts_beside_the_header_are_read_in_the_order_of_their_includes(string compiler)
    {
        Assume.That(new Clang(compiler).IsPresent(), $"{compiler} is not on this machine");
        string folder = Path.GetFileName(_folder);
        WritePart("b.h", "#define FATTN_B\n/** B. */ FATTN_B void fattn_b(int32_t x);");
        WritePart("a.h", $"#include \"{folder}/b.h\"\n/** A. */ FATTN_B void fattn_a(void);");
        File.WriteAllText(
            _path,
            $"#include \"{folder}/b.h\"\n#include <stdlib.h>\n#include \"{folder}/a.h\"\n"
            + "/** Whole. */ FATTN_B void fattn_whole(void);\n");
        Header header = HeaderReader.Read(_path, new Clang(compiler));
        Assert.That(
            header.Functions.Select(f => (f.Name, f.Documentation)),
            Is.EqualTo(new[] { ("fattn_b", "B."), ("fattn_a", "A."), ("fattn_whole", "Whole.") }));
    }

    [TestCase("/** U. */ typedef union fattn_u { int32_t a; } fattn_u;", "only structs")]
    [TestCase("/** S. */ typedef struct fattn_s { /** A. */ uint32_t a : 3; } fattn_s;", "bit-field")]
    [TestCase("/** S. */ typedef struct fattn_s { /** A. */ unsigned a; } fattn_s;", "has type 'unsigned int'")]
    [TestCase("/** S. */ typedef struct fattn_s { /** A. */ long a; } fattn_s;", "has type 'long'")]
    [TestCase("/** S. */ typedef struct fattn_s { /** A. */ void* a[2]; } fattn_s;", "fixed buffers")]
    [TestCase(
        "/** S. */ typedef struct fattn_s { /** A. */ struct { int32_t b; } a; } fattn_s;", "contains a RecordDecl")]
    [TestCase("/** S. */ typedef struct fattn_s { uint32_t a; } fattn_s;", "no comment on: fattn_s.a")]
    [TestCase("/** F. */ void fattn_f(int32_t, ...);", "variable number")]
    [TestCase("/** F. */ void fattn_f(int32_t);", "has no name")]
    [TestCase("/** F. */ void other(void);", "every name of the header starts with fattn_")]
    [TestCase("void fattn_f(void);", "no comment on: fattn_f")]
    [TestCase("/** V. */ extern int32_t fattn_v;", "VarDecl 'fattn_v' has no rule")]
    [TestCase("/** E. */ enum fattn_e { /** A. */ FATTN_A = 0 };", "must end with")]
    [TestCase("/** E. */ enum fattn_e_values { /** A. */ FATTN_A = 0 };", "has no 'typedef uint32_t fattn_e;'")]
    [TestCase("/** E. */ typedef uint32_t fattn_e;", "has no 'enum fattn_e_values'")]
    [TestCase("/** E. */ enum fattn_e_flags { /** A. */ FATTN_A = 3 };", "power of two")]
    [TestCase("/** E. */ enum fattn_e_flags { /** A. */ FATTN_A };", "explicit value")]
    [TestCase("/** T. */ typedef int64_t fattn_t;", "allowed are uint32_t")]
    [TestCase("#define FATTN_NAME \"x\"", "only non-negative integers")]
    [TestCase("/** F: \\param x y. */ void fattn_f(int32_t x);", "plain sentences")]
    [TestCase("int32_t fattn_f(", "ended with 1")]
    public void What_has_no_rule_is_refused(string text, string reason) =>
        Assert.That(
            () => Generate(text), Throws.TypeOf<HeaderException>().With.Message.Contains(reason));

    [Test]
    public void The_hash_does_not_depend_on_line_ends()
    {
        File.WriteAllText(_path, "a\nb\n");
        string unix = HeaderReader.HashOf(_path);
        File.WriteAllText(_path, "a\r\nb\r\n");
        Assert.That(HeaderReader.HashOf(_path), Is.EqualTo(unix));
    }

    [Test]
    public void The_hash_depends_on_every_part()
    {
        File.WriteAllText(_path, "whole\n");
        string alone = HeaderReader.HashOf(_path);
        WritePart("part.h", "one");
        string one = HeaderReader.HashOf(_path);
        WritePart("part.h", "two");
        Assert.That(new[] { alone, one, HeaderReader.HashOf(_path) }, Is.Unique);
    }

    private void WritePart(string name, string text)
    {
        string guard = name.Replace('.', '_');
        File.WriteAllText(
            Path.Combine(_folder, name), $"#ifndef {guard}\n#define {guard}\n{Start}{text}\n#endif\n");
    }

    private Dictionary<string, string> Generate(string text)
    {
        File.WriteAllText(_path, Start + text + "\n");
        Clang clang = Clang.Find() ?? throw new InvalidOperationException("There is no clang.");
        return BindingWriter.Write(HeaderReader.Read(_path, clang)).ToDictionary(f => f.Key, f => f.Value);
    }
}
