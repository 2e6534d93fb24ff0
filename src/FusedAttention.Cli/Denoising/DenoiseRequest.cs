// What one call of the denoise verb asks for.
namespace FusedAttention.Cli.Denoising;

/// <param name="Input">The picture to read; null generates the scene.</param>
/// <param name="Output">The picture to write.</param>
/// <param name="Comparison">Where to write all pictures side by side; null for nowhere.</param>
internal sealed record DenoiseRequest(string? Input, string Output, string? Comparison)
{
    /// <summary>Height of the generated scene, pixels.</summary>
    internal required int SceneHeight { get; init; }

    /// <summary>Deviation of the noise to add, in levels of 0..255; 0 adds none.</summary>
    internal required double AddedNoise { get; init; }

    /// <summary>1 fits the noise; larger smooths more.</summary>
    internal required double Strength { get; init; }

    /// <summary>Pixels along a side of the searched window.</summary>
    internal required int Window { get; init; }

    /// <summary>Pixels along a side of a patch, odd.</summary>
    internal required int Patch { get; init; }
}
