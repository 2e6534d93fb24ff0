// Removes noise from a picture by 2-D neighborhood attention over patches; used by denoise.
using System;
using System.Diagnostics;
using FusedAttention.Cli.Imaging;

namespace FusedAttention.Cli.Denoising;

/// <summary>
/// Buades, Coll and Morel, A non-local algorithm for image denoising, 2005: each pixel becomes the mean of the pixels
/// around it, weighed by how much their patches are alike.
/// </summary>
/// <param name="device">Where attention runs.</param>
/// <param name="settings">What counts as alike, and where to look.</param>
internal sealed class NonLocalMeans(AttentionDevice device, DenoiseSettings settings)
{
    // Dense attention costs the same for each query and each key: some are timed, the rest is counted.
    private const long DenseQueries = 256;

    /// <summary>Seconds of all attention runs so far.</summary>
    internal double AttentionSeconds { get; private set; }

    /// <summary>Floating-point operations that the windows ask for, of all runs so far.</summary>
    internal double Flops { get; private set; }

    /// <summary>The denoised picture; alpha stays as it was.</summary>
    /// <param name="noisy">The picture.</param>
    /// <param name="progress">Is told how many rows are done.</param>
    internal Raster Denoise(Raster noisy, Action<int> progress)
    {
        Raster result = new(noisy.Width, noisy.Height, noisy.Channels);
        noisy.Pixels.CopyTo(result.Pixels, 0);
        int halo = settings.Window;
        int step = (int)Math.Max(settings.Window, settings.BandPixels / noisy.Width);
        for (int first = 0; first < noisy.Height; first += step)
        {
            // A window inside the picture lies inside the band and its halo, one at an edge is shifted alike in both.
            progress(first);
            int end = Math.Min(first + step, noisy.Height);
            int above = Math.Max(first - halo, 0);
            int below = Math.Min(end + halo, noisy.Height);
            float[] means = RunBand(noisy, above, below - above);
            Store(means, result, first, end, above);
        }

        return result;
    }

    /// <summary>Seconds that dense attention over all pixels would take, from a run over a part of them.</summary>
    /// <param name="noisy">The picture.</param>
    /// <param name="queries">How many queries were timed.</param>
    /// <param name="keys">How many keys they saw.</param>
    internal double EstimateDenseSeconds(Raster noisy, out long queries, out long keys)
    {
        int rows = (int)Math.Clamp(settings.BandPixels / noisy.Width, 1, noisy.Height);
        PatchFeatures features = new(noisy, settings.Patch, 0, rows);
        keys = (long)noisy.Width * rows;
        queries = Math.Min(DenseQueries, keys);
        AttentionShape shape = new(1, 1, queries, features.HeadDim)
        {
            KeyLength = keys,
            ValueHeadDim = features.ValueDim,
        };
        using DenseAttentionPlan<float> plan = new(shape, new DenseOptions { Scale = Scale(noisy) }, device);
        float[] output = new float[queries * features.ValueDim];
        ReadOnlySpan<float> first = features.Queries.AsSpan(0, (int)(queries * features.HeadDim));
        plan.Forward(first, features.Keys, features.Values, output);
        long start = Stopwatch.GetTimestamp();
        plan.Forward(first, features.Keys, features.Values, output);
        double pixels = (double)noisy.Width * noisy.Height;
        return Stopwatch.GetElapsedTime(start).TotalSeconds * (pixels / queries) * (pixels / keys);
    }

    private float[] RunBand(Raster noisy, int firstRow, int numRows)
    {
        PatchFeatures features = new(noisy, settings.Patch, firstRow, numRows);
        NeighborhoodOptions options = new(Axis(numRows), Axis(noisy.Width)) { Scale = Scale(noisy) };
        AttentionShape shape = new(1, 1, options.Tokens, features.HeadDim) { ValueHeadDim = features.ValueDim };
        using NeighborhoodAttentionPlan<float> plan = new(shape, options, device);
        float[] means = new float[options.Tokens * features.ValueDim];
        long start = Stopwatch.GetTimestamp();
        plan.Forward(features.Queries, features.Keys, features.Values, means);
        AttentionSeconds += Stopwatch.GetElapsedTime(start).TotalSeconds;
        Flops += 2 * plan.GetScheduleStats().NeededPairs * (features.HeadDim + features.ValueDim);
        return means;
    }

    private NeighborhoodAxis Axis(int extent) => new(extent, Math.Min(settings.Window, extent));

    // The exponent is -|f_i - f_j|^2 / (n h^2) for patches of n numbers: q.k times 2 / (n h^2), see PatchFeatures.
    private float Scale(Raster noisy)
    {
        double h = settings.Bandwidth / 255;
        return (float)(2 / (PatchFeatures.NumFeatures(noisy, settings.Patch) * h * h));
    }

    private static void Store(ReadOnlySpan<float> means, Raster result, int first, int end, int above)
    {
        int colors = PatchFeatures.NumColors(result);
        for (int y = first; y < end; ++y)
        {
            Span<byte> row = result.Row(y);
            ReadOnlySpan<float> from = means.Slice((y - above) * result.Width * colors, result.Width * colors);
            for (int x = 0; x < result.Width; ++x)
            {
                for (int color = 0; color < colors; ++color)
                {
                    float level = 255 * from[(x * colors) + color];
                    row[(x * result.Channels) + color] = (byte)Math.Clamp(MathF.Round(level), 0, 255);
                }
            }
        }
    }
}

/// <param name="Patch">Pixels along a side of the patches that are compared, odd.</param>
/// <param name="Window">Pixels along a side of the window that is searched.</param>
/// <param name="Bandwidth">
/// h in levels of 0..255: patches that differ by it in the root mean square weigh 1 / e of equal ones.
/// </param>
internal sealed record DenoiseSettings(int Patch, int Window, double Bandwidth)
{
    /// <summary>
    /// Pictures are worked on in bands of rows of about so many pixels, so that not all patches of a large one are in
    /// memory at once.
    /// </summary>
    internal long BandPixels { get; init; } = 1 << 19;
}
