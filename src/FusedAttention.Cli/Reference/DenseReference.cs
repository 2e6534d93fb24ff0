// Dense attention of single rows in double precision, written for clarity; demo and bench measure their errors with it.
using System;
using System.Collections.Concurrent;
using System.Numerics.Tensors;
using System.Threading.Tasks;

namespace FusedAttention.Cli.Reference;

/// <summary>Computes any one row of an output or gradient, so that large problems can be checked by sampling.</summary>
/// <remarks>Tensors are contiguous [B, H, L, D]. Head h uses key head h * Hk / Hq and value head h * Hv / Hq.</remarks>
internal sealed class DenseReference : RowReference
{
    private readonly AttentionShape _shape;
    private readonly DenseOptions _options;
    private readonly ReferenceData _data;
    private readonly double _scale;
    private readonly ConcurrentDictionary<(float[], long), double[]> _heads = new();
    private readonly ConcurrentDictionary<(long, long), RowTotals> _totals = new();

    internal DenseReference(AttentionShape shape, DenseOptions options, ReferenceData data)
    {
        _shape = shape;
        _options = options;
        _data = data;
        _scale = options.Scale ?? (1 / Math.Sqrt(shape.HeadDim));
    }

    /// <summary>Writes one output row and gives its LSE.</summary>
    internal override double Forward(long batch, long head, long row, Span<double> output)
    {
        Weights weights = ComputeWeights(batch, head, row);
        double[] values = Values(batch, head);
        output.Clear();
        for (int i = 0; i < weights.P.Length; ++i)
        {
            Accumulate(output, weights.P[i], Row(values, weights.FirstKey + i, _shape.ValueHeadDim));
        }

        return weights.Lse;
    }

    /// <summary>Writes one row of the gradient of q.</summary>
    internal override void QueryGradient(long batch, long head, long row, Span<double> gradient)
    {
        Weights weights = ComputeWeights(batch, head, row);
        double[] keys = Keys(batch, head);
        double[] values = Values(batch, head);
        ReadOnlySpan<double> outputGradient = Row(OutputGradients(batch, head), row, _shape.ValueHeadDim);
        double total = RowTotal(batch, head, row, weights, values, outputGradient);
        gradient.Clear();
        for (int i = 0; i < weights.P.Length; ++i)
        {
            long key = weights.FirstKey + i;
            double weightGradient = TensorPrimitives.Dot(outputGradient, Row(values, key, _shape.ValueHeadDim));
            double scoreGradient = weights.P[i] * (weightGradient + total) * weights.CapGradient[i];
            Accumulate(gradient, _scale * scoreGradient, Row(keys, key, _shape.HeadDim));
        }
    }

    /// <summary>Writes one row of the gradient of k, summed over the query heads that share the key head.</summary>
    internal override void KeyGradient(long batch, long keyHead, long key, Span<double> gradient)
    {
        gradient.Clear();
        for (long head = 0; head < _shape.QueryHeads; ++head)
        {
            if (head * _shape.KeyHeads / _shape.QueryHeads != keyHead)
            {
                continue;
            }

            RowTotals totals = Totals(batch, head);
            double[] queries = Queries(batch, head);
            double[] outputGradients = OutputGradients(batch, head);
            ReadOnlySpan<double> value = Row(Values(batch, head), key, _shape.ValueHeadDim);
            for (long row = 0; row < _shape.QueryLength; ++row)
            {
                if (!IsVisible(row, key))
                {
                    continue;
                }

                ReadOnlySpan<double> query = Row(queries, row, _shape.HeadDim);
                double score = Score(batch, head, row, key, query, out double capGradient);
                double weight = Math.Exp(score - totals.Lse[row]);
                double weightGradient = TensorPrimitives.Dot(Row(outputGradients, row, _shape.ValueHeadDim), value);
                Accumulate(gradient, _scale * weight * (weightGradient + totals.Total[row]) * capGradient, query);
            }
        }
    }

    /// <summary>Writes one row of the gradient of v, summed over the query heads that share the value head.</summary>
    internal override void ValueGradient(long batch, long valueHead, long key, Span<double> gradient)
    {
        gradient.Clear();
        for (long head = 0; head < _shape.QueryHeads; ++head)
        {
            if (head * _shape.ValueHeads / _shape.QueryHeads != valueHead)
            {
                continue;
            }

            RowTotals totals = Totals(batch, head);
            double[] queries = Queries(batch, head);
            double[] outputGradients = OutputGradients(batch, head);
            for (long row = 0; row < _shape.QueryLength; ++row)
            {
                if (IsVisible(row, key))
                {
                    double score = Score(batch, head, row, key, Row(queries, row, _shape.HeadDim), out _);
                    double weight = Math.Exp(score - totals.Lse[row]);
                    Accumulate(gradient, weight, Row(outputGradients, row, _shape.ValueHeadDim));
                }
            }
        }
    }

    /// <summary>The keys a row sees, as a half-open range that may be empty.</summary>
    internal (long Begin, long End) VisibleKeys(long row)
    {
        long position = Position(row);
        long left = _options.Window?.Left ?? long.MaxValue;
        long right = _options.Window?.Right ?? long.MaxValue;
        right = _options.Causal ? Math.Min(right, 0) : right;
        long begin = left >= position ? 0 : position - left;
        long end = right >= _shape.KeyLength - position ? _shape.KeyLength : position + right + 1;
        return (begin, Math.Max(begin, end));
    }

    /// <summary>Query-key pairs that one head of one batch entry sees.</summary>
    internal long VisiblePairs()
    {
        long pairs = 0;
        for (long row = 0; row < _shape.QueryLength; ++row)
        {
            (long begin, long end) = VisibleKeys(row);
            pairs += end - begin;
        }

        return pairs;
    }

    private bool IsVisible(long row, long key)
    {
        (long begin, long end) = VisibleKeys(row);
        return key >= begin && key < end;
    }

    private long Position(long row) => _options.CausalAlignment == CausalAlignment.TopLeft
        ? row
        : row + _shape.KeyLength - _shape.QueryLength;

    private double Score(
        long batch, long head, long row, long key, ReadOnlySpan<double> query, out double capGradient)
    {
        double score = _scale * TensorPrimitives.Dot(query, Row(Keys(batch, head), key, _shape.HeadDim));
        capGradient = 1;
        if (_options.SoftCap is { } cap)
        {
            double ratio = Math.Tanh(score / cap);
            score = cap * ratio;
            capGradient = 1 - (ratio * ratio);
        }

        return _data.AlibiSlopes is { } slopes ? score - (slopes[head] * Math.Abs(Position(row) - key)) : score;
    }

    private Weights ComputeWeights(long batch, long head, long row)
    {
        (long begin, long end) = VisibleKeys(row);
        double[] scores = new double[end - begin];
        double[] capGradient = new double[end - begin];
        ReadOnlySpan<double> query = Row(Queries(batch, head), row, _shape.HeadDim);
        double max = _data.SinkLogits?[head] ?? double.NegativeInfinity;
        for (int i = 0; i < scores.Length; ++i)
        {
            scores[i] = Score(batch, head, row, begin + i, query, out capGradient[i]);
            max = Math.Max(max, scores[i]);
        }

        if (double.IsNegativeInfinity(max))
        {
            return new Weights(begin, [], [], double.NegativeInfinity);
        }

        double sum = _data.SinkLogits is { } sinks ? Math.Exp(sinks[head] - max) : 0;
        for (int i = 0; i < scores.Length; ++i)
        {
            scores[i] = Math.Exp(scores[i] - max);
            sum += scores[i];
        }

        for (int i = 0; i < scores.Length; ++i)
        {
            scores[i] /= sum;
        }

        return new Weights(begin, scores, capGradient, max + Math.Log(sum));
    }

    // Gradient of the LSE minus the sum of dO * O: what every score gradient of the row has added to it.
    private double RowTotal(
        long batch, long head, long row, Weights weights, double[] values, ReadOnlySpan<double> outputGradient)
    {
        double total = _data.LseGradient?[HeadRow(batch, head, row)] ?? 0;
        for (int i = 0; i < weights.P.Length; ++i)
        {
            ReadOnlySpan<double> value = Row(values, weights.FirstKey + i, _shape.ValueHeadDim);
            total -= weights.P[i] * TensorPrimitives.Dot(outputGradient, value);
        }

        return total;
    }

    private RowTotals Totals(long batch, long head) => _totals.GetOrAdd((batch, head), _ =>
    {
        double[] values = Values(batch, head);
        double[] outputGradients = OutputGradients(batch, head);
        RowTotals totals = new(new double[_shape.QueryLength], new double[_shape.QueryLength]);
        Parallel.For(0L, _shape.QueryLength, row =>
        {
            Weights weights = ComputeWeights(batch, head, row);
            ReadOnlySpan<double> outputGradient = Row(outputGradients, row, _shape.ValueHeadDim);
            totals.Lse[row] = weights.Lse;
            totals.Total[row] = RowTotal(batch, head, row, weights, values, outputGradient);
        });
        return totals;
    });

    private double[] Queries(long batch, long head) =>
        Head(_data.Q, (batch * _shape.QueryHeads) + head, _shape.QueryLength * _shape.HeadDim);

    private double[] Keys(long batch, long head) => Head(
        _data.K,
        (batch * _shape.KeyHeads) + (head * _shape.KeyHeads / _shape.QueryHeads),
        _shape.KeyLength * _shape.HeadDim);

    private double[] Values(long batch, long head) => Head(
        _data.V,
        (batch * _shape.ValueHeads) + (head * _shape.ValueHeads / _shape.QueryHeads),
        _shape.KeyLength * _shape.ValueHeadDim);

    private double[] OutputGradients(long batch, long head) => Head(
        _data.OutputGradient ?? throw new InvalidOperationException("gradients need the gradient of the output"),
        (batch * _shape.QueryHeads) + head,
        _shape.QueryLength * _shape.ValueHeadDim);

    private long HeadRow(long batch, long head, long row) =>
        (((batch * _shape.QueryHeads) + head) * _shape.QueryLength) + row;

    private double[] Head(float[] tensor, long index, long size) => _heads.GetOrAdd((tensor, index), _ =>
    {
        double[] head = new double[size];
        TensorPrimitives.ConvertChecked<float, double>(tensor.AsSpan((int)(index * size), (int)size), head);
        return head;
    });

    private static ReadOnlySpan<double> Row(double[] head, long row, long width) =>
        head.AsSpan((int)(row * width), (int)width);

    private static void Accumulate(Span<double> sum, double factor, ReadOnlySpan<double> row) =>
        TensorPrimitives.MultiplyAdd(row, factor, sum, sum);

    private sealed record Weights(long FirstKey, double[] P, double[] CapGradient, double Lse);

    private sealed record RowTotals(double[] Lse, double[] Total);
}
