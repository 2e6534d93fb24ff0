// Reads and writes binary PGM and PPM pictures, for the verbs that take or make a picture.
using System;
using System.Globalization;
using System.IO;
using System.Text;

namespace FusedAttention.Cli.Imaging;

/// <summary>Binary gray (P5) and RGB (P6) with 1 or 2 bytes a sample.</summary>
internal static class PpmFormat
{
    private const int MaxSample = 65535;
    private const byte Comment = (byte)'#';

    internal static bool IsPpm(ReadOnlySpan<byte> file) => file.StartsWith("P5"u8) || file.StartsWith("P6"u8);

    /// <exception cref="BadInputException">The bytes are no binary PGM or PPM picture.</exception>
    internal static Raster Read(ReadOnlySpan<byte> file, string source)
    {
        if (!IsPpm(file))
        {
            throw new BadInputException(
                $"{source} does not start with P5 or P6; expected a binary PGM or PPM picture");
        }

        int channels = file[1] == (byte)'6' ? 3 : 1;
        int at = 2;
        int width = ReadNumber(file, ref at, "width", (int)Raster.MaxPixels, source);
        int height = ReadNumber(file, ref at, "height", (int)Raster.MaxPixels, source);
        int largest = ReadNumber(file, ref at, "largest sample", MaxSample, source);
        if ((long)width * height > Raster.MaxPixels)
        {
            throw new BadInputException(
                $"{source} is {width} x {height}; at most {Raster.MaxPixels} pixels are allowed");
        }

        // One blank ends the header.
        ReadOnlySpan<byte> data = file[Math.Min(at + 1, file.Length)..];
        int sampleBytes = largest > byte.MaxValue ? 2 : 1;
        long needed = (long)width * height * channels * sampleBytes;
        if (data.Length < needed)
        {
            throw new BadInputException(
                $"{source} has {data.Length} bytes of pixels; {width} x {height} needs {needed}:" +
                " the file is cut short");
        }

        Raster picture = new(width, height, channels);
        for (int i = 0; i < picture.Pixels.Length; ++i)
        {
            int sample = sampleBytes == 1 ? data[i] : (data[2 * i] << 8) | data[(2 * i) + 1];
            picture.Pixels[i] = (byte)(((Math.Min(sample, largest) * 255) + (largest / 2)) / largest);
        }

        return picture;
    }

    /// <summary>Writes gray as PGM and RGB as PPM.</summary>
    /// <exception cref="BadInputException">The picture has alpha, which the format lacks.</exception>
    internal static void Write(Stream stream, Raster picture)
    {
        if (picture.Channels == 4)
        {
            throw new BadInputException("the picture has an alpha channel, which PPM cannot hold; write a .png");
        }

        string magic = picture.Channels == 1 ? "P5" : "P6";
        stream.Write(Encoding.ASCII.GetBytes($"{magic}\n{picture.Width} {picture.Height}\n255\n"));
        stream.Write(picture.Pixels);
    }

    private static int ReadNumber(ReadOnlySpan<byte> file, ref int at, string what, int most, string source)
    {
        while (at < file.Length && (IsBlank(file[at]) || file[at] == Comment))
        {
            bool isComment = file[at] == Comment;
            while (isComment && at < file.Length && file[at] != (byte)'\n')
            {
                ++at;
            }

            at += at < file.Length ? 1 : 0;
        }

        int begin = at;
        while (at < file.Length && char.IsAsciiDigit((char)file[at]))
        {
            ++at;
        }

        string text = Encoding.ASCII.GetString(file[begin..Math.Min(at, begin + 20)]);
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number)
            && number >= 1 && number <= most
            ? number
            : throw new BadInputException(
                $"{source}: the header's {what} is {StrictJson.Quote(text)}; expected 1..{most}");
    }

    private static bool IsBlank(byte c) => c is (byte)' ' or (byte)'\t' or (byte)'\n' or (byte)'\r';
}
