// Who sees whom in dense attention, and its soft-cap and ALiBi, for the double-precision rows of demo and bench.
using System;

namespace FusedAttention.Cli.Reference;

internal sealed class DenseReference : SoftmaxReference
{
    private readonly DenseOptions _options;

    internal DenseReference(AttentionShape shape, DenseOptions options, ReferenceData data)
        : base(shape, options.Scale, data)
    {
        _options = options;
    }

    /// <summary>The keys a row sees, as a half-open range that may be empty.</summary>
    internal (long Begin, long End) VisibleKeys(long row)
    {
        long position = Position(row);
        long left = _options.Window?.Left ?? long.MaxValue;
        long right = _options.Window?.Right ?? long.MaxValue;
        right = _options.Causal ? Math.Min(right, 0) : right;
        long begin = left >= position ? 0 : position - left;
        long end = right >= Shape.KeyLength - position ? Shape.KeyLength : position + right + 1;
        return (begin, Math.Max(begin, end));
    }

    /// <summary>Query-key pairs that one head of one batch entry sees.</summary>
    internal long VisiblePairs()
    {
        long pairs = 0;
        for (long row = 0; row < Shape.QueryLength; ++row)
        {
            (long begin, long end) = VisibleKeys(row);
            pairs += end - begin;
        }

        return pairs;
    }

    internal override long[] VisibleKeys(long batch, long head, long row)
    {
        (long begin, long end) = VisibleKeys(row);
        long[] keys = new long[end - begin];
        for (long i = 0; i < keys.Length; ++i)
        {
            keys[i] = begin + i;
        }

        return keys;
    }

    internal override bool IsVisible(long batch, long head, long row, long key)
    {
        (long begin, long end) = VisibleKeys(row);
        return key >= begin && key < end;
    }

    protected override double Modify(long head, long row, long key, double score, out double gradient)
    {
        gradient = 1;
        if (_options.SoftCap is { } cap)
        {
            double ratio = Math.Tanh(score / cap);
            score = cap * ratio;
            gradient = 1 - (ratio * ratio);
        }

        return Data.AlibiSlopes is { } slopes ? score - (slopes[head] * Math.Abs(Position(row) - key)) : score;
    }

    private long Position(long row) => _options.CausalAlignment == CausalAlignment.TopLeft
        ? row
        : row + Shape.KeyLength - Shape.QueryLength;
}
