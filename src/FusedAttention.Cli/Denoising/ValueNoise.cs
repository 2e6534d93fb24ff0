// Smooth random functions of one and two variables, the same on every machine; used by the generated scene.
using System;

namespace FusedAttention.Cli.Denoising;

/// <summary>Random values at whole numbers, blended smoothly between them, in several octaves.</summary>
internal readonly struct ValueNoise(uint seed)
{
    private const int Octaves = 5;

    /// <summary>In 0..1.</summary>
    internal float At(float x, float y = 0)
    {
        float sum = 0;
        float weights = 0;
        float weight = 1;
        for (uint octave = 0; octave < Octaves; ++octave)
        {
            sum += weight * Smooth(x, y, octave);
            weights += weight;
            weight /= 2;
            x *= 2;
            y *= 2;
        }

        return sum / weights;
    }

    /// <summary>A random number in 0..1 of its own for each cell.</summary>
    internal float Cell(int x, int y, uint layer = 0)
    {
        uint hash = seed + (layer * 0x9E3779B9u);
        hash = Mix(hash ^ (uint)x);
        hash = Mix(hash ^ (uint)y);
        return (hash >> 8) * (1f / (1 << 24));
    }

    private float Smooth(float x, float y, uint layer)
    {
        int column = (int)MathF.Floor(x);
        int row = (int)MathF.Floor(y);
        float across = Ease(x - column);
        float down = Ease(y - row);
        float top = float.Lerp(Cell(column, row, layer), Cell(column + 1, row, layer), across);
        float bottom = float.Lerp(Cell(column, row + 1, layer), Cell(column + 1, row + 1, layer), across);
        return float.Lerp(top, bottom, down);
    }

    private static float Ease(float t) => t * t * (3 - (2 * t));

    private static uint Mix(uint x)
    {
        x = (x ^ (x >> 16)) * 0x7FEB352Du;
        x = (x ^ (x >> 15)) * 0x846CA68Bu;
        return x ^ (x >> 16);
    }
}
