// Chooses and makes the folder that demo and bench write into.
using System;
using System.IO;

namespace FusedAttention.Cli;

internal static class OutputFolder
{
    /// <param name="given">What the user asked for, or null.</param>
    /// <param name="verb">Names the default folder.</param>
    /// <returns>The folder, which exists.</returns>
    /// <exception cref="BadInputException">It cannot be made.</exception>
    internal static string Make(string? given, string verb)
    {
        string path = given ?? (File.Exists("Interop.sln") ? Path.Combine(".build", verb) : $"fattn-{verb}");
        try
        {
            Directory.CreateDirectory(path);
            return path;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BadInputException($"cannot make the folder {StrictJson.Quote(path)}: {error.Message}", error);
        }
    }
}
