// One neighborhood problem with random data, run through the library or as masked dense attention in double precision.
// Used by the neighborhood tests.
using System;
using System.Collections.Generic;
using System.Linq;

namespace FusedAttention.Tests.Support;

/// <summary>Shape, options and all inputs of a problem; tensors in the order [B, H, L, D], contiguous.</summary>
internal sealed class NeighborhoodCase
{
    private const long HeadDim = 12;
    private const long ValueHeadDim = 10;

    private NeighborhoodCase(NeighborhoodOptions options, long batch, long heads)
    {
        Options = options;
        Shape = new AttentionShape(batch, heads, options.Tokens, HeadDim)
        {
            KeyHeads = (heads + 1) / 2,
            ValueHeads = (heads + 1) / 2,
            ValueHeadDim = ValueHeadDim,
        };
    }

    public AttentionShape Shape { get; }

    public NeighborhoodOptions Options { get; }

    public long Rows => Shape.Batch * Shape.QueryHeads * Shape.QueryLength;

    public float[] Query { get; private set; } = [];

    public float[] Key { get; private set; } = [];

    public float[] Value { get; private set; } = [];

    public float[] AdditionalKey { get; private set; } = [];

    public float[] AdditionalValue { get; private set; } = [];

    public float[] GradOutput { get; private set; } = [];

    /// <summary>A problem whose numbers, normal with deviation 1, are exact in <typeparamref name="T"/>.</summary>
    public static NeighborhoodCase Create<T>(NeighborhoodOptions options, long batch = 2, long heads = 3)
        where T : unmanaged
    {
        var made = new NeighborhoodCase(options, batch, heads);
        var random = new Random(7);
        long keyHeads = made.Shape.Batch * made.Shape.KeyHeads;
        made.Query = Numbers.Normal<T>(random, made.Rows * HeadDim);
        made.Key = Numbers.Normal<T>(random, keyHeads * options.Tokens * HeadDim);
        made.Value = Numbers.Normal<T>(random, keyHeads * options.Tokens * ValueHeadDim);
        made.AdditionalKey = Numbers.Normal<T>(random, keyHeads * options.AdditionalKeys * HeadDim);
        made.AdditionalValue = Numbers.Normal<T>(random, keyHeads * options.AdditionalKeys * ValueHeadDim);
        made.GradOutput = Numbers.Normal<T>(random, made.Rows * ValueHeadDim);
        return made;
    }

    /// <summary>The library's forward and backward results.</summary>
    public NeighborhoodResult Run<T>()
        where T : unmanaged
    {
        using var plan = new NeighborhoodAttentionPlan<T>(Shape, Options with { Backward = true });
        T[] query = Numbers.From<T>(Query), key = Numbers.From<T>(Key), value = Numbers.From<T>(Value);
        T[] additionalKey = Numbers.From<T>(AdditionalKey), additionalValue = Numbers.From<T>(AdditionalValue);
        bool hasAdditional = Options.AdditionalKeys > 0;
        var output = new T[Rows * ValueHeadDim];
        float[] lse = new float[Rows];
        plan.Forward(new NeighborhoodForwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = output,
            Lse = lse,
            AdditionalKey = hasAdditional ? additionalKey : default(TensorIn<T>),
            AdditionalValue = hasAdditional ? additionalValue : default(TensorIn<T>),
        });
        var gradQuery = new T[query.Length];
        var gradKey = new T[key.Length];
        var gradValue = new T[value.Length];
        var gradAdditionalKey = new T[additionalKey.Length];
        var gradAdditionalValue = new T[additionalValue.Length];
        plan.Backward(new NeighborhoodBackwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = output,
            Lse = lse,
            GradOutput = Numbers.From<T>(GradOutput),
            AdditionalKey = hasAdditional ? additionalKey : default(TensorIn<T>),
            AdditionalValue = hasAdditional ? additionalValue : default(TensorIn<T>),
            GradQuery = gradQuery,
            GradKey = gradKey,
            GradValue = gradValue,
            GradAdditionalKey = hasAdditional ? gradAdditionalKey : default(TensorOut<T>),
            GradAdditionalValue = hasAdditional ? gradAdditionalValue : default(TensorOut<T>),
        });
        return new NeighborhoodResult
        {
            Forward = new DenseResult
            {
                Output = Numbers.ToDouble<T>(output),
                Lse = Numbers.ToDouble<float>(lse),
                GradQuery = Numbers.ToDouble<T>(gradQuery),
                GradKey = Numbers.ToDouble<T>(gradKey),
                GradValue = Numbers.ToDouble<T>(gradValue),
            },
            GradAdditionalKey = Numbers.ToDouble<T>(gradAdditionalKey),
            GradAdditionalValue = Numbers.ToDouble<T>(gradAdditionalValue),
        };
    }

    /// <summary>The same in double precision: dense attention over all keys under a mask made pair by pair.</summary>
    public NeighborhoodResult Truth()
    {
        long tokens = Options.Tokens, extra = Options.AdditionalKeys;
        byte[] mask = new byte[tokens * (tokens + extra)];
        for (long i = 0, at = 0; i < tokens; ++i)
        {
            for (long j = 0; j < tokens + extra; ++j, ++at)
            {
                mask[at] = j >= tokens || Sees(i, j) ? (byte)1 : (byte)0;
            }
        }

        DenseResult joined = DenseTruth.Compute(DenseCase.Masked(
            Shape with { KeyLength = tokens + extra }, Options.Scale, mask, Query,
            Join(Key, AdditionalKey, HeadDim), Join(Value, AdditionalValue, ValueHeadDim), GradOutput,
            new float[Rows]));
        (double[] key, double[] additionalKey) = Split(joined.GradKey, HeadDim);
        (double[] value, double[] additionalValue) = Split(joined.GradValue, ValueHeadDim);
        joined.GradKey = key;
        joined.GradValue = value;
        return new NeighborhoodResult
        {
            Forward = joined,
            GradAdditionalKey = additionalKey,
            GradAdditionalValue = additionalValue,
        };
    }

    private bool Sees(long query, long key)
    {
        foreach (NeighborhoodAxis axis in Options.Axes.Reverse())
        {
            if (!Sees(axis, query % axis.Extent, key % axis.Extent))
            {
                return false;
            }

            query /= axis.Extent;
            key /= axis.Extent;
        }

        return true;
    }

    private static bool Sees(NeighborhoodAxis axis, long x, long y)
    {
        long group = x % axis.Dilation, i = x / axis.Dilation, j = y / axis.Dilation;
        if (y % axis.Dilation != group)
        {
            return false;
        }

        long length = (axis.Extent - group + axis.Dilation - 1) / axis.Dilation;
        long first = i / axis.Stride * axis.Stride;
        if (axis.Causal)
        {
            long last = Math.Min(first + axis.Stride - 1, length - 1);
            return j <= i && j > last - axis.KernelSize;
        }

        long leader = Math.Min(first + (axis.Stride / 2), length - 1);
        long begin = Math.Clamp(leader - (axis.KernelSize / 2), 0, length - axis.KernelSize);
        return j >= begin && j < begin + axis.KernelSize;
    }

    // The tokens of every head, then its additional ones.
    private float[] Join(float[] grid, float[] additional, long dim)
    {
        List<float> joined = [];
        int size = (int)(Options.Tokens * dim), extra = (int)(Options.AdditionalKeys * dim);
        for (int head = 0; head < Shape.Batch * Shape.KeyHeads; ++head)
        {
            joined.AddRange(grid.AsSpan(head * size, size));
            joined.AddRange(additional.AsSpan(head * extra, extra));
        }

        return [.. joined];
    }

    private (double[] Grid, double[] Additional) Split(double[] joined, long dim)
    {
        List<double> grid = [], additional = [];
        int size = (int)(Options.Tokens * dim), extra = (int)(Options.AdditionalKeys * dim);
        for (int at = 0; at < joined.Length; at += size + extra)
        {
            grid.AddRange(joined.AsSpan(at, size));
            additional.AddRange(joined.AsSpan(at + size, extra));
        }

        return ([.. grid], [.. additional]);
    }
}
