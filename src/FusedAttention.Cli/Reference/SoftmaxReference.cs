// Softmax attention of single rows in double precision, written for clarity; the softmax families say who sees whom.
using System;
using System.Collections.Concurrent;
using System.Numerics.Tensors;
using System.Threading.Tasks;

namespace FusedAttention.Cli.Reference;

/// <remarks>
/// Tensors are contiguous [B, H, L, D]. Head h uses key head h * Hk / Hq and value head h * Hv / Hq. Key Lk + e is
/// additional key e.
/// </remarks>
internal abstract class SoftmaxReference : RowReference
{
    private readonly double _scale;
    private readonly long _numAdditional;
    private readonly ConcurrentDictionary<(float[], long), double[]> _heads = new();
    private readonly ConcurrentDictionary<(long, long), RowTotals> _totals = new();

    /// <param name="shape">Sizes.</param>
    /// <param name="scale">Multiplies q.k; null means 1 / sqrt(D).</param>
    /// <param name="data">The tensors.</param>
    protected SoftmaxReference(AttentionShape shape, float? scale, ReferenceData data)
    {
        Shape = shape;
        Data = data;
        _scale = scale ?? (1 / Math.Sqrt(shape.HeadDim));
        _numAdditional = data.AdditionalK is { } additional
            ? additional.Length / (shape.Batch * shape.KeyHeads * shape.HeadDim)
            : 0;
    }

    protected AttentionShape Shape { get; }

    protected ReferenceData Data { get; }

    /// <summary>The keys among Lk that a row sees, ascending.</summary>
    internal abstract long[] VisibleKeys(long batch, long head, long row);

    /// <summary>Whether a row sees a key among Lk; additional keys are seen by all.</summary>
    internal abstract bool IsVisible(long batch, long head, long row, long key);

    internal override double Forward(long batch, long head, long row, Span<double> output)
    {
        Weights weights = ComputeWeights(batch, head, row);
        double[] values = Values(batch, head);
        output.Clear();
        for (int i = 0; i < weights.P.Length; ++i)
        {
            Accumulate(output, weights.P[i], Row(values, weights.Keys[i], Shape.ValueHeadDim));
        }

        return weights.Lse;
    }

    internal override void QueryGradient(long batch, long head, long row, Span<double> gradient)
    {
        Weights weights = ComputeWeights(batch, head, row);
        double[] keys = Keys(batch, head);
        double[] values = Values(batch, head);
        ReadOnlySpan<double> outputGradient = Row(OutputGradients(batch, head), row, Shape.ValueHeadDim);
        double total = RowTotal(batch, head, row, weights, values, outputGradient);
        gradient.Clear();
        for (int i = 0; i < weights.P.Length; ++i)
        {
            long key = weights.Keys[i];
            double weightGradient = TensorPrimitives.Dot(outputGradient, Row(values, key, Shape.ValueHeadDim));
            double scoreGradient = weights.P[i] * (weightGradient + total) * weights.CapGradient[i];
            Accumulate(gradient, _scale * scoreGradient, Row(keys, key, Shape.HeadDim));
        }
    }

    internal override void KeyGradient(long batch, long keyHead, long key, Span<double> gradient)
    {
        gradient.Clear();
        for (long head = 0; head < Shape.QueryHeads; ++head)
        {
            if (head * Shape.KeyHeads / Shape.QueryHeads != keyHead)
            {
                continue;
            }

            RowTotals totals = Totals(batch, head);
            double[] queries = Queries(batch, head);
            double[] outputGradients = OutputGradients(batch, head);
            ReadOnlySpan<double> value = Row(Values(batch, head), key, Shape.ValueHeadDim);
            for (long row = 0; row < Shape.QueryLength; ++row)
            {
                if (!Sees(batch, head, row, key))
                {
                    continue;
                }

                ReadOnlySpan<double> query = Row(queries, row, Shape.HeadDim);
                double score = Score(batch, head, row, key, query, out double capGradient);
                double weight = Math.Exp(score - totals.Lse[row]);
                double weightGradient = TensorPrimitives.Dot(Row(outputGradients, row, Shape.ValueHeadDim), value);
                Accumulate(gradient, _scale * weight * (weightGradient + totals.Total[row]) * capGradient, query);
            }
        }
    }

    internal override void ValueGradient(long batch, long valueHead, long key, Span<double> gradient)
    {
        gradient.Clear();
        for (long head = 0; head < Shape.QueryHeads; ++head)
        {
            if (head * Shape.ValueHeads / Shape.QueryHeads != valueHead)
            {
                continue;
            }

            RowTotals totals = Totals(batch, head);
            double[] queries = Queries(batch, head);
            double[] outputGradients = OutputGradients(batch, head);
            for (long row = 0; row < Shape.QueryLength; ++row)
            {
                if (Sees(batch, head, row, key))
                {
                    double score = Score(batch, head, row, key, Row(queries, row, Shape.HeadDim), out _);
                    double weight = Math.Exp(score - totals.Lse[row]);
                    Accumulate(gradient, weight, Row(outputGradients, row, Shape.ValueHeadDim));
                }
            }
        }
    }

    /// <summary>Changes the score of a pair before the softmax.</summary>
    /// <param name="head">Query head.</param>
    /// <param name="row">Query.</param>
    /// <param name="key">Key.</param>
    /// <param name="score">Scaled q.k.</param>
    /// <param name="gradient">The derivative of the result by <paramref name="score"/>.</param>
    protected virtual double Modify(long head, long row, long key, double score, out double gradient)
    {
        gradient = 1;
        return score;
    }

    private bool Sees(long batch, long head, long row, long key) =>
        key >= Shape.KeyLength || IsVisible(batch, head, row, key);

    private double Score(
        long batch, long head, long row, long key, ReadOnlySpan<double> query, out double capGradient)
    {
        double score = _scale * TensorPrimitives.Dot(query, Row(Keys(batch, head), key, Shape.HeadDim));
        return Modify(head, row, key, score, out capGradient);
    }

    private Weights ComputeWeights(long batch, long head, long row)
    {
        long[] keys = VisibleKeys(batch, head, row);
        if (_numAdditional > 0)
        {
            long seen = keys.Length;
            Array.Resize(ref keys, (int)(seen + _numAdditional));
            for (long i = 0; i < _numAdditional; ++i)
            {
                keys[seen + i] = Shape.KeyLength + i;
            }
        }

        double[] scores = new double[keys.Length];
        double[] capGradient = new double[keys.Length];
        ReadOnlySpan<double> query = Row(Queries(batch, head), row, Shape.HeadDim);
        double max = Data.SinkLogits?[head] ?? double.NegativeInfinity;
        for (int i = 0; i < scores.Length; ++i)
        {
            scores[i] = Score(batch, head, row, keys[i], query, out capGradient[i]);
            max = Math.Max(max, scores[i]);
        }

        if (double.IsNegativeInfinity(max))
        {
            return new Weights([], [], [], double.NegativeInfinity);
        }

        double sum = Data.SinkLogits is { } sinks ? Math.Exp(sinks[head] - max) : 0;
        for (int i = 0; i < scores.Length; ++i)
        {
            scores[i] = Math.Exp(scores[i] - max);
            sum += scores[i];
        }

        for (int i = 0; i < scores.Length; ++i)
        {
            scores[i] /= sum;
        }

        return new Weights(keys, scores, capGradient, max + Math.Log(sum));
    }

    // Gradient of the LSE minus the sum of dO * O: what every score gradient of the row has added to it.
    private double RowTotal(
        long batch, long head, long row, Weights weights, double[] values, ReadOnlySpan<double> outputGradient)
    {
        double total = Data.LseGradient?[HeadRow(batch, head, row)] ?? 0;
        for (int i = 0; i < weights.P.Length; ++i)
        {
            ReadOnlySpan<double> value = Row(values, weights.Keys[i], Shape.ValueHeadDim);
            total -= weights.P[i] * TensorPrimitives.Dot(outputGradient, value);
        }

        return total;
    }

    private RowTotals Totals(long batch, long head) => _totals.GetOrAdd((batch, head), _ =>
    {
        double[] values = Values(batch, head);
        double[] outputGradients = OutputGradients(batch, head);
        RowTotals totals = new(new double[Shape.QueryLength], new double[Shape.QueryLength]);
        Parallel.For(0L, Shape.QueryLength, row =>
        {
            Weights weights = ComputeWeights(batch, head, row);
            ReadOnlySpan<double> outputGradient = Row(outputGradients, row, Shape.ValueHeadDim);
            totals.Lse[row] = weights.Lse;
            totals.Total[row] = RowTotal(batch, head, row, weights, values, outputGradient);
        });
        return totals;
    });

    private double[] Queries(long batch, long head) =>
        Head(Data.Q, null, (batch * Shape.QueryHeads) + head, Shape.QueryLength * Shape.HeadDim, 0);

    private double[] Keys(long batch, long head) => Head(
        Data.K,
        Data.AdditionalK,
        (batch * Shape.KeyHeads) + (head * Shape.KeyHeads / Shape.QueryHeads),
        Shape.KeyLength * Shape.HeadDim,
        _numAdditional * Shape.HeadDim);

    private double[] Values(long batch, long head) => Head(
        Data.V,
        Data.AdditionalV,
        (batch * Shape.ValueHeads) + (head * Shape.ValueHeads / Shape.QueryHeads),
        Shape.KeyLength * Shape.ValueHeadDim,
        _numAdditional * Shape.ValueHeadDim);

    private double[] OutputGradients(long batch, long head) => Head(
        Data.OutputGradient ?? throw new InvalidOperationException("gradients need the gradient of the output"),
        null,
        (batch * Shape.QueryHeads) + head,
        Shape.QueryLength * Shape.ValueHeadDim,
        0);

    private long HeadRow(long batch, long head, long row) =>
        (((batch * Shape.QueryHeads) + head) * Shape.QueryLength) + row;

    // One head of a tensor, followed by the same head of the additional tokens.
    private double[] Head(float[] tensor, float[]? additional, long index, long size, long additionalSize) =>
        _heads.GetOrAdd((tensor, index), _ =>
        {
            double[] head = new double[size + additionalSize];
            Span<double> tail = head.AsSpan((int)size);
            TensorPrimitives.ConvertChecked<float, double>(tensor.AsSpan((int)(index * size), (int)size), head);
            TensorPrimitives.ConvertChecked<float, double>(
                additional.AsSpan((int)(index * additionalSize), (int)additionalSize), tail);
            return head;
        });

    private static ReadOnlySpan<double> Row(double[] head, long row, long width) =>
        head.AsSpan((int)(row * width), (int)width);

    private static void Accumulate(Span<double> sum, double factor, ReadOnlySpan<double> row) =>
        TensorPrimitives.MultiplyAdd(row, factor, sum, sum);

    private sealed record Weights(long[] Keys, double[] P, double[] CapGradient, double Lse);

    private sealed record RowTotals(double[] Lse, double[] Total);
}
