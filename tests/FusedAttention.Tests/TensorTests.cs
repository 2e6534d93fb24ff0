// Arrays, spans, tensor spans and native memory as tensors, contiguous and as views.
using System;
using System.Numerics.Tensors;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class TensorTests
{
    private static readonly AttentionShape Shape = new(2, 3, 11, 8);

    [Test]
    public void Arrays_spans_tensor_spans_and_native_memory_give_the_same_bits()
    {
        DenseCase problem = DenseCase.Create<float>(Shape);
        using var plan = new DenseAttentionPlan<float>(Shape);
        float[] expected = new float[problem.Query.Length], found = new float[problem.Query.Length];
        plan.Forward(problem.Query, problem.Key, problem.Value, expected);

        plan.Forward(problem.Query.AsSpan(), (ReadOnlySpan<float>)problem.Key, problem.Value.AsSpan(), found.AsSpan());
        Assert.That(found, Is.EqualTo(expected));

        nint[] lengths = [2, 3, 11, 8];
        float[] overTensorSpans = new float[found.Length];
        plan.Forward(
            new ReadOnlyTensorSpan<float>(problem.Query, lengths), new TensorSpan<float>(problem.Key, lengths),
            new ReadOnlyTensorSpan<float>(problem.Value, lengths), new TensorSpan<float>(overTensorSpans, lengths));
        Assert.That(overTensorSpans, Is.EqualTo(expected));

        using HostTensor<float> query = new([2, 3, 11, 8]), output = new([2, 3, 11, 8]);
        using var key = new HostBuffer<float>(problem.Key.Length);
        problem.Query.CopyTo(query.AsSpan());
        problem.Key.CopyTo(key.AsSpan());
        plan.Forward(query, key, problem.Value, output);
        Assert.That(output.AsSpan().ToArray(), Is.EqualTo(expected));
    }

    [Test]
    public void Tokens_first_tensors_are_the_same_numbers_in_another_order()
    {
        DenseCase problem = DenseCase.Create<float>(Shape, new DenseOptions { Causal = true });
        using var plan = new DenseAttentionPlan<float>(
            Shape with { Layout = AttentionLayout.TokensFirst }, new DenseOptions { Causal = true });
        float[] output = new float[problem.Query.Length];
        plan.Forward(
            Transpose(problem.Query, 3, 11), Transpose(problem.Key, 3, 11), Transpose(problem.Value, 3, 11), output);
        Assert.That(Transpose(output, 11, 3), Is.EqualTo(Floats(problem.Forward<float>().Output)));
    }

    [Test]
    public void Packed_queries_keys_and_values_are_read_in_place()
    {
        DenseCase problem = DenseCase.Create<float>(Shape);
        const int Batch = 2, Heads = 3, Length = 11, Dim = 8;
        float[] packed = new float[Batch * Length * 3 * Heads * Dim];
        float[][] parts = [problem.Query, problem.Key, problem.Value];
        for (int part = 0; part < 3; ++part)
        {
            float[] tokensFirst = Transpose(parts[part], Heads, Length);
            for (int token = 0; token < Batch * Length; ++token)
            {
                tokensFirst.AsSpan(token * Heads * Dim, Heads * Dim)
                    .CopyTo(packed.AsSpan(((token * 3) + part) * Heads * Dim));
            }
        }

        using var plan = new DenseAttentionPlan<float>(AttentionShape.PackedQkv(Batch, Heads, Length, Dim));
        float[] output = new float[problem.Query.Length];
        plan.Forward(packed, packed.AsSpan(Heads * Dim), packed.AsSpan(2 * Heads * Dim), output);
        Assert.That(Transpose(output, Length, Heads), Is.EqualTo(Floats(problem.Forward<float>().Output)));
    }

    [Test]
    public void Keys_of_one_batch_entry_can_serve_all()
    {
        DenseCase one = DenseCase.Create<float>(Shape with { Batch = 1 });
        using var plan = new DenseAttentionPlan<float>(Shape with
        {
            KeyStrides = new TensorStrides(0, 88, 8),
            ValueStrides = new TensorStrides(0, 88, 8),
        });
        float[] query = [.. one.Query, .. one.Query];
        float[] output = new float[query.Length];
        plan.Forward(query, one.Key, one.Value, output);
        float[] single = Floats(one.Forward<float>().Output);
        Assert.That(output, Is.EqualTo((float[])[.. single, .. single]));
    }

    [Test]
    public void Views_of_native_memory_bring_their_strides()
    {
        DenseCase problem = DenseCase.Create<float>(Shape);
        using var plan = new DenseAttentionPlan<float>(Shape with { QueryStrides = new TensorStrides(600, 200, 16) });
        using var buffer = new HostBuffer<float>(1300);
        HostTensor<float> query = HostTensor<float>.View(buffer, 5, [2, 3, 11, 8], [600, 200, 16, 1]);
        for (int i = 0; i < problem.Query.Length; ++i)
        {
            query[i / 264, i / 88 % 3, i / 8 % 11, i % 8] = problem.Query[i];
        }

        float[] output = new float[problem.Query.Length];
        plan.Forward(query, problem.Key, problem.Value, output);
        Assert.That(output, Is.EqualTo(Floats(problem.Forward<float>().Output)));
    }

    [Test]
    public void A_tensor_of_another_shape_is_refused()
    {
        using var plan = new DenseAttentionPlan<float>(Shape);
        using HostTensor<float> turned = new([2, 11, 3, 8]);
        float[] data = new float[528];
        Assert.That(
            () => plan.Forward(turned, data, data, new float[528]),
            Throws.ArgumentException.With.Message.Contains("query has extents [2, 11, 3, 8]")
                .And.Message.Contains("the plan expects [2, 3, 11, 8]"));
        Assert.That(
            () => plan.Forward(new TensorSpan<float>(data, [6, 11, 8]), data, data, new float[528]),
            Throws.ArgumentException.With.Message.Contains("[6, 11, 8]"));
    }

    [Test]
    public void A_tensor_with_other_strides_is_refused()
    {
        using var plan = new DenseAttentionPlan<float>(Shape);
        using var buffer = new HostBuffer<float>(1056);
        HostTensor<float> spread = HostTensor<float>.View(buffer, 0, [2, 3, 11, 8], [528, 176, 16, 1]);
        float[] data = new float[528];
        Assert.That(
            () => plan.Forward(data, spread, data, new float[528]),
            Throws.ArgumentException.With.Message.Contains("[528, 176, 16, 1]").And.Message.Contains(
                "[264, 88, 8, 1]"));
    }

    [Test]
    public void Strides_of_extents_of_one_do_not_matter()
    {
        var shape = new AttentionShape(1, 1, 4, 8);
        using var plan = new DenseAttentionPlan<float>(shape);
        float[] data = new float[32];
        Assert.That(
            () => plan.Forward(new ReadOnlyTensorSpan<float>(data, [1, 1, 4, 8]), data, data, new float[32]),
            Throws.Nothing);
    }

    [Test]
    public void A_tensor_of_rank_five_is_refused() =>
        Assert.That(
            () => { TensorIn<float> _ = new ReadOnlyTensorSpan<float>(new float[1], [1, 1, 1, 1, 1]); },
            Throws.ArgumentException.With.Message.Contains("rank 5"));

    [Test]
    public void Default_and_null_mean_not_given()
    {
        Assert.That(default(TensorIn<float>).IsDefault && default(TensorOut<float>).IsDefault);
        Assert.That(((TensorIn<float>)(float[]?)null).IsDefault && ((TensorOut<float>)(float[]?)null).IsDefault);
        Assert.That(((TensorIn<float>)(HostTensor<float>?)null).IsDefault);
        Assert.That(((TensorIn<float>)new float[1]).IsDefault || ((TensorOut<float>)new float[1]).IsDefault, Is.False);
    }

    [Test]
    public void An_output_is_an_input_of_the_next_operation()
    {
        DenseCase problem = DenseCase.Create<float>(Shape);
        using var plan = new DenseAttentionPlan<float>(Shape);
        float[] first = new float[528], second = new float[528];
        TensorOut<float> output = first;
        plan.Forward(problem.Query, problem.Key, problem.Value, output);
        Assert.That(() => Chain(plan, problem, first, second), Throws.Nothing);
        Assert.That(second, Is.Not.EqualTo(first).And.Not.All.Zero);
    }

    private static void Chain(DenseAttentionPlan<float> plan, DenseCase problem, float[] first, float[] second)
    {
        TensorOut<float> output = first;
        plan.Forward(output, problem.Key, problem.Value, second);
    }

    private static float[] Floats(double[] values) => Array.ConvertAll(values, x => (float)x);

    // [2, a, b, 8] to [2, b, a, 8].
    private static float[] Transpose(float[] source, int a, int b)
    {
        float[] target = new float[source.Length];
        for (int i = 0; i < source.Length; ++i)
        {
            int d = i % 8, y = i / 8 % b, x = i / 8 / b % a, batch = i / 8 / b / a;
            target[(((((batch * b) + y) * a) + x) * 8) + d] = source[i];
        }

        return target;
    }
}
