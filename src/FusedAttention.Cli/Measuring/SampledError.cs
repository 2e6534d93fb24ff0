// Compares results of the library with the double-precision reference on a few rows; used by the case runner.
using System;
using FusedAttention.Cli.Reference;

namespace FusedAttention.Cli.Measuring;

/// <summary>Errors are the largest difference on the sampled rows over the largest sampled value.</summary>
/// <typeparam name="T">Element type of the results.</typeparam>
/// <typeparam name="TElements">Its conversions.</typeparam>
internal sealed class SampledError<T, TElements>
    where T : unmanaged
    where TElements : IElements<T>
{
    private const int MaxHeads = 4;
    private const int RowsPerHead = 12;
    private const int KeysPerHead = 4;

    private readonly AttentionShape _shape;
    private readonly RowReference _reference;

    internal SampledError(AttentionShape shape, RowReference reference)
    {
        _shape = shape;
        _reference = reference;
    }

    /// <summary>Error of the output rows and their LSE.</summary>
    internal double OfForward(T[] output, float[] lse)
    {
        (double rows, double logs) = Compare(output, lse);
        return Math.Max(rows, logs);
    }

    /// <summary>Error of the output rows alone.</summary>
    internal double OfOutput(T[] output) => Compare(output, lse: null).Rows;

    /// <summary>Error of the gradients; one head is sampled for k and v, whose rows need all queries.</summary>
    internal double OfBackward(T[] queryGradient, T[] keyGradient, T[] valueGradient)
    {
        Comparison queries = new();
        Comparison keys = new();
        Comparison values = new();
        double[] row = new double[_shape.HeadDim];
        double[] valueRow = new double[_shape.ValueHeadDim];
        foreach ((long batch, long head) in SampleHeads(_shape.QueryHeads, 2))
        {
            foreach (long query in SampleRows(_shape.QueryLength, RowsPerHead))
            {
                _reference.QueryGradient(batch, head, query, row);
                queries.Add(row, queryGradient, (((batch * _shape.QueryHeads) + head) * _shape.QueryLength) + query);
            }
        }

        foreach (long key in SampleRows(_shape.KeyLength, KeysPerHead))
        {
            long last = _shape.Batch - 1;
            _reference.KeyGradient(last, _shape.KeyHeads - 1, key, row);
            keys.Add(row, keyGradient, (((_shape.Batch * _shape.KeyHeads) - 1) * _shape.KeyLength) + key);
            _reference.ValueGradient(last, _shape.ValueHeads - 1, key, valueRow);
            values.Add(valueRow, valueGradient, (((_shape.Batch * _shape.ValueHeads) - 1) * _shape.KeyLength) + key);
        }

        return Math.Max(queries.Error, Math.Max(keys.Error, values.Error));
    }

    private (double Rows, double Logs) Compare(T[] output, float[]? lse)
    {
        Comparison rows = new();
        Comparison logs = new();
        double[] expected = new double[_shape.ValueHeadDim];
        foreach ((long batch, long head) in SampleHeads(_shape.QueryHeads, MaxHeads))
        {
            foreach (long row in SampleRows(_shape.QueryLength, RowsPerHead))
            {
                long index = (((batch * _shape.QueryHeads) + head) * _shape.QueryLength) + row;
                double expectedLse = _reference.Forward(batch, head, row, expected);
                rows.Add(expected, output, index);
                if (lse is not null)
                {
                    logs.Add(expectedLse, lse[index]);
                }
            }
        }

        return (rows.Error, logs.Error);
    }

    // Spread over batch entries and heads, the first and the last among them.
    private (long Batch, long Head)[] SampleHeads(long heads, int wanted)
    {
        long[] picked = SampleRows(_shape.Batch * heads, wanted);
        return Array.ConvertAll(picked, index => (index / heads, index % heads));
    }

    private static long[] SampleRows(long count, int wanted)
    {
        int number = (int)Math.Min(count, wanted);
        long[] rows = new long[number];
        for (int i = 0; i < number; ++i)
        {
            rows[i] = number == 1 ? 0 : i * (count - 1) / (number - 1);
        }

        return rows;
    }

    private sealed class Comparison
    {
        private double _largest;
        private double _worst;

        internal double Error => _worst == 0 ? 0 : _worst / Math.Max(_largest, double.Epsilon);

        internal void Add(ReadOnlySpan<double> expected, T[] results, long row)
        {
            for (int i = 0; i < expected.Length; ++i)
            {
                Add(expected[i], TElements.ToSingle(results[(row * expected.Length) + i]));
            }
        }

        internal void Add(double expected, double found)
        {
            if (double.IsFinite(expected))
            {
                _largest = Math.Max(_largest, Math.Abs(expected));
            }

            // Equal infinities agree; any other infinity or NaN is an infinite error.
            double difference = expected.Equals(found) ? 0 : Math.Abs(expected - found);
            _worst = Math.Max(_worst, double.IsFinite(difference) ? difference : double.PositiveInfinity);
        }
    }
}
