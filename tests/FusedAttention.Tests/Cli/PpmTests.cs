// Tests of the binary PGM and PPM codec: what it reads, what it refuses, and that it reads what it writes.
using System.IO;
using System.Text;
using FusedAttention.Cli;
using FusedAttention.Cli.Imaging;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class PpmTests
{
    [TestCase(1)]
    [TestCase(3)]
    public void What_is_written_is_read_again(int channels)
    {
        Raster picture = new(5, 3, channels);
        for (int i = 0; i < picture.Pixels.Length; ++i)
        {
            picture.Pixels[i] = (byte)(i * 37);
        }

        using MemoryStream stream = new();
        PpmFormat.Write(stream, picture);
        Raster found = PpmFormat.Read(stream.ToArray(), "p.ppm");
        Assert.That((found.Width, found.Height, found.Channels), Is.EqualTo((5, 3, channels)));
        Assert.That(found.Pixels, Is.EqualTo(picture.Pixels));
    }

    [Test]
    public void Comments_and_other_ranges_are_understood()
    {
        Raster small = Read("P5 # gray\n#\n 2\t1\n4\n", 2, 4);
        Assert.That(small.Pixels, Is.EqualTo(new byte[] { 128, 255 }));
        Raster wide = Read("P6\n1 1\n65535\n", 0, 0, 0x80, 0, 0xFF, 0xFF);
        Assert.That(wide.Pixels, Is.EqualTo(new byte[] { 0, 128, 255 }));
    }

    [TestCase("P3\n1 1\n255\n", "does not start with P5 or P6")]
    [TestCase("P5\n0 1\n255\n", "width is \"0\"; expected 1..")]
    [TestCase("P5\n1 x\n255\n", "height is \"\"")]
    [TestCase("P5\n1 1\n65536\n", "largest sample is \"65536\"; expected 1..65535")]
    [TestCase("P5\n99999 99999\n255\n", "pixels are allowed")]
    [TestCase("P5\n2 2\n255\nabc", "cut short")]
    [TestCase("P5\n2 2", "largest sample is \"\"")]
    [TestCase("P5 # no end", "width is \"\"")]
    [TestCase("P5", "width is \"\"")]
    public void Faulty_files_are_refused_with_their_reason(string file, string reason)
    {
        Assert.That(() => PpmFormat.Read(Encoding.ASCII.GetBytes(file), "p.ppm"),
            Throws.TypeOf<BadInputException>().With.Message.Contains(reason));
    }

    [Test]
    public void Alpha_has_no_place_in_the_format()
    {
        using MemoryStream stream = new();
        Assert.That(() => PpmFormat.Write(stream, new Raster(1, 1, 4)),
            Throws.TypeOf<BadInputException>().With.Message.Contains("alpha"));
    }

    private static Raster Read(string header, params byte[] pixels) =>
        PpmFormat.Read([.. Encoding.ASCII.GetBytes(header), .. pixels], "p.ppm");
}
