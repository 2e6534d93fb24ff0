// Tests of the denoise verb and its parts: the scene, noise and PSNR, features, and what denoising achieves.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text.RegularExpressions;
using FusedAttention.Cli.Denoising;
using FusedAttention.Cli.Imaging;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class DenoiseTests
{
    private ToolRun _tool = null!;

    [SetUp]
    public void MakeFolder() => _tool = new ToolRun();

    [TearDown]
    public void RemoveFolder() => _tool.Dispose();

    [Test]
    public void Scene_depends_on_its_seed_alone()
    {
        byte[] first = Scene.Draw(64, 48, 1).Pixels;
        Assert.That(Scene.Draw(64, 48, 1).Pixels, Is.EqualTo(first));
        Assert.That(Scene.Draw(64, 48, 2).Pixels, Is.Not.EqualTo(first));
    }

    [TestCase(5)]
    [TestCase(20)]
    public void Added_noise_has_its_deviation_and_is_found_by_the_estimate(double deviation)
    {
        Raster gray = Gray(200, 100, 3);
        Raster noisy = PictureNoise.Add(gray, deviation, 3);
        double psnr = PictureNoise.Psnr(noisy, gray);
        Assert.That(psnr, Is.EqualTo(20 * Math.Log10(255 / deviation)).Within(0.1));
        Assert.That(PictureNoise.Estimate(noisy), Is.EqualTo(deviation).Within(0.05 * deviation));
        Assert.That(PictureNoise.Psnr(gray, gray), Is.EqualTo(double.PositiveInfinity));
    }

    [Test]
    public void Alpha_is_neither_noisy_nor_compared()
    {
        Raster clear = Gray(8, 8, 4);
        Raster noisy = PictureNoise.Add(clear, 30, 3);
        for (int pixel = 0; pixel < 64; ++pixel)
        {
            Assert.That(noisy.Pixels[(4 * pixel) + 3], Is.EqualTo(clear.Pixels[3]));
        }

        Raster other = Gray(8, 8, 4);
        other.Pixels[3] = 0;
        Assert.That(PictureNoise.Psnr(other, clear), Is.EqualTo(double.PositiveInfinity));
    }

    [TestCase(1)]
    [TestCase(3)]
    public void Product_of_features_is_the_distance_of_patches_but_for_the_row(int channels)
    {
        Raster picture = PictureNoise.Add(Gray(7, 6, channels), 50, 9);
        PatchFeatures features = new(picture, 3, 1, 4);
        for (int i = 0; i < 28; i += 5)
        {
            for (int j = 0; j < 28; j += 3)
            {
                double difference = Product(features, i, j) - Product(features, i, 0);
                double expected = Distance(picture, 7 + i, 7) - Distance(picture, 7 + i, 7 + j);
                Assert.That(difference, Is.EqualTo(expected / 2).Within(1e-5));
            }
        }
    }

    [Test]
    public void Scene_becomes_better_and_the_report_says_how_much()
    {
        _tool.Run(
            "denoise", "--scene", _tool.At("out.png"), "--size", "96", "--compare", _tool.At("both.ppm"),
            "--device", "cpu");
        Assert.That((_tool.ExitCode, _tool.Remarks), Is.EqualTo((0, "")));
        Match psnr = Regex.Match(_tool.Results, @"PSNR (\d+\.\d\d) dB before, (\d+\.\d\d) dB after");
        double before = double.Parse(psnr.Groups[1].Value, CultureInfo.InvariantCulture);
        double after = double.Parse(psnr.Groups[2].Value, CultureInfo.InvariantCulture);
        Assert.That(before, Is.EqualTo(20.3).Within(0.3));
        Assert.That(after, Is.GreaterThan(before + 6));
        Assert.That(_tool.Results, Does.Contain("neighborhood attention: ").And.Contain("times as long"));
        Raster both = PictureFile.Read(_tool.At("both.ppm"));
        Assert.That(both.Width, Is.EqualTo(12 + (3 * (128 + 12))));
        Assert.That(PictureFile.Read(_tool.At("out.png")).Height, Is.EqualTo(96));
    }

    [Test]
    public void Picture_is_the_weighted_mean_of_its_definition()
    {
        Raster noisy = PictureNoise.Add(Scene.Draw(24, 20, 1), 20, 4);
        PictureFile.Write(_tool.At("in.ppm"), noisy);
        _tool.Run(
            "denoise", _tool.At("in.ppm"), _tool.At("out.ppm"), "--window", "7", "--patch", "3", "--strength", "2",
            "--device", "cpu");
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(_tool.Results, Does.Contain("estimated").And.Not.Contain("PSNR"));
        Raster found = PictureFile.Read(_tool.At("out.ppm"));
        double bandwidth = 2 * 0.9 * PictureNoise.Estimate(noisy) / 255;
        for (int pixel = 0; pixel < 24 * 20; pixel += 7)
        {
            Assert.That(found.Pixels[3 * pixel], Is.EqualTo(Mean(noisy, pixel, 7, bandwidth)).Within(0.51));
        }
    }

    [Test]
    public void A_terminal_shows_how_far_it_is()
    {
        _tool.IsInteractive = true;
        _tool.Run("denoise", "--scene", _tool.At("out.png"), "--size", "32", "--window", "5", "--device", "cpu");
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(_tool.Remarks, Does.Match("(?s)denoising, 0 of 32 rows done.*timing dense attention"));
    }

    [Test]
    public void Bands_of_a_large_picture_leave_no_seams()
    {
        Raster noisy = PictureNoise.Add(Scene.Draw(40, 50, 1), 20, 6);
        DenoiseSettings settings = new(3, 7, 18);
        byte[] whole = new NonLocalMeans(AttentionDevice.Cpu, settings).Denoise(noisy, static _ => { }).Pixels;
        DenoiseSettings inBands = settings with { BandPixels = 11 * 40 };
        List<int> rows = [];
        byte[] joined = new NonLocalMeans(AttentionDevice.Cpu, inBands).Denoise(noisy, rows.Add).Pixels;
        Assert.That(joined, Is.EqualTo(whole).Within(1));
        Assert.That(rows, Is.EqualTo(new[] { 0, 11, 22, 33, 44 }));
    }

    [Test]
    public void Window_larger_than_the_picture_is_all_of_it()
    {
        PictureFile.Write(_tool.At("in.pgm"), PictureNoise.Add(Gray(9, 4, 1), 10, 5));
        _tool.Run("denoise", _tool.At("in.pgm"), _tool.At("out.png"));
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(PictureFile.Read(_tool.At("out.png")).Channels, Is.EqualTo(1));
    }

    [TestCase("expected an odd number", "out.png", "--patch", "4")]
    [TestCase("must end in .png, .ppm or .pgm", "out.jpg")]
    [TestCase("must end in .png, .ppm or .pgm", "out.png", "--compare", "both.gif")]
    [TestCase("--noise is \"-1\"; expected a number in 0..255", "out.png", "--noise", "-1")]
    [TestCase("leave one out", "in.png", "out.png", "--scene")]
    [TestCase("does not exist", "none.png", "out.png")]
    public void Refusals_have_one_line(string reason, params string[] arguments)
    {
        _tool.Run(["denoise", .. arguments]);
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain(reason));
        Assert.That(File.Exists("out.png"), Is.False);
    }

    private static Raster Gray(int width, int height, int channels)
    {
        Raster picture = new(width, height, channels);
        picture.Pixels.AsSpan().Fill(128);
        return picture;
    }

    private static double Product(PatchFeatures features, int query, int key)
    {
        double sum = 0;
        for (int i = 0; i < features.HeadDim; ++i)
        {
            sum += features.Queries[(query * features.HeadDim) + i]
                * (double)features.Keys[(key * features.HeadDim) + i];
        }

        return sum;
    }

    // Squared distance of the 3 x 3 patches around two pixels, in 0..1 for each number; mirrored at the edges.
    private static double Distance(Raster picture, int first, int second)
    {
        double sum = 0;
        for (int dy = -1; dy <= 1; ++dy)
        {
            for (int dx = -1; dx <= 1; ++dx)
            {
                for (int channel = 0; channel < picture.Channels; ++channel)
                {
                    double difference = Sample(first) - Sample(second);
                    sum += difference * difference / (255 * 255);

                    double Sample(int pixel)
                    {
                        int y = Mirror((pixel / picture.Width) + dy, picture.Height);
                        int x = Mirror((pixel % picture.Width) + dx, picture.Width);
                        return picture.Row(y)[(x * picture.Channels) + channel];
                    }
                }
            }
        }

        return sum;
    }

    private static int Mirror(int at, int length) => at < 0 ? 0 : Math.Min(at, length - 1);

    // The red of one denoised pixel: windows of odd size are shifted at the edges.
    private static double Mean(Raster noisy, int pixel, int window, double bandwidth)
    {
        int left = Math.Clamp((pixel % noisy.Width) - (window / 2), 0, noisy.Width - window);
        int top = Math.Clamp((pixel / noisy.Width) - (window / 2), 0, noisy.Height - window);
        double sum = 0;
        double weights = 0;
        for (int y = top; y < top + window; ++y)
        {
            for (int x = left; x < left + window; ++x)
            {
                int other = (y * noisy.Width) + x;
                double weight = Math.Exp(-Distance(noisy, pixel, other) / (27 * bandwidth * bandwidth));
                sum += weight * noisy.Pixels[3 * other];
                weights += weight;
            }
        }

        return sum / weights;
    }
}
