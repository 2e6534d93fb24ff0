// The run verb's contract for permuted block-sparse problems: selection, given selections, gradients, bad input.
using System;
using System.Collections.Generic;
using System.Linq;
using FusedAttention.Cli.Measuring;
using FusedAttention.Cli.Reference;
using FusedAttention.Cli.Safetensors;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class PermutedBlockRunTests
{
    private const string Problem =
        """{"family":"permuted_block","block_size":4,"segment_size":8,"coverage":0.5,"backward":true}""";

    private static readonly AttentionShape Shape = new(1, 2, 26, 8);
    private static readonly long[] TensorShape = [1, 2, 26, 8];

    private readonly float[] _q = NormalNumbers.Draw(2 * 26 * 8, 1);
    private readonly float[] _k = NormalNumbers.Draw(2 * 26 * 8, 2);
    private readonly float[] _v = NormalNumbers.Draw(2 * 26 * 8, 3);
    private readonly float[] _do = NormalNumbers.Draw(2 * 26 * 8, 4);
    private ToolRun _tool = null!;

    [SetUp]
    public void MakeFolder() => _tool = new ToolRun();

    [TearDown]
    public void RemoveFolder() => _tool.Dispose();

    [Test]
    public void A_selection_is_made_and_written_with_results_that_follow_from_it()
    {
        Dictionary<string, float[]> results = _tool.RunProblem(Problem, [.. Inputs()], "--device", "cpu");
        Assert.That((_tool.ExitCode, _tool.Remarks), Is.EqualTo((0, "")));
        Assert.That(
            results.Keys,
            Is.EquivalentTo(new[] { "o", "lse", "permutation", "block_mask", "dq", "dk", "dv" }));
        int[] permutation = [.. results["permutation"].Select(static token => (int)token)];
        byte[] mask = [.. results["block_mask"].Select(static kept => (byte)kept)];
        BlockReference reference = new(
            Shape, BlockPattern.Given(Shape, 4, true, permutation, mask), null,
            new ReferenceData(_q, _k, _v) { OutputGradient = _do });
        double[] row = new double[8];
        for (int head = 0; head < 2; ++head)
        {
            for (int i = 0; i < 26; ++i)
            {
                double lse = reference.Forward(0, head, i, row);
                int at = (head * 26) + i;
                Assert.That(results["lse"][at], Is.EqualTo(lse).Within(1e-5));
                Assert.That(results["o"].AsSpan(at * 8, 8).ToArray(), Is.EqualTo(row).Within(1e-5));
                reference.QueryGradient(0, head, i, row);
                Assert.That(results["dq"].AsSpan(at * 8, 8).ToArray(), Is.EqualTo(row).Within(1e-5));
                reference.KeyGradient(0, head, i, row);
                Assert.That(results["dk"].AsSpan(at * 8, 8).ToArray(), Is.EqualTo(row).Within(1e-5));
                reference.ValueGradient(0, head, i, row);
                Assert.That(results["dv"].AsSpan(at * 8, 8).ToArray(), Is.EqualTo(row).Within(1e-5));
            }
        }
    }

    [Test]
    public void Half_a_selection_and_lengths_that_do_not_fit_are_bad_input()
    {
        _tool.RunProblem(
            Problem, [.. Inputs(), ToolRun.Floats("permutation", [1, 2, 26], new float[52])], "--device", "cpu");
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        _tool.RunProblem(
            Problem,
            [
                ToolRun.Floats("q", [1, 2, 20, 8], _q[..320]),
                ToolRun.Floats("k", TensorShape, _k),
                ToolRun.Floats("v", TensorShape, _v),
                ToolRun.Floats("do", [1, 2, 20, 8], _do[..320]),
            ],
            "--device", "cpu");
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain("block_size 4"));
    }

    [TestCase("0")]
    [TestCase("0.0")]
    [TestCase("1e-60")]
    public void Coverage_of_zero_is_bad_input_in_one_line(string coverage)
    {
        _tool.RunProblem(
            $$"""{"family":"permuted_block","coverage":{{coverage}}}""", [.. Inputs()[..3]], "--device", "cpu");
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(
            _tool.Remarks,
            Is.EqualTo($"fattn: {_tool.At("problem.json")}: \"coverage\" is 0; expected a number above 0, at most 1\n"));
    }

    private OutputTensor[] Inputs() =>
    [
        ToolRun.Floats("q", TensorShape, _q),
        ToolRun.Floats("k", TensorShape, _k),
        ToolRun.Floats("v", TensorShape, _v),
        ToolRun.Floats("do", TensorShape, _do),
    ];
}
