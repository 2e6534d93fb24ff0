// The dense problem that a case of another family replaces; timed by the case runner.
using System;

namespace FusedAttention.Cli.Measuring;

/// <param name="Case">What is measured: a part of the whole that costs its share of it.</param>
/// <param name="Factor">The measured time times this is the time of the whole.</param>
internal sealed record DenseEquivalent(DenseCase Case, double Factor)
{
    // Pairs of one head; beyond it some queries are timed, as each costs the same.
    private const long MaxPairs = 1L << 28;
    private const long LeastQueries = 256;

    /// <summary>Dense attention over the tokens of a case: one head, and of a long sequence some queries.</summary>
    /// <param name="type">Element type.</param>
    /// <param name="shape">The case's sizes.</param>
    /// <param name="causal">Whether dense attention would be causal; half of the pairs are then counted.</param>
    /// <param name="backward">Whether its backward pass is timed too.</param>
    internal static DenseEquivalent Of(CaseType type, AttentionShape shape, bool causal, bool backward)
    {
        long queries = Math.Min(shape.QueryLength, Math.Max(LeastQueries, MaxPairs / Math.Max(1, shape.KeyLength)));
        bool isWhole = queries == shape.QueryLength;
        AttentionShape part = new(1, 1, queries, shape.HeadDim)
        {
            KeyLength = shape.KeyLength,
            ValueHeadDim = shape.ValueHeadDim,
        };
        DenseOptions options = new() { Causal = causal && isWhole, Backward = backward };
        double factor = shape.Batch * shape.QueryHeads * (double)shape.QueryLength / queries;
        double visible = 1 - ((shape.QueryLength - 1.0) / (2.0 * shape.KeyLength));
        return new DenseEquivalent(
            new DenseCase("dense", type, part, options), causal && !isWhole ? factor * visible : factor);
    }
}
