// Lightning attention of single rows in double precision, as the sum of its definition; used by demo and bench.
using System;
using System.Collections.Generic;

namespace FusedAttention.Cli.Reference;

/// <summary>o_t = scale * (sum over u to t of e^(-slope (t-u)) (q_t.k_u) v_u + e^(-slope (t+1)) q_t S_in).</summary>
/// <remarks>Tensors are contiguous [B, H, L, D]; states are [B, Hq, D, Dv]. Head h uses key head h * Hk / Hq.</remarks>
internal sealed class LightningReference : RowReference
{
    private readonly AttentionShape _shape;
    private readonly ReferenceData _data;
    private readonly float[] _slopes;
    private readonly double _scale;

    /// <param name="shape">Sizes; queries and keys are equally many.</param>
    /// <param name="slopes">[Hq], the decay per token.</param>
    /// <param name="scale">Multiplies q.k; null means 1.</param>
    /// <param name="data">The tensors, maybe with a state at the start and a gradient of that at the end.</param>
    internal LightningReference(AttentionShape shape, float[] slopes, float? scale, ReferenceData data)
    {
        _shape = shape;
        _slopes = slopes;
        _scale = scale ?? 1;
        _data = data;
    }

    internal override double Forward(long batch, long head, long row, Span<double> output)
    {
        output.Clear();
        ReadOnlySpan<float> query = Query(batch, head, row);
        for (long key = Math.Max(0, row - Reach(head)); key <= row; ++key)
        {
            double weight = _scale * Decay(head, row - key) * Dot(query, Key(batch, head, key));
            Accumulate(output, weight, Value(batch, head, key));
        }

        AddTimesState(output, _scale * Decay(head, row + 1), query, State(_data.InitialState, batch, head));
        return 0;
    }

    internal override void QueryGradient(long batch, long head, long row, Span<double> gradient)
    {
        gradient.Clear();
        ReadOnlySpan<float> outputGradient = OutputGradient(batch, head, row);
        for (long key = Math.Max(0, row - Reach(head)); key <= row; ++key)
        {
            double weight = _scale * Decay(head, row - key) * Dot(outputGradient, Value(batch, head, key));
            Accumulate(gradient, weight, Key(batch, head, key));
        }

        AddStateTimes(
            gradient, _scale * Decay(head, row + 1), State(_data.InitialState, batch, head), outputGradient);
    }

    internal override void KeyGradient(long batch, long keyHead, long key, Span<double> gradient)
    {
        gradient.Clear();
        foreach (long head in HeadsOf(keyHead))
        {
            ReadOnlySpan<float> value = Value(batch, head, key);
            long end = Math.Min(_shape.QueryLength, key + Reach(head) + 1);
            for (long row = key; row < end; ++row)
            {
                double weight = _scale * Decay(head, row - key) * Dot(OutputGradient(batch, head, row), value);
                Accumulate(gradient, weight, Query(batch, head, row));
            }

            double decay = Decay(head, _shape.QueryLength - 1 - key);
            AddStateTimes(gradient, decay, State(_data.FinalStateGradient, batch, head), value);
        }
    }

    internal override void ValueGradient(long batch, long valueHead, long key, Span<double> gradient)
    {
        gradient.Clear();
        foreach (long head in HeadsOf(valueHead))
        {
            ReadOnlySpan<float> own = Key(batch, head, key);
            long end = Math.Min(_shape.QueryLength, key + Reach(head) + 1);
            for (long row = key; row < end; ++row)
            {
                double weight = _scale * Decay(head, row - key) * Dot(Query(batch, head, row), own);
                Accumulate(gradient, weight, OutputGradient(batch, head, row));
            }

            double decay = Decay(head, _shape.QueryLength - 1 - key);
            AddTimesState(gradient, decay, own, State(_data.FinalStateGradient, batch, head));
        }
    }

    /// <summary>Writes the state after the last token, [D, Dv].</summary>
    internal void FinalState(long batch, long head, Span<double> state)
    {
        state.Clear();
        ReadOnlySpan<float> initial = State(_data.InitialState, batch, head);
        int width = (int)_shape.ValueHeadDim;
        Accumulate(state[..initial.Length], Decay(head, _shape.QueryLength), initial);
        for (long key = 0; key < _shape.QueryLength; ++key)
        {
            ReadOnlySpan<float> own = Key(batch, head, key);
            for (int d = 0; d < own.Length; ++d)
            {
                double weight = Decay(head, _shape.QueryLength - 1 - key) * own[d];
                Accumulate(state.Slice(d * width, width), weight, Value(batch, head, key));
            }
        }
    }

    // Tokens beyond which the decay is below the smallest double, so that sums over a long past may begin there.
    private long Reach(long head)
    {
        const double Smallest = 746;
        double tokens = Smallest / _slopes[head];
        return tokens < _shape.QueryLength ? (long)tokens + 1 : _shape.QueryLength;
    }

    private double Decay(long head, long tokens) => Math.Exp(-(double)_slopes[head] * tokens);

    private IEnumerable<long> HeadsOf(long keyHead)
    {
        for (long head = 0; head < _shape.QueryHeads; ++head)
        {
            if (KeyHead(head) == keyHead)
            {
                yield return head;
            }
        }
    }

    private long KeyHead(long head) => head * _shape.KeyHeads / _shape.QueryHeads;

    private ReadOnlySpan<float> Query(long batch, long head, long row) =>
        Row(_data.Q, (batch * _shape.QueryHeads) + head, row, _shape.HeadDim);

    private ReadOnlySpan<float> Key(long batch, long head, long row) =>
        Row(_data.K, (batch * _shape.KeyHeads) + KeyHead(head), row, _shape.HeadDim);

    private ReadOnlySpan<float> Value(long batch, long head, long row) =>
        Row(_data.V, (batch * _shape.KeyHeads) + KeyHead(head), row, _shape.ValueHeadDim);

    private ReadOnlySpan<float> OutputGradient(long batch, long head, long row) => Row(
        _data.OutputGradient ?? throw new InvalidOperationException("gradients need the gradient of the output"),
        (batch * _shape.QueryHeads) + head,
        row,
        _shape.ValueHeadDim);

    private ReadOnlySpan<float> Row(float[] tensor, long head, long row, long width) =>
        tensor.AsSpan((int)(((head * _shape.QueryLength) + row) * width), (int)width);

    // [D, Dv] of one head; empty when there is none.
    private ReadOnlySpan<float> State(float[]? states, long batch, long head)
    {
        int size = (int)(_shape.HeadDim * _shape.ValueHeadDim);
        return states is null ? [] : states.AsSpan((int)((batch * _shape.QueryHeads) + head) * size, size);
    }

    // sum += factor * row state
    private static void AddTimesState(
        Span<double> sum, double factor, ReadOnlySpan<float> row, ReadOnlySpan<float> state)
    {
        for (int d = 0; d < row.Length && !state.IsEmpty; ++d)
        {
            Accumulate(sum, factor * row[d], state.Slice(d * sum.Length, sum.Length));
        }
    }

    // sum += factor * state row
    private static void AddStateTimes(
        Span<double> sum, double factor, ReadOnlySpan<float> state, ReadOnlySpan<float> row)
    {
        for (int d = 0; d < sum.Length && !state.IsEmpty; ++d)
        {
            sum[d] += factor * Dot(state.Slice(d * row.Length, row.Length), row);
        }
    }

    private static double Dot(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; ++i)
        {
            sum += (double)a[i] * b[i];
        }

        return sum;
    }

    private static void Accumulate(Span<double> sum, double factor, ReadOnlySpan<float> row)
    {
        for (int i = 0; i < row.Length; ++i)
        {
            sum[i] += factor * row[i];
        }
    }
}
