// Opens the files a user names, for all readers of the tool.
using System;
using System.IO;

namespace FusedAttention.Cli;

internal static class InputFile
{
    /// <exception cref="BadInputException">The path is missing, a folder, or not readable.</exception>
    internal static FileStream Open(string path)
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0,
                FileOptions.SequentialScan);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException
                                          or NotSupportedException)
        {
            string reason = error switch
            {
                FileNotFoundException or DirectoryNotFoundException => "it does not exist",
                _ when Directory.Exists(path) => "it is a folder; expected a file",
                _ => error.Message,
            };
            throw new BadInputException($"cannot read {StrictJson.Quote(path)}: {reason}", error);
        }
    }

    /// <summary>Reads a small file whole.</summary>
    /// <param name="path">The file the user named.</param>
    /// <param name="maxBytes">The largest size that makes sense for it.</param>
    /// <exception cref="BadInputException">The file cannot be read or is larger.</exception>
    internal static byte[] ReadAll(string path, int maxBytes)
    {
        using FileStream stream = Open(path);
        if (stream.Length > maxBytes)
        {
            throw new BadInputException($"{path} has {stream.Length} bytes; at most {maxBytes} are allowed");
        }

        byte[] bytes = new byte[(int)stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }
}
