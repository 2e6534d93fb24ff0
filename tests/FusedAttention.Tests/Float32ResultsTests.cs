// Outputs and gradients in float of 16-bit tensors, for the families that derive from dense attention's shapes. Dense
// attention has such tests of its own.
using System;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

/// <remarks>
/// Half numbers are computed in float: where no result is rounded to 16 bits either, they give what the same numbers give
/// as floats. A result that passed through Half would be wrong by a thousand times the tolerance.
/// </remarks>
[TestFixture]
internal sealed class Float32ResultsTests
{
    private static readonly AttentionShape Shape = AttentionShape.Gqa(1, 4, 2, 48, 16);

    private float[] _query = [], _key = [], _value = [], _gradOutput = [];

    [SetUp]
    public void Draw()
    {
        var random = new Random(3);
        _query = Numbers.Normal<Half>(random, 4 * 48 * 16);
        _key = Numbers.Normal<Half>(random, 2 * 48 * 16);
        _value = Numbers.Normal<Half>(random, 2 * 48 * 16);
        _gradOutput = Numbers.Normal<float>(random, 4 * 48 * 16);
    }

    [Test]
    public void Neighborhood() => Same(RunNeighborhood<Half>(), RunNeighborhood<float>());

    [Test]
    public void S2() => Same(RunS2<Half>(), RunS2<float>());

    [Test]
    public void Permuted_block() => Same(RunPermutedBlock<Half>(), RunPermutedBlock<float>());

    [Test]
    public void Lightning() => Same(RunLightning<Half>(), RunLightning<float>());

    private static void Same(Results found, Results expected)
    {
        Near("output", found.Output, expected.Output);
        Near("gradQuery", found.GradQuery, expected.GradQuery);
        Near("gradKey", found.GradKey, expected.GradKey);
        Near("gradValue", found.GradValue, expected.GradValue);
    }

    private static void Near(string name, float[] found, float[] expected)
    {
        Assert.That(expected, Has.Some.Not.Zero, name);
        Expect.Near(
            name, Numbers.ToDouble<float>(found), Numbers.ToDouble<float>(expected), Expect.Tolerance<float>());
    }

    private Results RunNeighborhood<T>()
        where T : unmanaged
    {
        NeighborhoodAxis[] axes = [new(6, 3), new(8, 5)];
        using var plan = new NeighborhoodAttentionPlan<T>(
            Shape, new NeighborhoodOptions(axes) { Backward = true, Float32Output = true, Float32Gradients = true });
        T[] query = Numbers.From<T>(_query), key = Numbers.From<T>(_key), value = Numbers.From<T>(_value);
        Results results = new();
        plan.Forward(query, key, value, TensorOut<T>.Float32(results.Output), results.Lse);
        plan.Backward(new NeighborhoodBackwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = TensorIn<T>.Float32(results.Output),
            Lse = results.Lse,
            GradOutput = TensorIn<T>.Float32(_gradOutput),
            GradQuery = TensorOut<T>.Float32(results.GradQuery),
            GradKey = TensorOut<T>.Float32(results.GradKey),
            GradValue = TensorOut<T>.Float32(results.GradValue),
        });
        return results;
    }

    private Results RunS2<T>()
        where T : unmanaged
    {
        var options = new S2Options
        {
            BlockSize = 4,
            LocalBlocks = 2,
            VerticalStride = 3,
            Backward = true,
            Float32Output = true,
            Float32Gradients = true,
        };
        using var plan = new S2AttentionPlan<T>(Shape, options);
        T[] query = Numbers.From<T>(_query), key = Numbers.From<T>(_key), value = Numbers.From<T>(_value);
        Results results = new();
        plan.Forward(query, key, value, TensorOut<T>.Float32(results.Output), results.Lse);
        plan.Backward(new S2BackwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = TensorIn<T>.Float32(results.Output),
            Lse = results.Lse,
            GradOutput = TensorIn<T>.Float32(_gradOutput),
            GradQuery = TensorOut<T>.Float32(results.GradQuery),
            GradKey = TensorOut<T>.Float32(results.GradKey),
            GradValue = TensorOut<T>.Float32(results.GradValue),
        });
        return results;
    }

    private Results RunPermutedBlock<T>()
        where T : unmanaged
    {
        var options = new PermutedBlockOptions
        {
            BlockSize = 4,
            SegmentSize = 8,
            Coverage = 0.6f,
            Backward = true,
            Float32Output = true,
            Float32Gradients = true,
        };
        using var plan = new PermutedBlockAttentionPlan<T>(Shape, options);
        T[] query = Numbers.From<T>(_query), key = Numbers.From<T>(_key), value = Numbers.From<T>(_value);
        int[] permutation = new int[4 * 48];
        byte[] mask = new byte[4 * 12 * 12];
        plan.Select(query, key, permutation, mask);
        Results results = new();
        plan.Forward(query, key, value, TensorOut<T>.Float32(results.Output), permutation, mask, results.Lse);
        plan.Backward(new PermutedBlockBackwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = TensorIn<T>.Float32(results.Output),
            Lse = results.Lse,
            GradOutput = TensorIn<T>.Float32(_gradOutput),
            Permutation = permutation,
            BlockMask = mask,
            GradQuery = TensorOut<T>.Float32(results.GradQuery),
            GradKey = TensorOut<T>.Float32(results.GradKey),
            GradValue = TensorOut<T>.Float32(results.GradValue),
        });
        return results;
    }

    private Results RunLightning<T>()
        where T : unmanaged
    {
        var options = new LightningOptions { Backward = true, Float32Output = true, Float32Gradients = true };
        using var plan = new LightningAttentionPlan<T>(Shape, options);
        T[] query = Numbers.From<T>(_query), key = Numbers.From<T>(_key), value = Numbers.From<T>(_value);
        float[] slopes = LightningSlopes.OpenNlpLab(4);
        Results results = new();
        plan.Forward(query, key, value, slopes, TensorOut<T>.Float32(results.Output));
        plan.Backward(new LightningBackwardArguments<T>
        {
            Query = query,
            Key = key,
            Value = value,
            Slopes = slopes,
            GradOutput = TensorIn<T>.Float32(_gradOutput),
            GradQuery = TensorOut<T>.Float32(results.GradQuery),
            GradKey = TensorOut<T>.Float32(results.GradKey),
            GradValue = TensorOut<T>.Float32(results.GradValue),
        });
        return results;
    }

    private sealed class Results
    {
        public float[] Output { get; } = new float[4 * 48 * 16];

        public float[] Lse { get; } = new float[4 * 48];

        public float[] GradQuery { get; } = new float[4 * 48 * 16];

        public float[] GradKey { get; } = new float[2 * 48 * 16];

        public float[] GradValue { get; } = new float[2 * 48 * 16];
    }
}
