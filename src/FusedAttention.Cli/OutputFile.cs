// Writes result files whole or not at all: into a temporary file beside the target, then renamed over it.
using System;
using System.IO;

namespace FusedAttention.Cli;

internal static class OutputFile
{
    /// <param name="path">The file the user named; replaced if it exists.</param>
    /// <param name="write">Fills the stream; when it throws, no file is left behind.</param>
    /// <exception cref="BadInputException">The path cannot be written.</exception>
    internal static void Write(string path, Action<Stream> write)
    {
        (FileStream stream, string temporary) = OpenBeside(path);
        try
        {
            using (stream)
            {
                write(stream);
                stream.Flush();
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>The same for text, UTF-8 without a byte-order mark.</summary>
    /// <exception cref="BadInputException">The path cannot be written.</exception>
    internal static void WriteText(string path, Action<TextWriter> write)
    {
        Write(path, stream =>
        {
            using StreamWriter text = new(stream, leaveOpen: true);
            text.NewLine = "\n";
            write(text);
        });
    }

    private static (FileStream Stream, string Path) OpenBeside(string path)
    {
        try
        {
            string full = Path.GetFullPath(path);
            if (Directory.Exists(full))
            {
                throw new BadInputException($"cannot write {StrictJson.Quote(path)}: it is a folder; expected a file");
            }

            string temporary = $"{full}.{Environment.ProcessId}-{Guid.NewGuid():N}.tmp";
            FileStream stream = new(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16);
            return (stream, temporary);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException
                                          or NotSupportedException)
        {
            string reason = error is DirectoryNotFoundException ? "its folder does not exist" : error.Message;
            throw new BadInputException($"cannot write {StrictJson.Quote(path)}: {reason}", error);
        }
    }
}
