// Reads and writes pictures of any kind the tool knows; used by denoise.
using System;

namespace FusedAttention.Cli.Imaging;

internal static class PictureFile
{
    private const int MaxFileBytes = 1 << 30;

    /// <summary>Reads a PNG, PPM or PGM picture; the file's first bytes say which.</summary>
    /// <exception cref="BadInputException">The file cannot be read or is no such picture.</exception>
    internal static Raster Read(string path)
    {
        byte[] file = InputFile.ReadAll(path, MaxFileBytes);
        return PpmFormat.IsPpm(file) ? PpmFormat.Read(file, path) : PngReader.Read(file, path);
    }

    /// <summary>Writes the kind that the file's name asks for.</summary>
    /// <exception cref="BadInputException">The name ends otherwise, or the path cannot be written.</exception>
    internal static void Write(string path, Raster picture)
    {
        if (IsPpmName(path))
        {
            OutputFile.Write(path, stream => PpmFormat.Write(stream, picture));
        }
        else
        {
            PngWriter.WriteFile(path, picture);
        }
    }

    /// <summary>Refuses a name that no kind of picture has, before any work is done.</summary>
    /// <exception cref="BadInputException">The name ends in neither .png nor .ppm nor .pgm.</exception>
    internal static void CheckName(string path)
    {
        if (!IsPpmName(path) && !path.EndsWith(".png", StringComparison.OrdinalIgnoreCase))
        {
            throw new BadInputException(
                $"cannot write {StrictJson.Quote(path)}: the name must end in .png, .ppm or .pgm");
        }
    }

    private static bool IsPpmName(string path) =>
        path.EndsWith(".ppm", StringComparison.OrdinalIgnoreCase)
        || path.EndsWith(".pgm", StringComparison.OrdinalIgnoreCase);
}
