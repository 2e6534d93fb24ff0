// Who sees whom in neighborhood attention, for the double-precision rows of demo and bench.
using System;
using System.Collections.Generic;

namespace FusedAttention.Cli.Reference;

/// <summary>Tokens are row-major over the axes; a key is seen when it is in the window of every axis.</summary>
internal sealed class NeighborhoodReference : SoftmaxReference
{
    private readonly AxisWindow[] _axes;

    /// <param name="shape">Sizes; lengths are the product of the axes.</param>
    /// <param name="axes">Slowest axis first.</param>
    /// <param name="scale">Multiplies q.k; null means 1 / sqrt(D).</param>
    /// <param name="data">The tensors, maybe with additional keys and values.</param>
    internal NeighborhoodReference(AttentionShape shape, AxisWindow[] axes, float? scale, ReferenceData data)
        : base(shape, scale, data)
    {
        _axes = axes;
    }

    internal override long[] VisibleKeys(long batch, long head, long row)
    {
        long[] keys = [0];
        long tokens = Shape.QueryLength;
        foreach (AxisWindow axis in _axes)
        {
            tokens /= axis.Length;
            (long first, long count) = axis.Window(row / tokens % axis.Length);
            List<long> finer = [];
            foreach (long key in keys)
            {
                for (long i = 0; i < count; ++i)
                {
                    finer.Add((key * axis.Length) + first + (i * axis.Dilation));
                }
            }

            keys = [.. finer];
        }

        return keys;
    }

    internal override bool IsVisible(long batch, long head, long row, long key)
    {
        long tokens = Shape.QueryLength;
        return Array.TrueForAll(_axes, axis =>
        {
            tokens /= axis.Length;
            return axis.Sees(row / tokens % axis.Length, key / tokens % axis.Length);
        });
    }
}
