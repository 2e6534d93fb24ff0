// Tests of the run verb with lightning problems: results against the row reference, layouts, refusals.
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
internal sealed class LightningRunTests
{
    private delegate void RowOf(long batch, long head, long row, Span<double> values);

    private static readonly AttentionShape Shape = AttentionShape.Gqa(2, 4, 2, 11, 6) with { ValueHeadDim = 5 };

    private static readonly float[] Slopes = [0, 0.1f, 0.5f, 3];

    private readonly float[] _q = NormalNumbers.Draw(2 * 4 * 11 * 6, 1);
    private readonly float[] _k = NormalNumbers.Draw(2 * 2 * 11 * 6, 2);
    private readonly float[] _v = NormalNumbers.Draw(2 * 2 * 11 * 5, 3);
    private readonly float[] _do = NormalNumbers.Draw(2 * 4 * 11 * 5, 4);
    private readonly float[] _initialState = NormalNumbers.Draw(2 * 4 * 6 * 5, 5);
    private readonly float[] _finalGradient = NormalNumbers.Draw(2 * 4 * 6 * 5, 6);
    private ToolRun _tool = null!;

    [SetUp]
    public void MakeFolder() => _tool = new ToolRun();

    [TearDown]
    public void RemoveFolder() => _tool.Dispose();

    [Test]
    public void Results_are_those_of_the_definition()
    {
        Dictionary<string, float[]> results = _tool.RunProblem(
            """{"family":"lightning","scale":0.4,"backward":true}""",
            [
                .. Inputs(),
                ToolRun.Floats("do", [2, 4, 11, 5], _do),
                ToolRun.Floats("initial_state", [2, 4, 6, 5], _initialState),
                ToolRun.Floats("d_final_state", [2, 4, 6, 5], _finalGradient),
            ],
            "--device", "cpu");
        Assert.That((_tool.ExitCode, _tool.Remarks), Is.EqualTo((0, "")));
        Assert.That(
            results.Keys, Is.EquivalentTo(new[] { "o", "final_state", "dq", "dk", "dv", "d_initial_state" }));
        var data = new ReferenceData(_q, _k, _v)
        {
            OutputGradient = _do,
            InitialState = _initialState,
            FinalStateGradient = _finalGradient,
        };
        var reference = new LightningReference(Shape, Slopes, 0.4f, data);
        Compare(results["o"], 4, 5, (batch, head, token, row) => reference.Forward(batch, head, token, row));
        Compare(results["dq"], 4, 6, reference.QueryGradient);
        Compare(results["dk"], 2, 6, reference.KeyGradient);
        Compare(results["dv"], 2, 5, reference.ValueGradient);
        double[] state = new double[30];
        for (int index = 0; index < 8; ++index)
        {
            reference.FinalState(index / 4, index % 4, state);
            Assert.That(
                results["final_state"].Skip(index * 30).Take(30), Is.EqualTo(state).Within(2e-5), $"state {index}");
        }
    }

    [Test]
    public void Without_states_the_sequence_begins_with_zeros_and_no_gradient_of_it_is_written()
    {
        Dictionary<string, float[]> results = _tool.RunProblem(
            """{"family":"lightning","backward":true}""", [.. Inputs(), ToolRun.Floats("do", [2, 4, 11, 5], _do)]);
        Assert.That(results.Keys, Is.EquivalentTo(new[] { "o", "final_state", "dq", "dk", "dv" }));
        var reference = new LightningReference(Shape, Slopes, null, new ReferenceData(_q, _k, _v));
        Compare(results["o"], 4, 5, (batch, head, token, row) => reference.Forward(batch, head, token, row));
    }

    [Test]
    public void Tokens_may_come_before_heads()
    {
        float[] expected = _tool.RunProblem("""{"family":"lightning"}""", Inputs())["o"];
        float[] found = _tool.RunProblem(
            """{"family":"lightning","layout":"bshd"}""",
            [
                ToolRun.Floats("q", [2, 11, 4, 6], TokensFirst(_q, 4, 6)),
                ToolRun.Floats("k", [2, 11, 2, 6], TokensFirst(_k, 2, 6)),
                ToolRun.Floats("v", [2, 11, 2, 5], TokensFirst(_v, 2, 5)),
                ToolRun.Floats("slopes", [4], Slopes),
            ])["o"];
        Assert.That(found, Is.EqualTo(TokensFirst(expected, 4, 5)));
    }

    [TestCase("slopes", 3L, "tensor \"slopes\" has shape [3]; expected [Hq], here [4]")]
    [TestCase("initial_state", 7L, "tensor \"initial_state\" has shape [7]; expected [B, Hq, D, Dv]")]
    [TestCase("bias", 2L, "which lightning does not know")]
    public void Tensors_that_do_not_fit_are_bad_input(string name, long length, string reason)
    {
        OutputTensor[] inputs = [.. Inputs().Where(tensor => tensor.Name != name)];
        _tool.RunProblem(
            """{"family":"lightning"}""", [.. inputs, ToolRun.Floats(name, [length], new float[length])]);
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain(reason));
    }

    [Test]
    public void A_negative_slope_is_refused()
    {
        _tool.RunProblem(
            """{"family":"lightning"}""", [.. Inputs()[..3], ToolRun.Floats("slopes", [4], [0, 0, -1, 0])]);
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain("slopes[2] is -1"));
    }

    [Test]
    public void There_is_no_schedule_to_draw()
    {
        File.WriteAllText(_tool.At("problem.json"), """{"family":"lightning"}""");
        _tool.Run("draw", _tool.At("problem.json"), "--output", _tool.At("mask.png"), "--q-len", "64");
        Assert.That(_tool.ExitCode, Is.EqualTo(3));
        Assert.That(_tool.Remarks, Does.Contain("family lightning has no schedule to draw"));
    }

    private OutputTensor[] Inputs() =>
    [
        ToolRun.Floats("q", [2, 4, 11, 6], _q),
        ToolRun.Floats("k", [2, 2, 11, 6], _k),
        ToolRun.Floats("v", [2, 2, 11, 5], _v),
        ToolRun.Floats("slopes", [4], Slopes),
    ];

    private static void Compare(float[] found, int heads, int width, RowOf row)
    {
        double[] expected = new double[width];
        for (int index = 0; index < 2 * heads * 11; ++index)
        {
            row(index / (heads * 11), index / 11 % heads, index % 11, expected);
            Assert.That(found.Skip(index * width).Take(width), Is.EqualTo(expected).Within(2e-5), $"row {index}");
        }
    }

    private static float[] TokensFirst(float[] tensor, int heads, int width)
    {
        float[] turned = new float[tensor.Length];
        for (int row = 0; row < tensor.Length / width; ++row)
        {
            int batch = row / (heads * 11), head = row / 11 % heads, token = row % 11;
            tensor.AsSpan(row * width, width).CopyTo(turned.AsSpan(((((batch * 11) + token) * heads) + head) * width));
        }

        return turned;
    }
}
