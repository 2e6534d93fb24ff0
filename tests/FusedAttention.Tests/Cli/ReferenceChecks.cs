// Checks that hold for the row reference of every family: gradients against differences of the loss.
using System;
using FusedAttention.Cli.Reference;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

internal static class ReferenceChecks
{
    private const float Step = 1f / 4096;
    private const double Tolerance = 1e-6;

    /// <summary>The loss is the sum of output and LSE, each times the gradient that the data give for it.</summary>
    /// <param name="shape">Sizes.</param>
    /// <param name="data">Inputs and gradients; perturbed and put back.</param>
    /// <param name="make">Makes the reference anew, as it may keep what it read.</param>
    /// <param name="addition">What a family's loss has beside output and LSE.</param>
    internal static void GradientsMatchDifferences(
        AttentionShape shape, ReferenceData data, Func<ReferenceData, RowReference> make,
        Func<RowReference, double>? addition = null)
    {
        RowReference reference = make(data);
        double[] row = new double[shape.HeadDim];
        double[] valueRow = new double[shape.ValueHeadDim];
        for (int i = 0; i < data.Q.Length; i += 11)
        {
            (long batch, long head, long token) = Split(i / row.Length, shape.QueryHeads, shape.QueryLength);
            reference.QueryGradient(batch, head, token, row);
            AssertSlope(data.Q, i, row[i % row.Length]);
        }

        for (int i = 0; i < data.K.Length; i += 7)
        {
            (long batch, long head, long token) = Split(i / row.Length, shape.KeyHeads, shape.KeyLength);
            reference.KeyGradient(batch, head, token, row);
            AssertSlope(data.K, i, row[i % row.Length]);
        }

        for (int i = 0; i < data.V.Length; i += 5)
        {
            (long batch, long head, long token) = Split(i / valueRow.Length, shape.ValueHeads, shape.KeyLength);
            reference.ValueGradient(batch, head, token, valueRow);
            AssertSlope(data.V, i, valueRow[i % valueRow.Length]);
        }

        if (data.AdditionalK is { } keys && data.AdditionalV is { } values)
        {
            long numAdditional = keys.Length / (shape.Batch * shape.KeyHeads * shape.HeadDim);
            for (int i = 0; i < keys.Length; ++i)
            {
                (long batch, long head, long token) = Split(i / row.Length, shape.KeyHeads, numAdditional);
                reference.KeyGradient(batch, head, shape.KeyLength + token, row);
                AssertSlope(keys, i, row[i % row.Length]);
            }

            for (int i = 0; i < values.Length; ++i)
            {
                (long batch, long head, long token) = Split(i / valueRow.Length, shape.ValueHeads, numAdditional);
                reference.ValueGradient(batch, head, shape.KeyLength + token, valueRow);
                AssertSlope(values, i, valueRow[i % valueRow.Length]);
            }
        }

        void AssertSlope(float[] tensor, int index, double gradient)
        {
            float kept = tensor[index];
            tensor[index] = kept + Step;
            double above = Loss();
            tensor[index] = kept - Step;
            double below = Loss();
            tensor[index] = kept;
            Assert.That(gradient, Is.EqualTo((above - below) / (2 * Step)).Within(Tolerance));
        }

        double Loss()
        {
            RowReference perturbed = make(data);
            return Sum(shape, data, perturbed) + (addition?.Invoke(perturbed) ?? 0);
        }
    }

    private static (long Batch, long Head, long Token) Split(long row, long heads, long tokens) =>
        (row / tokens / heads, row / tokens % heads, row % tokens);

    private static double Sum(AttentionShape shape, ReferenceData data, RowReference reference)
    {
        double loss = 0;
        double[] output = new double[shape.ValueHeadDim];
        for (int row = 0; row < shape.Batch * shape.QueryHeads * shape.QueryLength; ++row)
        {
            (long batch, long head, long token) = Split(row, shape.QueryHeads, shape.QueryLength);
            double lse = reference.Forward(batch, head, token, output);
            loss += double.IsFinite(lse) ? lse * data.LseGradient![row] : 0;
            for (int i = 0; i < output.Length; ++i)
            {
                loss += output[i] * data.OutputGradient![(row * output.Length) + i];
            }
        }

        return loss;
    }
}
