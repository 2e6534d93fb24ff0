// Turns a picture into the queries, keys and values with which attention averages like patches; used by denoise.
using System;
using System.Threading.Tasks;
using FusedAttention.Cli.Imaging;

namespace FusedAttention.Cli.Denoising;

/// <summary>
/// Non-local means weighs pixel j for pixel i by exp(-|f_i - f_j|^2 / h^2), f the patch around a pixel. Softmax does
/// not care about what is equal for a whole row, and |f_i|^2 is: so the query is (f_i, 1), the key is
/// (f_j, -|f_j|^2 / 2), and their product times 2 / h^2 is the exponent.
/// </summary>
internal sealed class PatchFeatures
{
    private const float Level = 1f / 255;

    // Products of small numbers lose less: features are differences from a middle gray.
    private const float Gray = 0.5f;

    private readonly Raster _picture;
    private readonly int _patch;

    /// <param name="picture">The noisy picture.</param>
    /// <param name="patch">Pixels along a side of a patch, odd.</param>
    /// <param name="firstRow">First row of pixels that become tokens; patches also look beyond.</param>
    /// <param name="numRows">How many rows do.</param>
    internal PatchFeatures(Raster picture, int patch, int firstRow, int numRows)
    {
        _picture = picture;
        _patch = patch;
        ValueDim = NumColors(picture);
        HeadDim = NumFeatures(picture, patch) + 1;
        long tokens = (long)picture.Width * numRows;
        Queries = new float[tokens * HeadDim];
        Keys = new float[tokens * HeadDim];
        Values = new float[tokens * ValueDim];
        Parallel.For(0, numRows, row =>
        {
            for (int x = 0; x < picture.Width; ++x)
            {
                Fill(((long)row * picture.Width) + x, x, firstRow + row);
            }
        });
    }

    /// <summary>Width of queries and keys.</summary>
    internal int HeadDim { get; }

    /// <summary>Width of values: the colours.</summary>
    internal int ValueDim { get; }

    /// <summary>[tokens, D], pixels row-major.</summary>
    internal float[] Queries { get; }

    /// <summary>[tokens, D].</summary>
    internal float[] Keys { get; }

    /// <summary>[tokens, colours] in 0..1.</summary>
    internal float[] Values { get; }

    /// <summary>Channels of a picture without alpha.</summary>
    internal static int NumColors(Raster picture) => Math.Min(picture.Channels, 3);

    /// <summary>Numbers of a patch.</summary>
    internal static int NumFeatures(Raster picture, int patch) => patch * patch * NumColors(picture);

    private void Fill(long token, int x, int y)
    {
        Span<float> query = Queries.AsSpan((int)(token * HeadDim), HeadDim);
        Span<float> key = Keys.AsSpan((int)(token * HeadDim), HeadDim);
        int half = _patch / 2;
        int feature = 0;
        float square = 0;
        for (int dy = -half; dy <= half; ++dy)
        {
            ReadOnlySpan<byte> row = _picture.Row(Mirror(y + dy, _picture.Height));
            for (int dx = -half; dx <= half; ++dx)
            {
                int column = Mirror(x + dx, _picture.Width) * _picture.Channels;
                for (int color = 0; color < ValueDim; ++color)
                {
                    float value = (row[column + color] * Level) - Gray;
                    query[feature] = value;
                    key[feature] = value;
                    square += value * value;
                    ++feature;
                }
            }
        }

        query[feature] = 1;
        key[feature] = -square / 2;
        ReadOnlySpan<byte> center = _picture.Row(y).Slice(x * _picture.Channels, ValueDim);
        for (int color = 0; color < ValueDim; ++color)
        {
            Values[(token * ValueDim) + color] = center[color] * Level;
        }
    }

    // Beyond an edge the picture goes on as its mirror image.
    private static int Mirror(int at, int length)
    {
        int reflected = at < 0 ? -at - 1 : at >= length ? (2 * length) - at - 1 : at;
        return Math.Clamp(reflected, 0, length - 1);
    }
}
