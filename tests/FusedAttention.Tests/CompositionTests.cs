// Mechanisms that are no option of a plan but come of its calls: each composition that native/notes/0073-mechanisms.md
// names, against its formula.
using System;
using System.Linq;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class CompositionTests
{
    private const int Rows = 7, Keys = 11, Dim = 4;
    private static readonly AttentionShape Shape = new(1, 1, Rows, Dim) { KeyLength = Keys };

    private float[] _query = [], _key = [], _value = [];

    [SetUp]
    public void Draw()
    {
        var random = new Random(11);
        _query = Numbers.Normal<float>(random, Rows * Dim);
        _key = Numbers.Normal<float>(random, Keys * Dim);
        _value = Numbers.Normal<float>(random, Keys * Dim);
    }

    [Test]
    public void Column_sums_of_weights_are_a_gradient()
    {
        AttentionShape shape = Shape with { ValueHeadDim = 1 };
        float[] ones = [.. Enumerable.Repeat(1f, Keys)], output = new float[Rows], lse = new float[Rows];
        float[] sums = new float[Keys];
        using var plan = new DenseAttentionPlan<float>(shape, new DenseOptions { Backward = true });
        plan.Forward(_query, _key, ones, output, lse);
        plan.Backward(new DenseBackwardArguments<float>
        {
            Query = _query,
            Key = _key,
            Value = ones,
            Output = output,
            Lse = lse,
            GradOutput = ones.AsSpan(0, Rows),
            GradValue = sums,
        });
        double[,] weights = Softmax(Scores());
        Near(sums, j => Sum(Rows, i => weights[i, j]));
    }

    [Test]
    public void Weights_of_chosen_keys_are_the_output_of_values_that_name_them()
    {
        int[] chosen = [2, 9];
        AttentionShape shape = Shape with { ValueHeadDim = chosen.Length };
        float[] names = new float[Keys * chosen.Length], output = new float[Rows * chosen.Length];
        for (int n = 0; n < chosen.Length; ++n)
        {
            names[(chosen[n] * chosen.Length) + n] = 1;
        }

        DenseAttention.Forward<float>(_query, _key, names, output, shape);
        double[,] weights = Softmax(Scores());
        Near(output, at => weights[at / chosen.Length, chosen[at % chosen.Length]]);
    }

    [Test]
    public void A_bias_per_key_is_one_row_of_bias()
    {
        float[] bias = Numbers.Normal<float>(new Random(2), Keys), output = new float[Rows * Dim];
        var options = new DenseOptions { Bias = new BiasOptions { Strides = new TensorStrides(0, 0, 0) } };
        using var plan = new DenseAttentionPlan<float>(Shape, options);
        plan.Forward(new DenseForwardArguments<float>
        {
            Query = _query,
            Key = _key,
            Value = _value,
            Output = output,
            Bias = bias,
        });
        NearAttention(output, Softmax(Scores((_, j) => bias[j])));
    }

    [Test]
    public void Some_keys_count_less_when_their_part_is_merged_with_a_smaller_lse()
    {
        const double Share = 0.25;
        (float[] sinks, float[] sinksLse) = Part(j => j < 3);
        (float[] others, float[] othersLse) = Part(j => j >= 3);
        float[] scaled = [.. sinksLse.Select(lse => (float)(lse + Math.Log(Share)))], output = new float[Rows * Dim];
        AttentionMerge.Merge<float>(sinks, scaled, others, othersLse, output, default, Shape);
        NearAttention(output, Softmax(Scores((_, j) => j < 3 ? Math.Log(Share) : 0)));
    }

    [Test]
    public void Factors_of_weights_that_are_not_normalised_again_are_two_calls()
    {
        static double Factor(int i, int j) => Math.Exp(-0.1 * (i - j) * (i - j));
        float[] bias = [.. Enumerable.Range(0, Rows * Keys).Select(at => (float)Math.Log(Factor(at / Keys, at % Keys)))];
        float[] output = new float[Rows * Dim], lse = new float[Rows], plainLse = new float[Rows];
        using var biased = new DenseAttentionPlan<float>(Shape, new DenseOptions { Bias = new BiasOptions() });
        biased.Forward(new DenseForwardArguments<float>
        {
            Query = _query,
            Key = _key,
            Value = _value,
            Output = output,
            Lse = lse,
            Bias = bias,
        });
        DenseAttention.Forward<float>(_query, _key, _value, new float[Rows * Dim], Shape, lse: plainLse);
        double[,] weights = Softmax(Scores());
        for (int at = 0; at < output.Length; ++at)
        {
            output[at] *= MathF.Exp(lse[at / Dim] - plainLse[at / Dim]);
        }

        Near(output, at => Sum(Keys, j => weights[at / Dim, j] * Factor(at / Dim, j) * _value[(j * Dim) + (at % Dim)]));
    }

    [Test]
    public void Without_a_scale_a_mask_takes_means()
    {
        static bool Same(int i, int j) => i % 3 == j % 3;
        byte[] mask = [.. Enumerable.Range(0, Rows * Keys).Select(at => Same(at / Keys, at % Keys) ? (byte)1 : (byte)0)];
        float[] output = new float[Rows * Dim];
        using var plan = new DenseAttentionPlan<float>(
            Shape, new DenseOptions { Scale = 0, Mask = new MaskOptions() });
        plan.Forward(new DenseForwardArguments<float>
        {
            Query = _query,
            Key = _key,
            Value = _value,
            Output = output,
            Mask = mask,
        });
        NearAttention(output, Softmax(Scores((i, j) => Same(i, j) ? 0 : double.NegativeInfinity, scale: 0)));
    }

    [Test]
    public void Weights_of_a_table_alone_are_the_attention_free_transformer()
    {
        // y = sum_j e^(w_ij + k_jd) v_jd / sum_j e^(w_ij + k_jd) for each d: two columns of values, divided afterwards.
        float[] table = Numbers.Normal<float>(new Random(4), Rows * Keys), values = new float[Keys * 2 * Dim];
        for (int j = 0; j < Keys; ++j)
        {
            for (int d = 0; d < Dim; ++d)
            {
                float weight = MathF.Exp(_key[(j * Dim) + d]);
                values[(j * 2 * Dim) + d] = weight * _value[(j * Dim) + d];
                values[(j * 2 * Dim) + Dim + d] = weight;
            }
        }

        float[] sums = new float[Rows * 2 * Dim];
        var options = new DenseOptions { Scale = 0, Bias = new BiasOptions() };
        using var plan = new DenseAttentionPlan<float>(Shape with { ValueHeadDim = 2 * Dim }, options);
        plan.Forward(new DenseForwardArguments<float>
        {
            Query = _query,
            Key = _key,
            Value = values,
            Output = sums,
            Bias = table,
        });
        float[] output =
            [.. Enumerable.Range(0, Rows * Dim).Select(at => Column(at, 0) / Column(at, Dim))];
        Near(output, at => Weighted(at, j => _value[(j * Dim) + (at % Dim)]) / Weighted(at, _ => 1));

        float Column(int at, int shift) => sums[(at / Dim * 2 * Dim) + shift + (at % Dim)];
        double Weighted(int at, Func<int, double> value) => Sum(
            Keys, j => Math.Exp(table[(at / Dim * Keys) + j] + (double)_key[(j * Dim) + (at % Dim)]) * value(j));
    }

    [Test]
    public void Blocks_of_one_token_are_lists_of_tokens_for_each_query()
    {
        static bool Listed(int i, int j) => ((i * 5) + (j * 3)) % 4 == 1;
        byte[] lists =
            [.. Enumerable.Range(0, Rows * Keys).Select(at => Listed(at / Keys, at % Keys) ? (byte)1 : (byte)0)];
        float[] output = new float[Rows * Dim];
        var options = new PermutedBlockOptions { BlockSize = 1, SegmentSize = Keys, Causal = false };
        using var plan = new PermutedBlockAttentionPlan<float>(Shape, options);
        plan.Forward(_query, _key, _value, output, blockMask: lists);
        NearAttention(output, Softmax(Scores((i, j) => Listed(i, j) ? 0 : double.NegativeInfinity)));
    }

    [Test]
    public void Learned_features_are_made_before_the_call()
    {
        var shape = new AttentionShape(1, 1, Rows, 2 * Dim) { ValueHeadDim = Dim };
        float[] key = _key[..(Rows * Dim)], value = _value[..(Rows * Dim)], output = new float[Rows * Dim];
        LightningAttention.Forward<float>(
            Pairs(_query), Pairs(key), value, [0.25f], output, shape, new LightningOptions { Normalize = true });
        Near(output, at => Weighted(at, u => value[(u * Dim) + (at % Dim)]) / Weighted(at, _ => 1));

        // The features of Hedgehog with W = 1: e^x and e^-x.
        static float[] Pairs(float[] rows) =>
        [
            .. Enumerable.Range(0, rows.Length / Dim).SelectMany(row => Enumerable.Range(0, 2 * Dim).Select(
                d => MathF.Exp((d < Dim ? 1 : -1) * rows[(row * Dim) + (d % Dim)]))),
        ];
        double Weighted(int at, Func<int, double> of) => Sum((at / Dim) + 1, u => of(u) * Math.Exp(
            -0.25 * ((at / Dim) - u)) * Sum(
            2 * Dim, d => (double)Pairs(_query)[(at / Dim * 2 * Dim) + d] * Pairs(key)[(u * 2 * Dim) + d]));
    }

    [Test]
    public void Sums_over_tokens_of_products_of_features_are_a_final_state()
    {
        // What attention over channels needs: Q^T K, [D, D].
        float[] state = new float[Dim * Dim];
        float[] key = _key[..(Rows * Dim)];
        LightningAttention.Forward<float>(
            _query, _query, key, [0f], new float[Rows * Dim], new AttentionShape(1, 1, Rows, Dim), finalState: state);
        Near(state, at => Sum(Rows, t => (double)_query[(t * Dim) + (at / Dim)] * key[(t * Dim) + (at % Dim)]));
    }

    [Test]
    public void Heads_that_are_batch_entries_have_lengths_of_their_own()
    {
        const int Heads = 3;
        int[] lengths = [2, 11, 5];
        var shape = new AttentionShape(Heads, 1, 1, Dim) { KeyLength = Keys };
        var random = new Random(8);
        float[] query = Numbers.Normal<float>(random, Heads * Dim), output = new float[Heads * Dim];
        float[] key = Numbers.Normal<float>(random, Heads * Keys * Dim);
        float[] value = Numbers.Normal<float>(random, Heads * Keys * Dim);
        using var plan = new DenseAttentionPlan<float>(shape, new DenseOptions { KeyLengths = true });
        plan.Forward(new DenseForwardArguments<float>
        {
            Query = query,
            Key = key,
            Value = value,
            Output = output,
            KeyLengths = lengths,
        });
        for (int head = 0; head < Heads; ++head)
        {
            _query = query[(head * Dim)..((head + 1) * Dim)];
            _key = key[(head * Keys * Dim)..((head + 1) * Keys * Dim)];
            _value = value[(head * Keys * Dim)..((head + 1) * Keys * Dim)];
            double[,] scores = Scores((_, j) => j < lengths[head] ? 0 : double.NegativeInfinity, rows: 1);
            NearAttention(output[(head * Dim)..((head + 1) * Dim)], Softmax(scores));
        }
    }

    private static double Sum(int count, Func<int, double> term) => Enumerable.Range(0, count).Sum(term);

    private static void Near(float[] found, Func<int, double> truth) => Expect.Near(
        "result", Numbers.ToDouble<float>(found), [.. Enumerable.Range(0, found.Length).Select(truth)],
        Expect.Tolerance<float>());

    private static double[,] Softmax(double[,] scores)
    {
        double[,] weights = new double[scores.GetLength(0), Keys];
        for (int i = 0; i < scores.GetLength(0); ++i)
        {
            double sum = Sum(Keys, j => Math.Exp(scores[i, j]));
            for (int j = 0; j < Keys && sum > 0; ++j)
            {
                weights[i, j] = Math.Exp(scores[i, j]) / sum;
            }
        }

        return weights;
    }

    private double[,] Scores(Func<int, int, double>? bias = null, double scale = 0.5, int rows = Rows)
    {
        double[,] scores = new double[rows, Keys];
        for (int i = 0; i < rows; ++i)
        {
            for (int j = 0; j < Keys; ++j)
            {
                scores[i, j] = (bias?.Invoke(i, j) ?? 0)
                    + (scale * Sum(Dim, d => (double)_query[(i * Dim) + d] * _key[(j * Dim) + d]));
            }
        }

        return scores;
    }

    private void NearAttention(float[] output, double[,] weights) => Near(
        output, at => Sum(Keys, j => weights[at / Dim, j] * _value[(j * Dim) + (at % Dim)]));

    /// <summary>Output and LSE over some of the keys.</summary>
    private (float[] Output, float[] Lse) Part(Func<int, bool> isSeen)
    {
        byte[] mask = [.. Enumerable.Range(0, Rows * Keys).Select(at => isSeen(at % Keys) ? (byte)1 : (byte)0)];
        float[] output = new float[Rows * Dim], lse = new float[Rows];
        using var plan = new DenseAttentionPlan<float>(Shape, new DenseOptions { Mask = new MaskOptions() });
        plan.Forward(new DenseForwardArguments<float>
        {
            Query = _query,
            Key = _key,
            Value = _value,
            Output = output,
            Lse = lse,
            Mask = mask,
        });
        return (output, lse);
    }
}
