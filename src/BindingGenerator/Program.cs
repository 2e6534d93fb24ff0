// Entry point: writes src/FusedAttention/Interop/*.Generated.cs from the C header, or with --check compares them.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace FusedAttention.BindingGenerator;

/// <summary>The command line of the generator.</summary>
internal static class Program
{
    private const string Usage = """
        BindingGenerator [--check] [--clang PATH] [--header FILE] [--output FOLDER]
          Reads the C header, with its parts beside it, through clang and writes the C# bindings.
          --check    write nothing; exit 1 when a file in the folder differs from what would be written
          --clang    the clang to run (default: the first of clang-19, clang-14, others, on the PATH)
          --header   default: native/include/fused_attention/fused_attention.h of this repository
          --output   default: src/FusedAttention/Interop of this repository
        Exit: 0 done, 1 files differ, 2 wrong arguments, no clang, or a header with something that has no rule.
        """;

    private static int Main(string[] arguments)
    {
        try
        {
            bool check = false;
            string? clangPath = null, header = null, output = null;
            for (int i = 0; i < arguments.Length; ++i)
            {
                switch (arguments[i])
                {
                    case "--check":
                        check = true;
                        break;
                    case "--clang" when i + 1 < arguments.Length:
                        clangPath = arguments[++i];
                        break;
                    case "--header" when i + 1 < arguments.Length:
                        header = arguments[++i];
                        break;
                    case "--output" when i + 1 < arguments.Length:
                        output = arguments[++i];
                        break;
                    case "--help":
                        Console.WriteLine(Usage);
                        return 0;
                    default:
                        throw new HeaderException(
                            $"argument '{arguments[i]}' is not known or lacks its value\n{Usage}");
                }
            }

            Clang clang = FindClang(clangPath);
            header ??= Path.Combine(FindRoot(), "native", "include", "fused_attention", "fused_attention.h");
            output ??= Path.Combine(FindRoot(), "src", "FusedAttention", "Interop");
            return Run(header, output, clang, check);
        }
        catch (HeaderException error)
        {
            Console.Error.WriteLine(error.Message);
            return 2;
        }
    }

    private static int Run(string header, string output, Clang clang, bool check)
    {
        IReadOnlyList<KeyValuePair<string, string>> files = BindingWriter.Write(HeaderReader.Read(header, clang));
        List<KeyValuePair<string, string>> changed = files
            .Where(f => !File.Exists(Path.Combine(output, f.Key))
                || File.ReadAllText(Path.Combine(output, f.Key)) != f.Value)
            .ToList();
        if (check)
        {
            changed.ForEach(f => Console.Error.WriteLine(
                $"{Path.Combine(output, f.Key)} differs from the header: run src/BindingGenerator"));
            return changed.Count == 0 ? 0 : 1;
        }

        Directory.CreateDirectory(output);
        changed.ForEach(f => File.WriteAllText(Path.Combine(output, f.Key), f.Value));
        Console.WriteLine($"{clang.Executable}: {files.Count} files, {changed.Count} changed");
        return 0;
    }

    private static Clang FindClang(string? path)
    {
        if (path is null)
        {
            return Clang.Find() ?? throw new HeaderException(
                "no clang on the PATH; install clang or name one by --clang");
        }

        var clang = new Clang(path);
        return clang.IsPresent() ? clang : throw new HeaderException($"'{path}' cannot be run as clang");
    }

    // The repository is the nearest folder above the working directory, or above this program, with the solution in it.
    private static string FindRoot()
    {
        foreach (string start in (string[])[Directory.GetCurrentDirectory(), AppContext.BaseDirectory])
        {
            for (DirectoryInfo? folder = new(start); folder is not null; folder = folder.Parent)
            {
                if (File.Exists(Path.Combine(folder.FullName, "Interop.sln")))
                {
                    return folder.FullName;
                }
            }
        }

        throw new HeaderException("Interop.sln is in no folder above; name the files by --header and --output");
    }
}
