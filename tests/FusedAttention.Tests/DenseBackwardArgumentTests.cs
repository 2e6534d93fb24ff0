// Wrong arguments of backward runs: each is refused before native code runs, and the message says what is expected.
using System;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class DenseBackwardArgumentTests
{
    private static readonly AttentionShape Shape = new(2, 4, 5, 8) { KeyHeads = 2, ValueHeads = 1, ValueHeadDim = 6 };
    private static readonly DenseOptions Options = new() { Backward = true };

    private delegate void Change(ref DenseBackwardArguments<float> arguments);

    [TestCase("query", 320)]
    [TestCase("key", 160)]
    [TestCase("value", 60)]
    [TestCase("output", 240)]
    [TestCase("lse", 40)]
    [TestCase("gradOutput", 240)]
    [TestCase("gradLse", 40)]
    [TestCase("gradQuery", 320)]
    [TestCase("gradKey", 160)]
    [TestCase("gradValue", 60)]
    public void Lengths_must_be_those_of_the_plan(string name, int expected)
    {
        foreach (int given in new[] { expected - 1, expected + 1 })
        {
            Expect(
                Options, name, $"{name} has {given} elements; the plan expects {expected} for extents [2, ",
                (ref DenseBackwardArguments<float> a) => Set(ref a, name, new float[given]));
        }
    }

    [TestCase("query", "[2, 4, 5, 8]")]
    [TestCase("key", "[2, 2, 5, 8]")]
    [TestCase("value", "[2, 1, 5, 6]")]
    [TestCase("output", "[2, 4, 5, 6]")]
    [TestCase("lse", "[2, 4, 5]")]
    [TestCase("gradOutput", "[2, 4, 5, 6]")]
    public void What_a_gradient_needs_must_be_given(string name, string extents) => Expect(
        Options, name, $"{name} was not given; the plan expects extents {extents}.",
        (ref DenseBackwardArguments<float> a) => Set(ref a, name, null));

    [Test]
    public void Gradients_of_what_was_not_announced_are_refused()
    {
        Expect(
            Options, "gradBias", "gradBias was given, but the plan was made without Bias.",
            (ref DenseBackwardArguments<float> a) => a.GradBias = new float[25]);
        Expect(
            Options, "gradSinkLogits", "gradSinkLogits was given, but the plan was made without Sinks.",
            (ref DenseBackwardArguments<float> a) => a.GradSinkLogits = new float[4]);
    }

    [Test]
    public void Gradients_of_what_was_announced_have_its_extents()
    {
        Expect(
            Options with { Bias = new BiasOptions { PerHead = true } }, "gradBias",
            "gradBias has 25 elements; the plan expects 100 for extents [1, 4, 5, 5]",
            (ref DenseBackwardArguments<float> a) =>
            {
                a.Bias = new float[100];
                a.GradBias = new float[25];
            });
        Expect(
            Options with { Sinks = true }, "gradSinkLogits",
            "gradSinkLogits has 3 elements; the plan expects 4 for extents [4]",
            (ref DenseBackwardArguments<float> a) =>
            {
                a.SinkLogits = new float[4];
                a.GradSinkLogits = new float[3];
            });
    }

    [Test]
    public void Sigmoid_weights_need_neither_output_nor_lse_but_check_what_is_given()
    {
        DenseOptions sigmoid = Options with { Weights = AttentionWeights.Sigmoid };
        using var plan = new DenseAttentionPlan<float>(Shape, sigmoid);
        DenseBackwardArguments<float> arguments = Correct();
        arguments.Output = default;
        arguments.Lse = default;
        arguments.GradLse = default;
        plan.Backward(in arguments);
        Expect(
            sigmoid, "output", "output has 3 elements; the plan expects 240",
            (ref DenseBackwardArguments<float> a) =>
            {
                a.Output = new float[3];
                a.Lse = default;
            });
    }

    private static void Set(ref DenseBackwardArguments<float> arguments, string name, float[]? data)
    {
        switch (name)
        {
            case "query":
                arguments.Query = data;
                break;
            case "key":
                arguments.Key = data;
                break;
            case "value":
                arguments.Value = data;
                break;
            case "output":
                arguments.Output = data;
                break;
            case "lse":
                arguments.Lse = data;
                break;
            case "gradOutput":
                arguments.GradOutput = data;
                break;
            case "gradLse":
                arguments.GradLse = data;
                break;
            case "gradQuery":
                arguments.GradQuery = data;
                break;
            case "gradKey":
                arguments.GradKey = data;
                break;
            case "gradValue":
                arguments.GradValue = data;
                break;
            default:
                throw new ArgumentException(name);
        }
    }

    private static DenseBackwardArguments<float> Correct() => new()
    {
        Query = new float[320],
        Key = new float[160],
        Value = new float[60],
        Output = new float[240],
        Lse = new float[40],
        GradOutput = new float[240],
        GradQuery = new float[320],
    };

    private static void Expect(DenseOptions options, string parameter, string text, Change change)
    {
        using var plan = new DenseAttentionPlan<float>(Shape, options);
        var error = Assert.Throws<ArgumentException>(() =>
        {
            DenseBackwardArguments<float> arguments = Correct();
            change(ref arguments);
            plan.Backward(in arguments);
        });
        Assert.That(error!.ParamName, Is.EqualTo(parameter));
        Assert.That(error.Message, Does.StartWith(text));
    }
}
