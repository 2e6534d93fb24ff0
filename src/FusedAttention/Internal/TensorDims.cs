// Extents and strides that a tensor brings along. Part of TensorIn and TensorOut, compared by TensorSpec.
using System;
using System.Globalization;
using System.Runtime.CompilerServices;

namespace FusedAttention.Internal;

/// <summary>Up to four extents and strides, in elements; rank 0 for plain memory without a shape.</summary>
internal struct TensorDims
{
    internal const int MaxRank = 4;

    internal int Rank;
    internal Four Lengths;
    internal Four Strides;

    internal TensorDims(ReadOnlySpan<nint> lengths, ReadOnlySpan<nint> strides)
    {
        if (lengths.Length > MaxRank)
        {
            ThrowHelper.Argument(
                $"A tensor of rank {lengths.Length} was given; attention takes tensors of rank 1 to {MaxRank}.",
                nameof(lengths));
        }

        Rank = lengths.Length;
        for (int i = 0; i < Rank; ++i)
        {
            Lengths[i] = lengths[i];
            Strides[i] = strides[i];
        }
    }

    internal TensorDims(ReadOnlySpan<long> lengths, ReadOnlySpan<long> strides)
    {
        Rank = lengths.Length;
        for (int i = 0; i < Rank; ++i)
        {
            Lengths[i] = lengths[i];
            Strides[i] = strides[i];
        }
    }

    /// <summary>The product of the extents of a contiguous tensor, and its strides.</summary>
    internal static long FillContiguous(ReadOnlySpan<long> lengths, Span<long> strides)
    {
        long stride = 1;
        for (int i = lengths.Length - 1; i >= 0; --i)
        {
            strides[i] = stride;
            stride = checked(stride * lengths[i]);
        }

        return stride;
    }

    /// <summary>"[2, 3]" for the extents or strides.</summary>
    internal static string Format(ReadOnlySpan<long> values)
    {
        string text = "[";
        for (int i = 0; i < values.Length; ++i)
        {
            text += (i > 0 ? ", " : "") + values[i].ToString(CultureInfo.InvariantCulture);
        }

        return text + "]";
    }

    [InlineArray(MaxRank)]
    internal struct Four
    {
        private long _first;
    }
}
