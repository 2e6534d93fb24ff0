// The three published conventions for the decay of each head of linear attention. Called by those who load such models.
using System;

namespace FusedAttention;

/// <summary>Slopes of published models: the decay of a head per token is exp(-slope).</summary>
/// <remarks>
/// The conventions differ; a model needs the one it was trained with. Slopes are 0 or more and have no unit: the weight
/// of a token that is n tokens away is exp(-slope n). Thread-safe.
/// </remarks>
public static class LightningSlopes
{
    private const double LayerRest = 1e-5;

    /// <summary>
    /// OpenNLPLab (TransNormer, Lightning Attention): 2^(-8 (h + 1) / n) when the number n of heads is a power of two;
    /// otherwise the list of the largest power p below n, then every second entry of the list of 2 p.
    /// </summary>
    /// <param name="heads">Query heads, 1 or more.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="heads"/> is below 1.</exception>
    /// <returns>The slope of each head.</returns>
    public static float[] OpenNlpLab(int heads)
    {
        ThrowIfLess(heads, 1, nameof(heads));
        int power = 1;
        while (power <= heads / 2)
        {
            power *= 2;
        }

        float[] slopes = new float[heads];
        for (int h = 0; h < heads; ++h)
        {
            slopes[h] = (float)(h < power ? Geometric(h, power) : Geometric(2 * (h - power), 2 * power));
        }

        return slopes;
    }

    /// <summary>As <see cref="OpenNlpLab(int)"/>, times TransNormer's factor 1 - layer / (layers - 1) + 1e-5.</summary>
    /// <param name="heads">Query heads, 1 or more.</param>
    /// <param name="layer">Layer, from 0.</param>
    /// <param name="layers">Layers of the model, 2 or more.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is outside its range.</exception>
    /// <returns>The slope of each head.</returns>
    public static float[] OpenNlpLab(int heads, int layer, int layers)
    {
        ThrowIfLess(layers, 2, nameof(layers));
        CheckLayer(layer, layers);
        double factor = 1 - ((double)layer / (layers - 1)) + LayerRest;
        return Array.ConvertAll(OpenNlpLab(heads), slope => (float)(slope * factor));
    }

    /// <summary>
    /// MiniMax-Text-01: 2^(-8 (h + 1) / n) for any number n of heads, times 1 - layer / (layers - 1 + 1e-5) + 1e-5.
    /// </summary>
    /// <param name="heads">Query heads, 1 or more.</param>
    /// <param name="layer">Layer, from 0.</param>
    /// <param name="layers">Layers of the model, 1 or more.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is outside its range.</exception>
    /// <returns>The slope of each head.</returns>
    public static float[] MiniMax(int heads, int layer, int layers)
    {
        ThrowIfLess(heads, 1, nameof(heads));
        CheckLayer(layer, layers);
        double factor = 1 - (layer / (layers - 1 + LayerRest)) + LayerRest;
        float[] slopes = new float[heads];
        for (int h = 0; h < heads; ++h)
        {
            slopes[h] = (float)(Geometric(h, heads) * factor);
        }

        return slopes;
    }

    /// <summary>
    /// Flash Linear Attention (chunk_lightning_attn): 8 / n (1 - layer / layers) h, so that head 0 has no decay. That
    /// library also multiplies q.k by 1 / sqrt(D): set <see cref="LightningOptions.Scale"/>.
    /// </summary>
    /// <param name="heads">Query heads, 1 or more.</param>
    /// <param name="layer">Layer, from 0.</param>
    /// <param name="layers">Layers of the model, 1 or more.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is outside its range.</exception>
    /// <returns>The slope of each head.</returns>
    public static float[] FlashLinear(int heads, int layer, int layers)
    {
        ThrowIfLess(heads, 1, nameof(heads));
        CheckLayer(layer, layers);
        double step = 8.0 / heads * (1 - ((double)layer / layers));
        float[] slopes = new float[heads];
        for (int h = 0; h < heads; ++h)
        {
            slopes[h] = (float)(step * h);
        }

        return slopes;
    }

    private static double Geometric(int head, int heads) => Math.Pow(2, -8.0 * (head + 1) / heads);

    private static void CheckLayer(int layer, int layers)
    {
        ThrowIfLess(layers, 1, nameof(layers));
        if (layer < 0 || layer >= layers)
        {
            throw new ArgumentOutOfRangeException(
                nameof(layer), layer, $"layer is {layer}; allowed are 0 to {layers - 1} of {layers} layers.");
        }
    }

    private static void ThrowIfLess(int value, int least, string name)
    {
        if (value < least)
        {
            throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}; allowed is {least} or more.");
        }
    }
}
