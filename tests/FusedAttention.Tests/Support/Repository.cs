// Finds files of the source tree. Used by tests that compare the build with its sources.
using System;
using System.IO;

namespace FusedAttention.Tests.Support;

internal static class Repository
{
    public static string Root { get; } = Find();

    public static string Header => Path.Combine(Root, "native", "include", "fused_attention", "fused_attention.h");

    public static string Interop => Path.Combine(Root, "src", "FusedAttention", "Interop");

    private static string Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Interop.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException($"Interop.sln is in no folder above {AppContext.BaseDirectory}.");
    }
}
