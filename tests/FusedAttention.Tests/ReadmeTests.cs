// The example of the README compiles as it stands, with the language of .NET 8 and with the newest one, and runs.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Text.RegularExpressions;
using FusedAttention.Tests.Support;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed partial class ReadmeTests
{
    private const string ImplicitUsings = """
        global using System;
        global using System.Collections.Generic;
        global using System.IO;
        global using System.Linq;
        global using System.Net.Http;
        global using System.Threading;
        global using System.Threading.Tasks;
        """;

    public static IEnumerable<string> Blocks() =>
        BlockPattern().Matches(File.ReadAllText(Path.Combine(Repository.Root, "README.md"))).Select(m =>
            m.Groups[1].Value);

    [Test]
    public void There_is_an_example() =>
        Assert.That(Blocks().First(), Does.Contain("DenseAttention.Forward<float>("));

    [Test]
    public void Every_example_compiles_and_runs([Values(LanguageVersion.CSharp12,
        LanguageVersion.Latest)] LanguageVersion version)
    {
        foreach (string block in Blocks())
        {
            Run(block, version);
        }
    }

    /// <summary>Compiles an example and runs it; fails when either does.</summary>
    internal static void Run(string block, LanguageVersion version)
    {
        Assembly program = Compile(block, version);
        object?[] arguments = program.EntryPoint!.GetParameters().Length > 0 ? [Array.Empty<string>()] : [];
        Assert.That(() => program.EntryPoint.Invoke(null, arguments), Throws.Nothing, block);
    }

    private static Assembly Compile(string block, LanguageVersion version)
    {
        var options = new CSharpParseOptions(version);
        string trusted = (string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!;
        var compilation = CSharpCompilation.Create(
            $"Readme{Guid.NewGuid():n}",
            [CSharpSyntaxTree.ParseText(block, options), CSharpSyntaxTree.ParseText(ImplicitUsings, options)],
            trusted.Split(Path.PathSeparator).Select(path => MetadataReference.CreateFromFile(path)),
            new CSharpCompilationOptions(OutputKind.ConsoleApplication,
                nullableContextOptions: NullableContextOptions.Enable));
        using var image = new MemoryStream();
        IEnumerable<Diagnostic> errors = compilation.Emit(image).Diagnostics
            .Where(d => d.Severity == DiagnosticSeverity.Error);
        Assert.That(errors, Is.Empty, block);
        return Assembly.Load(image.ToArray());
    }

    [GeneratedRegex("```csharp\r?\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex BlockPattern();
}
