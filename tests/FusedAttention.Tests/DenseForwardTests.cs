// Forward runs against the definition, one test for each thing that options and shapes can ask for.
using System;
using System.Collections.Generic;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class DenseForwardTests
{
    private static readonly AttentionShape Small = new(2, 4, 37, 24);
    private static readonly AttentionShape Uneven = new(2, 6, 19, 40)
    {
        KeyHeads = 3,
        ValueHeads = 2,
        KeyLength = 53,
        ValueHeadDim = 24,
    };

    public static IEnumerable<TestCaseData> Problems()
    {
        yield return Case("plain", Small, new DenseOptions());
        yield return Case("uneven_heads_lengths_and_dims", Uneven, new DenseOptions());
        yield return Case("causal_bottom_right", Uneven, new DenseOptions { Causal = true });
        yield return Case(
            "causal_top_left", Uneven, new DenseOptions { Causal = true, CausalAlignment = CausalAlignment.TopLeft });
        yield return Case(
            "causal_with_rows_that_see_nothing", AttentionShape.CrossAttention(1, 2, 40, 20, 16),
            new DenseOptions { Causal = true });
        yield return Case("window", Small, new DenseOptions { Window = new AttentionWindow(5, 3) });
        yield return Case("window_open_to_the_left", Small, new DenseOptions { Window = new AttentionWindow(null, 2) });
        yield return Case("window_of_one_key", Small, new DenseOptions { Window = new AttentionWindow(0, 0) });
        yield return Case("attention_chunk", Small, new DenseOptions { Causal = true, AttentionChunk = 8 });
        yield return Case("scale", Small, new DenseOptions { Scale = 0.5f });
        yield return Case("scale_of_zero", Small, new DenseOptions { Scale = 0 });
        yield return Case("softcap", Small, new DenseOptions { SoftCap = 1.5f });
        yield return Case("bias_for_all", Small, new DenseOptions { Bias = new BiasOptions() });
        yield return Case("bias_per_head", Small, new DenseOptions { Bias = new BiasOptions { PerHead = true } });
        yield return Case(
            "bias_per_batch_and_head", Small,
            new DenseOptions { Bias = new BiasOptions { PerBatch = true, PerHead = true } });
        yield return Case("mask", Small, new DenseOptions { Mask = new MaskOptions { PerBatch = true } });
        yield return Case("alibi", Uneven, new DenseOptions { Alibi = true, Causal = true });
        yield return Case("sinks", Small, new DenseOptions { Sinks = true, Causal = true });
        yield return Case("sigmoid", Small, new DenseOptions { Weights = AttentionWeights.Sigmoid, SigmoidBias = -3 });
        yield return Case("dropout", Small, new DenseOptions { Dropout = 0.25f });
        var everything = new DenseOptions
        {
            Causal = true,
            Window = new AttentionWindow(30, null),
            SoftCap = 4,
            Bias = new BiasOptions { PerHead = true },
            Mask = new MaskOptions(),
            Alibi = true,
            Sinks = true,
        };
        yield return Case("everything_together", Uneven, everything);
        yield return Case("everything_together_with_dropout", Uneven, everything with { Dropout = 0.1f });
    }

    private static TestCaseData Case(string name, AttentionShape shape, DenseOptions options) =>
        new TestCaseData(shape, options).SetArgDisplayNames(name);

    [TestCaseSource(nameof(Problems))]
    public void Forward_in_float_matches_the_definition(AttentionShape shape, DenseOptions options)
    {
        DenseCase problem = DenseCase.Create<float>(shape, options);
        Expect.Same<float>(problem.Forward<float>(), DenseTruth.Compute(problem));
    }

    [TestCaseSource(nameof(Problems))]
    public void Forward_in_half_matches_the_definition(AttentionShape shape, DenseOptions options)
    {
        DenseCase problem = DenseCase.Create<Half>(shape, options);
        Expect.Same<Half>(problem.Forward<Half>(), DenseTruth.Compute(problem));
    }

    [TestCaseSource(nameof(Problems))]
    public void Forward_in_bfloat16_matches_the_definition(AttentionShape shape, DenseOptions options)
    {
        DenseCase problem = DenseCase.Create<BFloat16>(shape, options);
        Expect.Same<BFloat16>(problem.Forward<BFloat16>(), DenseTruth.Compute(problem));
    }

    [Test]
    public void Packed_sequences_match_the_definition()
    {
        AttentionShape shape = AttentionShape.Packed(4, 2, 50, 61, 32);
        var options = new DenseOptions { Causal = true, Packed = new PackedOptions(4, 30, 40) };
        DenseCase problem = DenseCase.Create<float>(
            shape, options,
            with: c => c.With(cumulativeQueryLengths: [0, 20, 20, 49, 50], cumulativeKeyLengths: [0, 30, 35, 35, 61]));
        Expect.Same<float>(problem.Forward<float>(), DenseTruth.Compute(problem));
    }

    [Test]
    public void Packed_sequences_have_a_bias_and_a_mask_in_their_own_rows_and_columns(
        [Values] bool perSequence, [Values] bool perHead)
    {
        DenseCase problem = PackedPairs(perSequence, perHead);
        DenseResult truth = DenseTruth.Compute(problem);
        Expect.Same<float>(problem.Forward<float>(), truth);

        // The third sequence alone, with its part of the matrices.
        DenseCase alone = DenseCase.Create<float>(
            new AttentionShape(1, 4, 9, 16) { KeyLength = 12 }, problem.Options with { Packed = null });
        Numbers.CopyRows(problem.Query, alone.Query, 24, 11, 9, 16);
        Numbers.CopyRows(problem.Key, alone.Key, 31, 15, 12, 16);
        Numbers.CopyRows(problem.Value, alone.Value, 31, 15, 12, 16);
        CutPairs(problem.Bias, alone.Bias);
        CutPairs(problem.Mask, alone.Mask);
        double[] found = alone.Forward<float>().Output, expected = new double[found.Length];
        Numbers.CopyRows(truth.Output, expected, 24, 11, 9, 16);
        Expect.Near("third sequence", found, expected, Expect.Tolerance<float>());

        // Of matrices of 11 rows and 16 columns the first 9 and 12, of the third sequence where each has its own.
        void CutPairs<TElement>(TElement[] from, TElement[] to)
        {
            int heads = perHead ? 4 : 1;
            for (int row = 0; row < heads * 9; ++row)
            {
                int first = ((((perSequence ? 2 * heads : 0) + (row / 9)) * 11) + (row % 9)) * 16;
                from.AsSpan(first, 12).CopyTo(to.AsSpan(row * 12));
            }
        }
    }

    // Sequences of 11, 0, 9 queries and 15, 0, 12 keys; nobody's are 4 queries and 4 keys at the end.
    private static DenseCase PackedPairs(bool perSequence, bool perHead)
    {
        var options = new DenseOptions
        {
            Packed = new PackedOptions(3, 11, 16),
            Bias = new BiasOptions { PerBatch = perSequence, PerHead = perHead },
            Mask = new MaskOptions { PerBatch = perSequence, PerHead = perHead },
        };
        return DenseCase.Create<float>(
            AttentionShape.Packed(4, 4, 24, 31, 16), options,
            with: c => c.With(cumulativeQueryLengths: [0, 11, 11, 20], cumulativeKeyLengths: [0, 15, 15, 27]));
    }

    [Test]
    public void Key_lengths_cut_the_cache()
    {
        AttentionShape shape = AttentionShape.Decode(3, 4, 2, cacheLength: 64, headDim: 32, newTokens: 2);
        var options = new DenseOptions { Causal = true, KeyLengths = true };
        DenseCase problem = DenseCase.Create<float>(shape, options, with: c => c.With(keyLengths: [2, 64, 33]));
        Expect.Same<float>(problem.Forward<float>(), DenseTruth.Compute(problem));
    }

    [Test]
    public void Pages_are_reached_through_the_block_table()
    {
        var options = new DenseOptions
        {
            Causal = true,
            KeyLengths = true,
            Paging = new PagingOptions(Pages: 9, PageSize: 16, MaxPagesPerSequence: 4),
        };
        AttentionShape shape = AttentionShape.Decode(2, 4, 2, cacheLength: 64, headDim: 32, newTokens: 3);
        DenseCase problem = DenseCase.Create<float>(
            shape, options, with: c => c.With(keyLengths: [40, 17], blockTable: [8, 0, 5, 0, 3, 7, 0, 0]));
        Expect.Same<float>(problem.Forward<float>(), DenseTruth.Compute(problem));
    }

    [Test]
    public void Pages_may_lie_in_another_order()
    {
        var options = new DenseOptions { KeyLengths = true, Paging = new PagingOptions(6, 16, 3) };
        AttentionShape shape = AttentionShape.Decode(2, 4, 2, cacheLength: 48, headDim: 8, newTokens: 2);
        DenseCase problem = DenseCase.Create<float>(
            shape, options, with: c => c.With(keyLengths: [40, 17], blockTable: [5, 0, 2, 1, 4, 0]));

        // Of each page, heads first; then keys and values side by side: [Pages, 2, H, PageSize, D].
        float[] cache = new float[6 * 2 * 2 * 16 * 8];
        for (int row = 0; row < 6 * 16 * 2; ++row)
        {
            (int page, int token, int head) = (row / 32, row / 2 % 16, row % 2);
            int at = ((((page * 4) + head) * 16) + token) * 8;
            problem.Key.AsSpan(row * 8, 8).CopyTo(cache.AsSpan(at));
            problem.Value.AsSpan(row * 8, 8).CopyTo(cache.AsSpan(at + 256));
        }

        var strides = new TensorStrides(Batch: 512, Head: 128, Token: 8);
        using var plan = new DenseAttentionPlan<float>(
            shape with { KeyStrides = strides, ValueStrides = strides }, options);
        float[] output = new float[problem.Query.Length];
        plan.Forward(new DenseForwardArguments<float>
        {
            Query = problem.Query,
            Key = cache,
            Value = cache.AsSpan(256),
            Output = output,
            KeyLengths = problem.KeyLengths,
            BlockTable = problem.BlockTable,
        });
        Assert.That(Numbers.ToDouble<float>(output), Is.EqualTo(problem.Forward<float>().Output));
    }

    [Test]
    public void Position_offsets_shift_causality_alibi_and_dropout([Values(null, 0.2f)] float? dropout)
    {
        AttentionShape shape = AttentionShape.CrossAttention(1, 2, 12, 30, 16);
        var options = new DenseOptions
        {
            Causal = true,
            CausalAlignment = CausalAlignment.TopLeft,
            Alibi = true,
            Dropout = dropout,
        };
        DenseCase problem = DenseCase.Create<float>(
            shape, options, with: c => c.With(queryPositionOffset: 25, keyPositionOffset: 9));
        Expect.Same<float>(problem.Forward<float>(), DenseTruth.Compute(problem));
    }

    [Test]
    public void Decode_over_a_long_cache_matches_the_definition()
    {
        DenseCase problem = DenseCase.Create<float>(AttentionShape.Decode(1, 8, 2, cacheLength: 2100, headDim: 64));
        Expect.Same<float>(problem.Forward<float>(), DenseTruth.Compute(problem));
    }

    [Test]
    public void Bits_of_a_mask_are_read_from_the_lowest_up()
    {
        var options = new DenseOptions { Mask = new MaskOptions { PerHead = true } };
        DenseCase problem = DenseCase.Create<float>(new AttentionShape(1, 2, 32, 16), options);
        byte[] bits = new byte[problem.Mask.Length / 8];
        for (int i = 0; i < problem.Mask.Length; ++i)
        {
            bits[i / 8] |= (byte)(problem.Mask[i] << (i % 8));
        }

        using var plan = new DenseAttentionPlan<float>(
            problem.Shape, new DenseOptions { Mask = new MaskOptions { PerHead = true, Format = MaskFormat.Bits } });
        float[] output = new float[problem.Query.Length];
        plan.Forward(new DenseForwardArguments<float>
        {
            Query = problem.Query,
            Key = problem.Key,
            Value = problem.Value,
            Output = output,
            Mask = bits,
        });
        Expect.Near(
            "output", Numbers.ToDouble<float>(output), DenseTruth.Compute(problem).Output, Expect.Tolerance<float>());
    }

    [Test]
    public void Bias_may_have_the_type_of_the_queries()
    {
        var options = new DenseOptions { Bias = new BiasOptions() };
        DenseCase problem = DenseCase.Create<Half>(new AttentionShape(1, 2, 20, 16), options);
        using var plan = new DenseAttentionPlan<Half>(
            problem.Shape, new DenseOptions { Bias = new BiasOptions { SameTypeAsQuery = true } });
        var output = new Half[problem.Query.Length];
        plan.Forward(new DenseForwardArguments<Half>
        {
            Query = Numbers.From<Half>(problem.Query),
            Key = Numbers.From<Half>(problem.Key),
            Value = Numbers.From<Half>(problem.Value),
            Output = output,
            Bias = Numbers.From<Half>(problem.Bias),
        });
        Expect.Near(
            "output", Numbers.ToDouble<Half>(output), DenseTruth.Compute(problem).Output, Expect.Tolerance<Half>());
    }

    [Test]
    public void Output_may_be_float_for_half_inputs()
    {
        DenseCase problem = DenseCase.Create<Half>(new AttentionShape(1, 2, 20, 16));
        using var plan = new DenseAttentionPlan<Half>(problem.Shape, new DenseOptions { Float32Output = true });
        float[] output = new float[problem.Query.Length];
        plan.Forward(
            Numbers.From<Half>(problem.Query), Numbers.From<Half>(problem.Key), Numbers.From<Half>(problem.Value),
            TensorOut<Half>.Float32(output));
        Expect.Near(
            "output", Numbers.ToDouble<float>(output), DenseTruth.Compute(problem).Output, Expect.Tolerance<Half>());
    }

    [Test]
    public void Empty_extents_are_legal(
        [Values(0, 3)] long batch, [Values(0, 5)] long queries, [Values(0, 4)] long keys)
    {
        AttentionShape shape = AttentionShape.CrossAttention(batch, 2, queries, keys, 8);
        DenseCase problem = DenseCase.Create<float>(shape);
        Expect.Same<float>(problem.Forward<float>(), DenseTruth.Compute(problem));
    }
}
