// Single rows of an attention operation in double precision; each family has its own, demo and bench measure errors.
using System;

namespace FusedAttention.Cli.Reference;

/// <summary>Computes any one row of an output or gradient, so that large problems can be checked by sampling.</summary>
internal abstract class RowReference
{
    /// <summary>Writes one output row and gives its LSE; 0 for a family that has none.</summary>
    internal abstract double Forward(long batch, long head, long row, Span<double> output);

    /// <summary>Writes one row of the gradient of q.</summary>
    internal abstract void QueryGradient(long batch, long head, long row, Span<double> gradient);

    /// <summary>Writes one row of the gradient of k, summed over the query heads that share the key head.</summary>
    internal abstract void KeyGradient(long batch, long keyHead, long key, Span<double> gradient);

    /// <summary>Writes one row of the gradient of v, summed over the query heads that share the value head.</summary>
    internal abstract void ValueGradient(long batch, long valueHead, long key, Span<double> gradient);
}
