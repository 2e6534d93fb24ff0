// Adds noise to pictures, estimates how much one has, and measures how far two pictures are apart; used by denoise.
using System;
using FusedAttention.Cli.Imaging;
using FusedAttention.Cli.Measuring;

namespace FusedAttention.Cli.Denoising;

internal static class PictureNoise
{
    /// <summary>Adds normal noise to all channels but alpha, and rounds to bytes as a camera would.</summary>
    /// <param name="picture">Left as it is.</param>
    /// <param name="deviation">Standard deviation, in levels of 0..255.</param>
    /// <param name="seed">Equal seeds give equal noise.</param>
    internal static Raster Add(Raster picture, double deviation, int seed)
    {
        float[] noise = NormalNumbers.Draw(picture.Pixels.Length, seed);
        Raster noisy = new(picture.Width, picture.Height, picture.Channels);
        for (int i = 0; i < noise.Length; ++i)
        {
            bool isAlpha = picture.Channels == 4 && i % 4 == 3;
            double level = picture.Pixels[i] + (isAlpha ? 0 : deviation * noise[i]);
            noisy.Pixels[i] = (byte)Math.Clamp(Math.Round(level), 0, 255);
        }

        return noisy;
    }

    /// <summary>The noise's standard deviation in levels of 0..255, by a filter blind to straight edges.</summary>
    /// <remarks>Immerkaer, Fast noise variance estimation, 1996. Fine texture counts as noise.</remarks>
    internal static double Estimate(Raster picture)
    {
        int colors = Math.Min(picture.Channels, 3);
        double sum = 0;
        for (int y = 1; y < picture.Height - 1; ++y)
        {
            for (int x = 1; x < picture.Width - 1; ++x)
            {
                for (int color = 0; color < colors; ++color)
                {
                    int center = (((y * picture.Width) + x) * picture.Channels) + color;
                    int above = center - (picture.Width * picture.Channels);
                    int below = center + (picture.Width * picture.Channels);
                    sum += Math.Abs(Across(above, 1, -2) + Across(center, -2, 4) + Across(below, 1, -2));
                }
            }
        }

        double samples = (double)colors * Math.Max(1, picture.Width - 2) * Math.Max(1, picture.Height - 2);
        return Math.Sqrt(Math.PI / 2) * sum / (6 * samples);

        int Across(int at, int outer, int inner)
        {
            int left = picture.Pixels[at - picture.Channels];
            int right = picture.Pixels[at + picture.Channels];
            return (outer * (left + right)) + (inner * picture.Pixels[at]);
        }
    }

    /// <summary>Peak signal-to-noise ratio of the colours in dB; infinite for equal pictures.</summary>
    internal static double Psnr(Raster picture, Raster truth)
    {
        double sum = 0;
        long samples = 0;
        for (int i = 0; i < picture.Pixels.Length; ++i)
        {
            if (picture.Channels != 4 || i % 4 != 3)
            {
                double difference = picture.Pixels[i] - truth.Pixels[i];
                sum += difference * difference;
                ++samples;
            }
        }

        return 10 * Math.Log10(255.0 * 255.0 * samples / sum);
    }
}
