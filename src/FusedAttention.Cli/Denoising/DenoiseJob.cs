// Carries out one denoise request: gets the picture, denoises it, writes it, says what it took; called by the verb.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using FusedAttention.Cli.Imaging;

namespace FusedAttention.Cli.Denoising;

internal static class DenoiseJob
{
    private const uint SceneSeed = 1;
    private const int NoiseSeed = 7;

    // Bandwidth over the noise's deviation that gives the generated scene its best PSNR.
    private const double BandwidthOfNoise = 0.9;

    // A picture without noise still needs a bandwidth.
    private const double LeastNoise = 1;

    /// <exception cref="BadInputException">A picture cannot be read or written.</exception>
    internal static void Run(DenoiseRequest request, AttentionDevice device, ToolOutput output)
    {
        TextWriter text = output.Results;
        Raster original = request.Input is { } path
            ? PictureFile.Read(path)
            : Scene.Draw(request.SceneHeight * 4 / 3, request.SceneHeight, SceneSeed);
        bool isNoisy = request.AddedNoise > 0;
        Raster noisy = isNoisy ? PictureNoise.Add(original, request.AddedNoise, NoiseSeed) : original;
        double noise = Math.Max(
            LeastNoise, isNoisy ? request.AddedNoise : PictureNoise.Estimate(original));
        NonLocalMeans means = new(
            device,
            new DenoiseSettings(request.Patch, request.Window, request.Strength * BandwidthOfNoise * noise));
        Raster denoised = noisy;
        output.ShowProgress(progress => denoised = means.Denoise(
            noisy, rows => progress($"denoising, {rows} of {noisy.Height} rows done")));
        PictureFile.Write(request.Output, denoised);
        text.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{original.Width} x {original.Height} pixels, noise of {noise:F1} levels" +
            $" {(isNoisy ? "added" : "estimated")}; each pixel looks at {request.Window} x {request.Window} patches" +
            $" of {request.Patch} x {request.Patch}"));
        if (isNoisy)
        {
            text.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"PSNR {PictureNoise.Psnr(noisy, original):F2} dB before," +
                $" {PictureNoise.Psnr(denoised, original):F2} dB after"));
        }

        text.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"neighborhood attention: {means.AttentionSeconds:F3} s," +
            $" {1e-9 * means.Flops / means.AttentionSeconds:F0} GFLOP/s on the pairs of its windows"));
        (double dense, long queries, long keys) = (0, 0, 0);
        output.ShowProgress(progress =>
        {
            progress("timing dense attention");
            dense = means.EstimateDenseSeconds(noisy, out queries, out keys);
        });
        text.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"dense attention over the same pixels: {dense:F1} s," +
            $" {dense / means.AttentionSeconds:F0} times as long" +
            $" (counted up from {queries} queries over {keys} keys)"));
        text.WriteLine($"Wrote {request.Output}.");
        if (request.Comparison is { } comparison)
        {
            List<(string, Raster)> panels = [("before", noisy), ("after", denoised)];
            if (isNoisy)
            {
                panels.Add(("original", original));
            }

            PictureFile.Write(comparison, PanelPicture.Draw(panels));
            text.WriteLine($"Wrote {comparison}.");
        }
    }
}
