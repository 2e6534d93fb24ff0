// Tests of run and draw with neighborhood problems: results against the row reference, and what is refused.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using FusedAttention.Cli.Measuring;
using FusedAttention.Cli.Reference;
using FusedAttention.Cli.Safetensors;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class NeighborhoodVerbTests
{
    private const string Problem =
        """{"family":"neighborhood","grid":[5,6],"kernel_size":[3,2],"dilation":[1,2],"causal":[true,false]""";

    private static readonly AttentionShape Shape = new(2, 4, 30, 8)
    {
        KeyHeads = 2,
        ValueHeads = 2,
        ValueHeadDim = 5,
    };

    private static readonly AxisWindow[] Axes =
        [new AxisWindow(5, 3, 1, 1, Causal: true), new AxisWindow(6, 2, 1, 2, Causal: false)];

    private readonly float[] _q = NormalNumbers.Draw(2 * 4 * 30 * 8, 1);
    private readonly float[] _k = NormalNumbers.Draw(2 * 2 * 30 * 8, 2);
    private readonly float[] _v = NormalNumbers.Draw(2 * 2 * 30 * 5, 3);
    private readonly float[] _additionalK = NormalNumbers.Draw(2 * 2 * 3 * 8, 4);
    private readonly float[] _additionalV = NormalNumbers.Draw(2 * 2 * 3 * 5, 5);
    private readonly float[] _do = NormalNumbers.Draw(2 * 4 * 30 * 5, 6);
    private readonly float[] _dlse = NormalNumbers.Draw(2 * 4 * 30, 7);
    private ToolRun _tool = null!;

    [SetUp]
    public void MakeFolder() => _tool = new ToolRun();

    [TearDown]
    public void RemoveFolder() => _tool.Dispose();

    [Test]
    public void Run_gives_outputs_and_gradients()
    {
        Dictionary<string, float[]> results = _tool.RunProblem(
            Problem + ""","scale":0.4,"backward":true}""", Inputs(), "--device", "cpu");
        Assert.That((_tool.ExitCode, _tool.Remarks), Is.EqualTo((0, "")));
        Assert.That(results.Keys, Is.EquivalentTo(
            new[] { "o", "lse", "dq", "dk", "dv", "d_additional_k", "d_additional_v" }));
        ReferenceData data = new(_q, _k, _v)
        {
            AdditionalK = _additionalK,
            AdditionalV = _additionalV,
            OutputGradient = _do,
            LseGradient = _dlse,
        };
        NeighborhoodReference reference = new(Shape, Axes, 0.4f, data);
        double[] output = new double[5], key = new double[8];
        for (int row = 0; row < 2 * 4 * 30; ++row)
        {
            (int batch, int head, int token) = (row / 120, row / 30 % 4, row % 30);
            double lse = reference.Forward(batch, head, token, output);
            Assert.That(results["lse"][row], Is.EqualTo(lse).Within(1e-5));
            Assert.That(Row(results["o"], row, 5), Is.EqualTo(output).Within(1e-5));
            reference.QueryGradient(batch, head, token, key);
            Assert.That(Row(results["dq"], row, 8), Is.EqualTo(key).Within(1e-4));
        }

        // Token 30 + e is additional key e.
        for (int head = 0; head < 4; ++head)
        {
            for (int token = 0; token < 33; ++token)
            {
                int row = token < 30 ? (head * 30) + token : (head * 3) + token - 30;
                string suffix = token < 30 ? "" : "_additional_";
                reference.KeyGradient(head / 2, head % 2, token, key);
                Assert.That(Row(results[$"d{suffix}k"], row, 8), Is.EqualTo(key).Within(1e-4));
                reference.ValueGradient(head / 2, head % 2, token, output);
                Assert.That(Row(results[$"d{suffix}v"], row, 5), Is.EqualTo(output).Within(1e-4));
            }
        }
    }

    [TestCase("additional_v", "", "lacks the tensor \"additional_v\"")]
    [TestCase("additional_k", "additional_k[2,2,3,7]", "additional_k\" has shape [2, 2, 3, 7]; expected that of k")]
    [TestCase("additional_v", "additional_v[2,2,4,5]", "expected that of v with the tokens of additional_k")]
    [TestCase("v", "v[2,1,30,5]", "expected 2 heads as in k")]
    [TestCase("q", "q[2,4,29,8]", "expected 30 tokens as in grid [5, 6]")]
    [TestCase("", "bias[1,1,30,30]", "which neighborhood does not know")]
    public void Tensors_that_do_not_fit_are_refused(string removed, string added, string reason)
    {
        List<OutputTensor> inputs = [.. Inputs().Where(tensor => tensor.Name != removed)];
        if (added.Length > 0)
        {
            string[] parts = added.TrimEnd(']').Split('[');
            long[] shape = [.. parts[1].Split(',').Select(long.Parse)];
            inputs.Add(ToolRun.Floats(parts[0], shape, new float[shape.Aggregate((a, b) => a * b)]));
        }

        _tool.RunProblem(Problem + "}", [.. inputs]);
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain(reason));
    }

    [Test]
    public void Draw_shows_the_patches()
    {
        File.WriteAllText(_tool.At("problem.json"), Problem + "}");
        _tool.Run("draw", _tool.At("problem.json"), "--output", _tool.At("mask.png"));
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(
            _tool.Results, Does.Contain("neighborhood 5x6 window 3x2 dilation 1x2 causal along axis 0 in patch order, 30 queries"));
        Assert.That(new FileInfo(_tool.At("mask.png")).Length, Is.Positive);
        _tool.Run("draw", _tool.At("problem.json"), "--output", _tool.At("mask.png"), "--q-len", "7");
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain("30 tokens of the problem's grid"));
    }

    private OutputTensor[] Inputs() =>
    [
        ToolRun.Floats("q", [2, 4, 30, 8], _q),
        ToolRun.Floats("k", [2, 2, 30, 8], _k),
        ToolRun.Floats("v", [2, 2, 30, 5], _v),
        ToolRun.Floats("additional_k", [2, 2, 3, 8], _additionalK),
        ToolRun.Floats("additional_v", [2, 2, 3, 5], _additionalV),
        ToolRun.Floats("do", [2, 4, 30, 5], _do),
        ToolRun.Floats("dlse", [2, 4, 30], _dlse),
    ];

    private static float[] Row(float[] tensor, int row, int width) => tensor.AsSpan(row * width, width).ToArray();
}
