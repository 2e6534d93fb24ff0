// Tests of the run verb's contract: results against the row reference, layouts, types, packed sequences, exit codes.
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
internal sealed class RunVerbTests
{
    private static readonly AttentionShape Shape = new(2, 4, 9, 8)
    {
        KeyHeads = 2,
        ValueHeads = 1,
        KeyLength = 13,
        ValueHeadDim = 5,
    };

    private static readonly long[] QShape = [2, 4, 9, 8];
    private static readonly long[] KShape = [2, 2, 13, 8];
    private static readonly long[] VShape = [2, 1, 13, 5];

    private readonly float[] _q = NormalNumbers.Draw(2 * 4 * 9 * 8, 1);
    private readonly float[] _k = NormalNumbers.Draw(2 * 2 * 13 * 8, 2);
    private readonly float[] _v = NormalNumbers.Draw(2 * 13 * 5, 3);
    private readonly float[] _do = NormalNumbers.Draw(2 * 4 * 9 * 5, 4);
    private readonly float[] _dlse = NormalNumbers.Draw(2 * 4 * 9, 5);
    private ToolRun _tool = null!;

    [SetUp]
    public void MakeFolder() => _tool = new ToolRun();

    [TearDown]
    public void RemoveFolder() => _tool.Dispose();

    [Test]
    public void Features_reach_the_library()
    {
        float[] slopes = [0.5f, 0.25f, 0.125f, 0.0625f];
        float[] sinks = [0, 1, -1, 0.5f];
        Dictionary<string, float[]> results = _tool.RunProblem(
            """{"family":"dense","causal":true,"window":[4,-1],"scale":0.4,"softcap":2}""",
            [
                .. Inputs(ToolRun.Floats),
                ToolRun.Floats("alibi_slopes", [4], slopes),
                ToolRun.Floats("sink_logits", [4], sinks),
            ],
            "--device", "cpu");
        Assert.That((_tool.ExitCode, _tool.Remarks), Is.EqualTo((0, "")));
        DenseOptions options = new()
        {
            Causal = true,
            Window = new AttentionWindow(4, null),
            Scale = 0.4f,
            SoftCap = 2,
        };
        ReferenceData data = new(_q, _k, _v) { AlibiSlopes = slopes, SinkLogits = sinks };
        AssertForward(results, new DenseReference(Shape, options, data), 1e-5);
        Assert.That(results.Keys, Is.EquivalentTo(new[] { "o", "lse" }));
    }

    [Test]
    public void Backward_gives_the_gradients_of_every_input([Values] bool packed)
    {
        float[] sinks = [0, 1, -1, 0.5f];
        long[] oShape = [2, 4, 9, 5];
        OutputTensor[] inputs =
        [
            .. Inputs(ToolRun.Floats),
            ToolRun.Floats("sink_logits", [4], sinks),
            ToolRun.Floats("do", oShape, _do),
            ToolRun.Floats("dlse", [2, 4, 9], _dlse),
        ];
        Dictionary<string, float[]> results = packed
            ? RunEachBatchPacked(inputs)
            : _tool.RunProblem("""{"family":"dense","causal":true,"softcap":3,"backward":true}""", inputs);
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(results.Keys, Is.EquivalentTo(new[] { "o", "lse", "dq", "dk", "dv", "dsink_logits" }));
        ReferenceData data = new(_q, _k, _v) { SinkLogits = sinks, OutputGradient = _do, LseGradient = _dlse };
        DenseReference reference = new(Shape, new DenseOptions { Causal = true, SoftCap = 3, Sinks = true }, data);
        double[] expected = new double[8];
        for (int row = 0; row < results["dq"].Length / 8; ++row)
        {
            reference.QueryGradient(row / 36, row / 9 % 4, row % 9, expected);
            float[] found = results["dq"].AsSpan(row * 8, 8).ToArray();
            Assert.That(found, Is.EqualTo(expected).Within(1e-4), $"dq of row {row}");
        }

        for (int row = 0; row < results["dk"].Length / 8; ++row)
        {
            reference.KeyGradient(row / 26, row / 13 % 2, row % 13, expected);
            float[] found = results["dk"].AsSpan(row * 8, 8).ToArray();
            Assert.That(found, Is.EqualTo(expected).Within(1e-4), $"dk of row {row}");
        }

        expected = new double[5];
        for (int row = 0; row < results["dv"].Length / 5; ++row)
        {
            reference.ValueGradient(row / 13, 0, row % 13, expected);
            float[] found = results["dv"].AsSpan(row * 5, 5).ToArray();
            Assert.That(found, Is.EqualTo(expected).Within(1e-4), $"dv of row {row}");
        }
    }

    [Test]
    public void Gradient_of_the_bias_has_its_shape_and_sums_over_what_is_broadcast()
    {
        float[] Run(long batches, long heads)
        {
            long count = batches * heads * 9 * 13;
            return _tool.RunProblem(
                """{"family":"dense","backward":true}""",
                [
                    .. Inputs(ToolRun.Floats),
                    ToolRun.Floats("bias", [batches, heads, 9, 13], new float[count]),
                    ToolRun.Floats("do", [2, 4, 9, 5], _do),
                ])["dbias"];
        }

        float[] each = Run(2, 4);
        float[] all = Run(1, 1);
        Assert.That(each, Has.Length.EqualTo(2 * 4 * 9 * 13));
        float[] summed = new float[9 * 13];
        for (int i = 0; i < each.Length; ++i)
        {
            summed[i % summed.Length] += each[i];
        }

        Assert.That(all, Is.EqualTo(summed).Within(1e-4f));
        Assert.That(summed.Max(MathF.Abs), Is.GreaterThan(0.01f));
    }

    [Test]
    public void Top_left_alignment_reaches_the_library()
    {
        Dictionary<string, float[]> results = _tool.RunProblem(
            """{"family":"dense","causal":true,"causal_alignment":"top_left"}""", Inputs(ToolRun.Floats));
        DenseOptions options = new() { Causal = true, CausalAlignment = CausalAlignment.TopLeft };
        AssertForward(results, new DenseReference(Shape, options, new ReferenceData(_q, _k, _v)), 1e-5);
    }

    [Test]
    public void Zero_scale_means_zero()
    {
        Dictionary<string, float[]> results =
            _tool.RunProblem("""{"family":"dense","scale":0}""", Inputs(ToolRun.Floats));
        Assert.That(results["lse"], Is.All.EqualTo(MathF.Log(13)).Within(1e-6f));
    }

    [Test]
    public void Bias_is_added_and_broadcast()
    {
        float[] bias = new float[4 * 9 * 13];
        bias.AsSpan().Fill(0.25f);
        OutputTensor[] inputs = [.. Inputs(ToolRun.Floats), ToolRun.Floats("bias", [1, 4, 9, 13], bias)];
        float[] withBias = _tool.RunProblem("""{"family":"dense"}""", inputs)["lse"];
        float[] without = _tool.RunProblem("""{"family":"dense"}""", Inputs(ToolRun.Floats))["lse"];
        Assert.That(withBias, Is.EqualTo(without.Select(static lse => lse + 0.25f)).Within(1e-5f));
    }

    [Test]
    public void Bshd_layout_gives_the_same_results_transposed()
    {
        float[] expected = _tool.RunProblem("""{"family":"dense","causal":true}""", Inputs(ToolRun.Floats))["o"];
        Dictionary<string, float[]> results = _tool.RunProblem(
            """{"family":"dense","causal":true,"layout":"bshd"}""",
            [
                ToolRun.Floats("q", [2, 9, 4, 8], Transpose(_q, 4, 9, 8)),
                ToolRun.Floats("k", [2, 13, 2, 8], Transpose(_k, 2, 13, 8)),
                ToolRun.Floats("v", [2, 13, 1, 5], Transpose(_v, 1, 13, 5)),
            ]);
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(results["o"], Is.EqualTo(Transpose(expected, 4, 9, 5)));
        using SafetensorsReader reader = SafetensorsReader.Open(_tool.At("out.safetensors"));
        Assert.That(reader.Tensors["o"].Shape, Is.EqualTo(new long[] { 2, 9, 4, 5 }));
        Assert.That(reader.Tensors["lse"].Shape, Is.EqualTo(new long[] { 2, 4, 9 }));
    }

    [Test]
    public void F64_runs_as_f32_and_outputs_are_f32()
    {
        float[] single = _tool.RunProblem("""{"family":"dense"}""", Inputs(ToolRun.Floats))["o"];
        Assert.That(_tool.RunProblem("""{"family":"dense"}""", Inputs(ToolRun.Doubles))["o"], Is.EqualTo(single));
        using SafetensorsReader reader = SafetensorsReader.Open(_tool.At("out.safetensors"));
        Assert.That(reader.Tensors.Values.Select(static entry => entry.Dtype), Is.All.EqualTo(TensorDtype.F32));
    }

    [Test]
    public void Dtype_casts_the_inputs()
    {
        float[] stored = _tool.RunProblem("""{"family":"dense"}""", Inputs(ToolRun.Halves))["o"];
        float[] cast = _tool.RunProblem("""{"family":"dense"}""", Inputs(ToolRun.Floats), "--dtype", "f16")["o"];
        float[] single = _tool.RunProblem("""{"family":"dense"}""", Inputs(ToolRun.Floats))["o"];
        float[] brain = _tool.RunProblem("""{"family":"dense"}""", Inputs(ToolRun.Floats), "--dtype", "bf16")["o"];
        Assert.That(cast, Is.EqualTo(stored));
        Assert.That(cast, Is.Not.EqualTo(single));
        Assert.That(cast, Is.EqualTo(single).Within(5e-3f));
        Assert.That(brain, Is.Not.EqualTo(cast));
        Assert.That(brain, Is.EqualTo(single).Within(4e-2f));
    }

    [Test]
    public void Threads_and_targets_are_obeyed([Values("1", "2", "64")] string threads)
    {
        float[] expected = _tool.RunProblem(
            """{"family":"dense"}""", Inputs(ToolRun.Floats), "--cpu-target", "scalar")["o"];
        float[] found = _tool.RunProblem(
            """{"family":"dense"}""", Inputs(ToolRun.Floats), "--cpu-target", "scalar", "--threads", threads)["o"];
        Assert.That(found, Is.EqualTo(expected));
        string used = threads == "1" ? ", 1 thread;" : $", {threads} threads;";
        Assert.That(_tool.Remarks, Does.Contain("scalar").And.Contain(used));
    }

    [Test]
    public void Packed_sequences_are_separate([Values] bool wide)
    {
        AttentionShape packed = new(1, 2, 12, 4) { KeyLength = 12 };
        float[] q = NormalNumbers.Draw(2 * 12 * 4, 6);
        float[] k = NormalNumbers.Draw(2 * 12 * 4, 7);
        float[] v = NormalNumbers.Draw(2 * 12 * 4, 8);
        OutputTensor[] lengths = wide
            ? [ToolRun.WideIndices("cu_seqlens_q", 0, 5, 5, 11), ToolRun.WideIndices("cu_seqlens_k", 0, 4, 6, 12)]
            : [ToolRun.Indices("cu_seqlens_q", 0, 5, 5, 11), ToolRun.Indices("cu_seqlens_k", 0, 4, 6, 12)];
        long[] shape = [1, 2, 12, 4];
        Dictionary<string, float[]> results = _tool.RunProblem(
            """{"family":"dense","causal":true}""",
            [ToolRun.Floats("q", shape, q), ToolRun.Floats("k", shape, k), ToolRun.Floats("v", shape, v), .. lengths]);
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);

        // The last sequence alone: queries 5..10, keys 6..11.
        AttentionShape alone = packed with { QueryLength = 6, KeyLength = 6 };
        DenseReference reference = new(
            alone, new DenseOptions { Causal = true }, new ReferenceData(Cut(q, 5), Cut(k, 6), Cut(v, 6)));
        double[] expected = new double[4];
        for (int head = 0; head < 2; ++head)
        {
            double lse = reference.Forward(0, head, 3, expected);
            int row = (head * 12) + 5 + 3;
            Assert.That(results["lse"][row], Is.EqualTo(lse).Within(1e-5));
            Assert.That(results["o"].AsSpan(row * 4, 4).ToArray(), Is.EqualTo(expected).Within(1e-5));
            Assert.That(results["lse"][(head * 12) + 11], Is.EqualTo(float.NegativeInfinity), "belongs to no sequence");
            Assert.That(results["o"][((head * 12) + 11) * 4], Is.Zero);
            Assert.That(results["lse"][head * 12], Is.EqualTo(float.NegativeInfinity), "5 queries, 4 keys: sees none");
        }
    }

    [Test]
    public void A_terminal_shows_what_is_being_done()
    {
        _tool.IsInteractive = true;
        _tool.RunProblem(
            """{"family":"dense","backward":true}""",
            [.. Inputs(ToolRun.Floats), ToolRun.Floats("do", [2, 4, 9, 5], _do)], "--device", "cpu");
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(
            _tool.Remarks,
            Does.Match("(?s)reading q.*reading v.*computing the output.*reading do.*computing gradients.*writing "));
        Assert.That(_tool.Results, Is.Empty);
    }

    [Test]
    public void Auto_says_which_device_on_the_remark_stream()
    {
        _tool.RunProblem("""{"family":"dense"}""", Inputs(ToolRun.Floats), "--device", "auto");
        Assert.That(_tool.ExitCode, Is.Zero);
        Assert.That(_tool.Remarks, Does.StartWith("device: cpu"));
        Assert.That(_tool.Results, Is.Empty);
    }

    [TestCase("""{"family":"dense","causal":0}""", 2, "causal")]
    [TestCase("""{"family":"dense"}""", 2, "--dtype is \"f8\"", "--dtype", "f8")]
    [TestCase("""{"family":"dense"}""", 2, "--device is \"gpu\"", "--device", "gpu")]
    [TestCase("""{"family":"dense"}""", 2, "--device is \"cuda:x\"", "--device", "cuda:x")]
    [TestCase("""{"family":"dense"}""", 3, "cuda", "--device", "cuda")]
    [TestCase("""{"family":"dense"}""", 3, "cuda:1", "--device", "cuda:1")]
    [TestCase("""{"family":"dense"}""", 2, "--threads is \"0\"", "--threads", "0")]
    [TestCase("""{"family":"dense"}""", 2, "--threads is \"two\"", "--threads", "two")]
    [TestCase("""{"family":"dense"}""", 2, "--cpu-target is \"sse\"", "--cpu-target", "sse")]
    [TestCase("""{"family":"dense"}""", 3, "neon", "--cpu-target", "neon")]
    [TestCase("""{"family":"dense"}""", 2, "--color", "--color")]
    public void Refusals_have_their_exit_code_and_one_line(
        string problem, int exitCode, string reason, params string[] options)
    {
        _tool.RunProblem(problem, Inputs(ToolRun.Floats), options);
        Assert.That(_tool.ExitCode, Is.EqualTo(exitCode));
        Assert.That(_tool.Remarks.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Where(static line => !line.StartsWith("device: ", StringComparison.Ordinal)).ToArray(),
            Has.Length.EqualTo(1).And.All.Contains(reason));
        Assert.That(File.Exists(_tool.At("out.safetensors")), Is.False);
    }

    [TestCase("dense", "extra", "which dense does not know")]
    [TestCase("k", "", "lacks the tensor \"k\"")]
    [TestCase("k", "k[2,2,13,7]", "tensor \"k\" has shape [2, 2, 13, 7]; expected B = 2 and D = 8")]
    [TestCase("k", "k[2,5,13,8]", "expected 1 to 4 heads")]
    [TestCase("k", "k[2,0,13,8]", "expected 1 to 4 heads")]
    [TestCase("v", "v[2,1,12,5]", "expected B = 2 as in q and Lk = 13")]
    [TestCase("q", "q[4,9,8]", "expected [B, H, L, D]")]
    [TestCase("", "bias[1,4,9,12]", "expected [2 or 1, 4 or 1, 9, 13]")]
    [TestCase("", "alibi_slopes[3]", "expected [Hq], here [4]")]
    [TestCase("", "dlse[2,9,4]", "expected [B, Hq, Lq], here [2, 4, 9]")]
    [TestCase("", "cu_seqlens_q[3]", "need both cu_seqlens_q and cu_seqlens_k")]
    public void Tensors_that_do_not_fit_are_refused(string removed, string added, string reason)
    {
        List<OutputTensor> inputs = [.. Inputs(ToolRun.Floats).Where(tensor => tensor.Name != removed)];
        if (added.Length > 0)
        {
            string name = added.Split('[')[0];
            long[] shape = added.Contains('[', StringComparison.Ordinal)
                ? [.. added[(name.Length + 1)..^1].Split(',').Select(long.Parse)]
                : [1];
            float[] values = new float[shape.Aggregate(1L, static (product, extent) => product * extent)];
            inputs.Add(name.StartsWith("cu", StringComparison.Ordinal)
                ? ToolRun.Indices(name, new int[values.Length])
                : ToolRun.Floats(name, shape, values));
        }

        _tool.RunProblem("""{"family":"dense"}""", [.. inputs]);
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain(reason));
    }

    [Test]
    public void Backward_needs_the_gradient_of_the_output()
    {
        _tool.RunProblem("""{"family":"dense","backward":true}""", Inputs(ToolRun.Floats));
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Is.EqualTo(
            $"fattn: {_tool.At("in.safetensors")} lacks the tensor \"do\"; \"backward\": true needs it\n"));
    }

    [Test]
    public void Types_must_agree()
    {
        OutputTensor[] mixed = [Inputs(ToolRun.Floats)[0], Inputs(ToolRun.Halves)[1], Inputs(ToolRun.Floats)[2]];
        _tool.RunProblem("""{"family":"dense"}""", mixed);
        Assert.That(_tool.Remarks, Does.Contain("tensor \"k\" is F16, q is F32"));
        OutputTensor[] wrongIndices =
        [
            .. Inputs(ToolRun.Floats),
            ToolRun.Floats("cu_seqlens_q", [2], [0, 1]),
            ToolRun.Indices("cu_seqlens_k", 0, 1),
        ];
        _tool.RunProblem("""{"family":"dense"}""", wrongIndices);
        Assert.That(_tool.Remarks, Does.Contain("expected I32 or I64"));
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
    }

    [Test]
    public void Packed_sequences_have_a_bias_and_its_gradient_in_their_own_rows_and_columns()
    {
        const string Problem = """{"family":"dense","backward":true}""";
        float[] q = NormalNumbers.Draw(2 * 12 * 4, 6), k = NormalNumbers.Draw(2 * 12 * 4, 7);
        float[] v = NormalNumbers.Draw(2 * 12 * 4, 8), gradient = NormalNumbers.Draw(2 * 12 * 4, 9);
        float[] bias = NormalNumbers.Draw(2 * 2 * 6 * 6, 10);
        Dictionary<string, float[]> packed = _tool.RunProblem(
            Problem,
            [
                .. Tensors([1, 2, 12, 4], q, k, v, gradient), ToolRun.Floats("bias", [2, 2, 6, 6], bias),
                ToolRun.Indices("cu_seqlens_q", 0, 5, 11), ToolRun.Indices("cu_seqlens_k", 0, 6, 12),
            ]);
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);

        // The last sequence alone: queries 5..10, keys 6..11.
        Dictionary<string, float[]> alone = _tool.RunProblem(
            Problem,
            [
                .. Tensors([1, 2, 6, 4], Cut(q, 5), Cut(k, 6), Cut(v, 6), Cut(gradient, 5)),
                ToolRun.Floats("bias", [1, 2, 6, 6], bias[72..]),
            ]);
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(Cut(packed["o"], 5), Is.EqualTo(alone["o"]).Within(1e-5f));
        Assert.That(Cut(packed["dk"], 6), Is.EqualTo(alone["dk"]).Within(1e-5f));
        Assert.That(packed["dbias"], Has.Length.EqualTo(bias.Length));
        Assert.That(packed["dbias"][72..], Is.EqualTo(alone["dbias"]).Within(1e-5f));

        _tool.RunProblem(
            Problem,
            [
                .. Tensors([1, 2, 12, 4], q, k, v, gradient), ToolRun.Floats("bias", [1, 2, 12, 12], new float[288]),
                ToolRun.Indices("cu_seqlens_q", 0, 5, 11), ToolRun.Indices("cu_seqlens_k", 0, 6, 12),
            ]);
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(
            _tool.Remarks, Does.Contain("\"bias\" has shape [1, 2, 12, 12]; expected [2 or 1, 2 or 1, 6, 6]"));

        static OutputTensor[] Tensors(long[] shape, float[] q, float[] k, float[] v, float[] gradient) =>
        [
            ToolRun.Floats("q", shape, q), ToolRun.Floats("k", shape, k), ToolRun.Floats("v", shape, v),
            ToolRun.Floats("do", shape, gradient),
        ];
    }

    [TestCase(new[] { 1, 5 }, "holds 1 at position 0; expected 0..0")]
    [TestCase(new[] { 0, 5, 4 }, "holds 4 at position 2; expected 5..12")]
    [TestCase(new[] { 0, 13 }, "holds 13 at position 1; expected 0..12")]
    public void Faulty_sequence_starts_are_refused(int[] starts, string reason)
    {
        long[] shape = [1, 2, 12, 4];
        float[] zeros = new float[2 * 12 * 4];
        _tool.RunProblem("""{"family":"dense"}""",
        [
            ToolRun.Floats("q", shape, zeros), ToolRun.Floats("k", shape, zeros), ToolRun.Floats("v", shape, zeros),
            ToolRun.Indices("cu_seqlens_q", starts), ToolRun.Indices("cu_seqlens_k", new int[starts.Length]),
        ]);
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain(reason));
    }

    [Test]
    public void Missing_files_are_bad_input()
    {
        _tool.Run("run", _tool.At("no.json"), "--input", "x", "--output", "y");
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain("does not exist"));
        _tool.RunProblem("""{"family":"dense"}""", Inputs(ToolRun.Floats), "--output", "twice");
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        string output = _tool.At(Path.Combine("no", "out.safetensors"));
        _tool.Run("run", _tool.At("problem.json"), "--input", _tool.At("in.safetensors"), "--output", output);
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain("folder does not exist"));
    }

    private OutputTensor[] Inputs(Func<string, long[], float[], OutputTensor> make) =>
        [make("q", QShape, _q), make("k", KShape, _k), make("v", VShape, _v)];

    private static void AssertForward(Dictionary<string, float[]> results, DenseReference reference, double tolerance)
    {
        double[] expected = new double[Shape.ValueHeadDim];
        for (int row = 0; row < results["lse"].Length; ++row)
        {
            double lse = reference.Forward(row / 36, row / 9 % 4, row % 9, expected);
            Assert.That(results["lse"][row], Is.EqualTo(lse).Within(tolerance), $"lse of row {row}");
            float[] found = results["o"].AsSpan(row * expected.Length, expected.Length).ToArray();
            Assert.That(found, Is.EqualTo(expected).Within(tolerance), $"o of row {row}");
        }
    }

    // The same problem as one packed sequence for each batch entry, its results put back in place.
    private Dictionary<string, float[]> RunEachBatchPacked(OutputTensor[] inputs)
    {
        Dictionary<string, (int Tokens, int Width)> sizes = new()
        {
            ["q"] = (9, 8), ["k"] = (13, 8), ["v"] = (13, 5), ["do"] = (9, 5), ["dlse"] = (9, 1),
            ["o"] = (9, 5), ["lse"] = (9, 1), ["dq"] = (9, 8), ["dk"] = (13, 8), ["dv"] = (13, 5),
        };
        Dictionary<string, float[]> tensors = new()
        {
            ["q"] = _q, ["k"] = _k, ["v"] = _v, ["do"] = _do, ["dlse"] = _dlse,
        };
        List<OutputTensor> packed =
            [ToolRun.Indices("cu_seqlens_q", 0, 9, 18), ToolRun.Indices("cu_seqlens_k", 0, 13, 26)];
        foreach (OutputTensor input in inputs)
        {
            packed.Add(sizes.TryGetValue(input.Name, out (int Tokens, int Width) size)
                ? ToolRun.Floats(
                    input.Name,
                    [1, input.Shape[1], 2 * size.Tokens, .. input.Shape[3..]],
                    Transpose(tensors[input.Name], 2, (int)input.Shape[1], size.Tokens * size.Width))
                : input);
        }

        Dictionary<string, float[]> results = _tool.RunProblem(
            """{"family":"dense","causal":true,"softcap":3,"backward":true}""", [.. packed]);
        foreach (string name in results.Keys.Where(sizes.ContainsKey).ToArray())
        {
            (int tokens, int width) = sizes[name];
            float[] result = results[name];
            results[name] = Transpose(result, result.Length / (2 * tokens * width), 2, tokens * width);
        }

        return results;
    }

    // [B, heads, tokens, width] to [B, tokens, heads, width].
    private static float[] Transpose(float[] tensor, int heads, int tokens, int width)
    {
        float[] result = new float[tensor.Length];
        for (int row = 0; row < tensor.Length / width; ++row)
        {
            int batch = row / (heads * tokens);
            int head = row / tokens % heads;
            int token = row % tokens;
            int target = (((batch * tokens) + token) * heads) + head;
            tensor.AsSpan(row * width, width).CopyTo(result.AsSpan(target * width));
        }

        return result;
    }

    // Six tokens of both heads of a [1, 2, 12, 4] tensor.
    private static float[] Cut(float[] tensor, int first) =>
        [.. tensor.AsSpan(first * 4, 24), .. tensor.AsSpan((12 + first) * 4, 24)];
}
