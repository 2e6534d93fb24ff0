// Backward runs against the definition's gradients, and what a backward run may leave out.
using System;
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class DenseBackwardTests
{
    private static readonly AttentionShape Small = new(2, 4, 29, 24);
    private static readonly AttentionShape Uneven = new(2, 6, 17, 32)
    {
        KeyHeads = 3,
        ValueHeads = 2,
        KeyLength = 41,
        ValueHeadDim = 16,
    };

    public static IEnumerable<TestCaseData> Problems()
    {
        yield return Case("plain", Small, new DenseOptions());
        yield return Case("uneven_heads_lengths_and_dims", Uneven, new DenseOptions { Causal = true });
        yield return Case(
            "rows_that_see_nothing", AttentionShape.CrossAttention(1, 2, 30, 14, 16),
            new DenseOptions { Causal = true });
        yield return Case("window", Small, new DenseOptions { Window = new AttentionWindow(4, 2) });
        yield return Case("softcap", Small, new DenseOptions { SoftCap = 2 });
        yield return Case("bias_for_all", Small, new DenseOptions { Bias = new BiasOptions() });
        yield return Case(
            "bias_per_batch_and_head", Small,
            new DenseOptions { Bias = new BiasOptions { PerBatch = true, PerHead = true } });
        yield return Case("mask", Small, new DenseOptions { Mask = new MaskOptions { PerHead = true } });
        yield return Case("alibi_and_sinks", Small, new DenseOptions { Alibi = true, Sinks = true, Causal = true });
        yield return Case("sigmoid", Small, new DenseOptions { Weights = AttentionWeights.Sigmoid, SigmoidBias = -2 });
        yield return Case("dropout", Small, new DenseOptions { Dropout = 0.25f });
    }

    private static TestCaseData Case(string name, AttentionShape shape, DenseOptions options) =>
        new TestCaseData(shape, options).SetArgDisplayNames(name);

    [TestCaseSource(nameof(Problems))]
    public void Gradients_in_float_match_the_definition(AttentionShape shape, DenseOptions options)
    {
        DenseCase problem = DenseCase.Create<float>(shape, options);
        Expect.Same<float>(problem.ForwardBackward<float>(), DenseTruth.Compute(problem), withGradients: true);
    }

    [TestCaseSource(nameof(Problems))]
    public void Gradients_in_half_match_the_definition(AttentionShape shape, DenseOptions options)
    {
        DenseCase problem = DenseCase.Create<Half>(shape, options);
        Expect.Same<Half>(problem.ForwardBackward<Half>(), DenseTruth.Compute(problem), withGradients: true);
    }

    [TestCaseSource(nameof(Problems))]
    public void Gradients_in_bfloat16_match_the_definition(AttentionShape shape, DenseOptions options)
    {
        DenseCase problem = DenseCase.Create<BFloat16>(shape, options);
        Expect.Same<BFloat16>(problem.ForwardBackward<BFloat16>(), DenseTruth.Compute(problem), withGradients: true);
    }

    [Test]
    public void Packed_sequences_have_the_gradients_of_the_definition()
    {
        var options = new DenseOptions { Causal = true, Packed = new PackedOptions(3, 20, 25) };
        DenseCase problem = DenseCase.Create<float>(
            AttentionShape.Packed(4, 2, 30, 40, 16), options,
            with: c => c.With(cumulativeQueryLengths: [0, 18, 18, 30], cumulativeKeyLengths: [0, 15, 20, 40]));
        Expect.Same<float>(problem.ForwardBackward<float>(), DenseTruth.Compute(problem), withGradients: true);
    }

    [Test]
    public void Packed_sequences_have_a_gradient_of_their_bias([Values] bool perSequence, [Values] bool perHead)
    {
        var options = new DenseOptions
        {
            Causal = true,
            Packed = new PackedOptions(3, 11, 16),
            Bias = new BiasOptions { PerBatch = perSequence, PerHead = perHead },
            Mask = new MaskOptions { PerBatch = perSequence },
        };
        DenseCase problem = DenseCase.Create<float>(
            AttentionShape.Packed(4, 2, 24, 31, 16), options,
            with: c => c.With(cumulativeQueryLengths: [0, 11, 11, 20], cumulativeKeyLengths: [0, 15, 15, 27]));
        DenseResult found = problem.ForwardBackward<float>();
        Expect.Same<float>(found, DenseTruth.Compute(problem), withGradients: true);
        Assert.That(found.GradBias, Has.Some.Not.EqualTo(0.0));
    }

    [Test]
    public void Keys_beyond_their_length_have_no_gradient()
    {
        var options = new DenseOptions { KeyLengths = true };
        DenseCase problem = DenseCase.Create<float>(
            AttentionShape.CrossAttention(2, 2, 9, 32, 16), options, with: c => c.With(keyLengths: [32, 5]));
        DenseResult found = problem.ForwardBackward<float>();
        Expect.Same<float>(found, DenseTruth.Compute(problem), withGradients: true);
        int firstUnseen = ((2 * 32) + 5) * 16;
        Assert.That(found.GradKey.Skip(firstUnseen).Take(27 * 16), Is.All.EqualTo(0));
    }

    [Test]
    public void Gradients_that_are_not_wanted_are_left_out([Values("query", "key", "value")] string wanted)
    {
        DenseCase problem = DenseCase.Create<float>(Small, new DenseOptions { Causal = true });
        DenseResult all = problem.ForwardBackward<float>();
        float[] gradient = new float[problem.Query.Length];
        RunBackward(problem, (ref DenseBackwardArguments<float> arguments) =>
        {
            switch (wanted)
            {
                case "query":
                    arguments.GradQuery = gradient;
                    break;
                case "key":
                    arguments.GradKey = gradient;
                    break;
                default:
                    arguments.GradValue = gradient;
                    break;
            }
        });
        double[] expected = wanted switch { "query" => all.GradQuery, "key" => all.GradKey, _ => all.GradValue };
        Expect.Near(wanted, Numbers.ToDouble<float>(gradient), expected, Expect.Tolerance<float>());
    }

    [Test]
    public void Gradients_may_be_float_for_half_inputs()
    {
        DenseCase problem = DenseCase.Create<Half>(Small, new DenseOptions());
        var options = new DenseOptions { Backward = true, Float32Gradients = true };
        using var plan = new DenseAttentionPlan<Half>(Small, options);
        var output = new Half[problem.Query.Length];
        float[] lse = new float[Small.Batch * Small.QueryHeads * Small.QueryLength];
        plan.Forward(
            Numbers.From<Half>(problem.Query), Numbers.From<Half>(problem.Key), Numbers.From<Half>(problem.Value),
            output, lse);
        float[] gradQuery = new float[problem.Query.Length];
        plan.Backward(new DenseBackwardArguments<Half>
        {
            Query = Numbers.From<Half>(problem.Query),
            Key = Numbers.From<Half>(problem.Key),
            Value = Numbers.From<Half>(problem.Value),
            Output = output,
            Lse = lse,
            GradOutput = Numbers.From<Half>(problem.GradOutput),
            GradLse = problem.GradLse,
            GradQuery = TensorOut<Half>.Float32(gradQuery),
        });
        Expect.Near(
            "gradQuery", Numbers.ToDouble<float>(gradQuery), DenseTruth.Compute(problem).GradQuery,
            Expect.Tolerance<Half>());
    }

    [Test]
    public void The_static_method_gives_the_bits_of_the_plan()
    {
        DenseCase problem = DenseCase.Create<float>(Small, new DenseOptions { Causal = true });
        float[] first = new float[problem.Query.Length], second = new float[problem.Query.Length];
        RunBackward(problem, (ref DenseBackwardArguments<float> a) => a.GradQuery = first);
        RunBackward(problem, (ref DenseBackwardArguments<float> a) => a.GradQuery = second, useStatic: true);
        Assert.That(second, Is.EqualTo(first));
    }

    [Test]
    public void Backward_on_a_plan_made_without_it_throws()
    {
        using var plan = new DenseAttentionPlan<float>(Small);
        Assert.That(
            () => plan.Backward(default(DenseBackwardArguments<float>)),
            Throws.InvalidOperationException.With.Message.Contains(nameof(DenseOptions.Backward)));
    }

    private delegate void Configure(ref DenseBackwardArguments<float> arguments);

    private static void RunBackward(DenseCase problem, Configure configure, bool useStatic = false)
    {
        using var plan = new DenseAttentionPlan<float>(problem.Shape, problem.Options with { Backward = true });
        float[] output = new float[problem.Query.Length];
        float[] lse = new float[problem.GradLse.Length];
        plan.Forward(problem.Query, problem.Key, problem.Value, output, lse);
        var arguments = new DenseBackwardArguments<float>
        {
            Query = problem.Query,
            Key = problem.Key,
            Value = problem.Value,
            Output = output,
            Lse = lse,
            GradOutput = problem.GradOutput,
            GradLse = problem.GradLse,
        };
        configure(ref arguments);
        if (useStatic)
        {
            DenseAttention.Backward(in arguments, problem.Shape, problem.Options);
        }
        else
        {
            plan.Backward(in arguments);
        }
    }
}
