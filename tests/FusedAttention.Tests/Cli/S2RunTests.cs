// Tests of the run and draw verbs for S2 problems: results against the row reference, fields, errors.
using System;
using System.Collections.Generic;
using FusedAttention.Cli.Measuring;
using FusedAttention.Cli.Reference;
using FusedAttention.Cli.Safetensors;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class S2RunTests
{
    private static readonly AttentionShape Shape = new(2, 4, 9, 8)
    {
        KeyHeads = 2,
        ValueHeads = 2,
        KeyLength = 23,
        ValueHeadDim = 5,
    };

    private readonly float[] _q = NormalNumbers.Draw(2 * 4 * 9 * 8, 1);
    private readonly float[] _k = NormalNumbers.Draw(2 * 2 * 23 * 8, 2);
    private readonly float[] _v = NormalNumbers.Draw(2 * 2 * 23 * 5, 3);
    private readonly float[] _do = NormalNumbers.Draw(2 * 4 * 9 * 5, 4);
    private readonly float[] _dlse = NormalNumbers.Draw(2 * 4 * 9, 5);
    private ToolRun _tool = null!;

    public static IEnumerable<TestCaseData> Problems()
    {
        yield return Case("defaults", "", new S2Pattern(4, 1, 3));
        yield return Case(
            "per_query_head", ""","pattern_heads":"query","head_offset":1,"dense_heads":1""",
            new S2Pattern(4, 1, 3) { PerQueryHead = true, HeadOffset = 1, DenseHeads = 1 });
        yield return Case("homogeneous", ""","homogeneous":true""", new S2Pattern(4, 1, 3) { Homogeneous = true });
        yield return Case("two_sided", ""","causal":false""", new S2Pattern(4, 1, 3) { Causal = false });
    }

    private static TestCaseData Case(string name, string fields, object pattern) =>
        new TestCaseData(fields, pattern).SetArgDisplayNames(name);

    [SetUp]
    public void MakeFolder() => _tool = new ToolRun();

    [TearDown]
    public void RemoveFolder() => _tool.Dispose();

    [TestCaseSource(nameof(Problems))]
    public void Results_are_those_of_the_pattern(string fields, object pattern)
    {
        Dictionary<string, float[]> results = _tool.RunProblem(
            Problem(fields + ""","backward":true"""), Inputs(), "--device", "cpu");
        Assert.That((_tool.ExitCode, _tool.Remarks), Is.EqualTo((0, "")));
        Assert.That(results.Keys, Is.EquivalentTo(new[] { "o", "lse", "dq", "dk", "dv" }));
        ReferenceData data = new(_q, _k, _v) { OutputGradient = _do, LseGradient = _dlse };
        BlockReference reference = new(Shape, BlockPattern.S2(Shape, (S2Pattern)pattern), null, data);
        double[] row = new double[8];
        double[] valueRow = new double[5];
        for (int i = 0; i < 2 * 4 * 9; ++i)
        {
            double lse = reference.Forward(i / 36, i / 9 % 4, i % 9, valueRow);
            Assert.That(results["lse"][i], Is.EqualTo(lse).Within(1e-5), $"lse of row {i}");
            AssertRow(results["o"], i, valueRow, "o");
            reference.QueryGradient(i / 36, i / 9 % 4, i % 9, row);
            AssertRow(results["dq"], i, row, "dq");
        }

        for (int j = 0; j < 2 * 2 * 23; ++j)
        {
            reference.KeyGradient(j / 46, j / 23 % 2, j % 23, row);
            AssertRow(results["dk"], j, row, "dk");
            reference.ValueGradient(j / 46, j / 23 % 2, j % 23, valueRow);
            AssertRow(results["dv"], j, valueRow, "dv");
        }
    }

    [Test]
    public void More_dense_heads_than_heads_are_refused()
    {
        _ = _tool.RunProblem(Problem(""","dense_heads":3"""), Inputs());
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain("\"dense_heads\" is 3; expected an integer in 0..2, the heads of k"));
        _ = _tool.RunProblem(Problem(""","pattern_heads":"query","dense_heads":4"""), Inputs());
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
    }

    [Test]
    public void Drawing_shows_a_map_for_each_pattern()
    {
        System.IO.File.WriteAllText(_tool.At("problem.json"), Problem(""));
        _tool.Run(
            "draw", _tool.At("problem.json"), "--output", _tool.At("mask.png"), "--kv-len", "32", "--heads", "4",
            "--kv-heads", "2");
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(_tool.Results, Does.Contain("heads 0-1").And.Contain("heads 2-3"));
        Assert.That(System.IO.File.Exists(_tool.At("mask.png")), Is.True);
    }

    private static string Problem(string fields) =>
        $$"""{"family":"s2","block_size":4,"local_blocks":1,"vertical_stride":3{{fields}}}""";

    private static void AssertRow(float[] found, int row, double[] expected, string name) => Assert.That(
        found.AsSpan(row * expected.Length, expected.Length).ToArray(), Is.EqualTo(expected).Within(1e-4),
        $"{name} of row {row}");

    private OutputTensor[] Inputs() =>
    [
        ToolRun.Floats("q", [2, 4, 9, 8], _q),
        ToolRun.Floats("k", [2, 2, 23, 8], _k),
        ToolRun.Floats("v", [2, 2, 23, 5], _v),
        ToolRun.Floats("do", [2, 4, 9, 5], _do),
        ToolRun.Floats("dlse", [2, 4, 9], _dlse),
    ];
}
