// Runs clang on the header: once for the syntax tree, once for the macros. Called by HeaderReader.
using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.Diagnostics;
using System.IO;
using System.Text.Json;
using System.Threading.Tasks;

namespace FusedAttention.BindingGenerator;

/// <summary>One clang executable.</summary>
internal sealed class Clang(string executable)
{
    private static readonly string[] Candidates =
        ["clang-19", "clang-14", "clang-18", "clang-17", "clang-16", "clang-15", "clang"];

    /// <summary>The name or path of the executable.</summary>
    public string Executable => executable;

    /// <summary>The first clang on this machine, or null.</summary>
    public static Clang? Find()
    {
        foreach (string candidate in Candidates)
        {
            var clang = new Clang(candidate);
            if (clang.IsPresent())
            {
                return clang;
            }
        }

        return null;
    }

    /// <summary>True when the executable can be started.</summary>
    public bool IsPresent()
    {
        try
        {
            Run(["--version"]);
            return true;
        }
        catch (Exception error) when (error is Win32Exception or HeaderException)
        {
            return false;
        }
    }

    /// <summary>The syntax tree of the header with every comment attached to what it describes.</summary>
    public JsonDocument DumpTree(string headerPath) => JsonDocument.Parse(
        Run([.. Language(headerPath), "-Xclang", "-ast-dump=json", "-fsyntax-only", "-fparse-all-comments", headerPath]),
        new JsonDocumentOptions { MaxDepth = 512 });

    /// <summary>The definitions of all macros after the header, one a line.</summary>
    public string DumpMacros(string headerPath) => Run([.. Language(headerPath), "-dM", "-E", headerPath]);

    // The parts of a header include each other as "folder/part.h".
    private static string[] Language(string headerPath) =>
        ["-x", "c", "-std=c11", "-I", Path.GetFullPath(Path.Combine(headerPath, "..", ".."))];

    private string Run(IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo(executable)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        using Process process = Process.Start(start)
            ?? throw new HeaderException($"{executable} did not start");
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? output
            : throw new HeaderException($"{executable} ended with {process.ExitCode}: {errors.Result.Trim()}");
    }
}
