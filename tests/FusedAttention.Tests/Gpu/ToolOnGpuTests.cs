// The fattn tool on a GPU: run computes there what it computes on the CPU, auto takes it, info tells of it.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;
using FusedAttention.Cli.Safetensors;
using FusedAttention.Tests.Cli;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class ToolOnGpuTests : GpuTest
{
    private const string Problem = """{"family":"dense","causal":true,"backward":true}""";

    [TestCase("f32", Problem)]
    [TestCase("f16", Problem)]
    [TestCase("f16", """{"family":"s2","block_size":4,"local_blocks":1,"vertical_stride":2,"backward":true}""")]
    public void Run_computes_on_the_gpu_what_it_computes_on_the_cpu(string dtype, string problem)
    {
        using ToolRun tool = new();
        Dictionary<string, float[]> expected = tool.RunProblem(problem, Tensors(), "--device", "cpu", "--dtype", dtype);
        Dictionary<string, float[]> found = tool.RunProblem(problem, Tensors(), "--device", "cuda", "--dtype", dtype);
        Assert.That(tool.ExitCode, Is.Zero, tool.Remarks);
        Assert.That(found.Keys, Is.EquivalentTo(expected.Keys));
        foreach (string name in expected.Keys)
        {
            Expect.Near(
                name, Numbers.ToDouble<float>(found[name]), Numbers.ToDouble<float>(expected[name]),
                dtype == "f32" ? 2e-5 : 8e-3);
        }
    }

    [Test]
    public void Auto_takes_the_gpu_for_what_it_supports_and_says_so()
    {
        using ToolRun tool = new();
        _ = tool.RunProblem("""{"family":"dense"}""", Tensors()[..3]);
        Assert.That(tool.Remarks, Does.StartWith("device: cuda:0, ").And.Contain("it supports the problem"));
        _ = tool.RunProblem("""{"family":"dense"}""", Wide());
        Assert.That(
            tool.Remarks, Does.StartWith("device: cpu, ").And.Contain("CUDA: ").And.Contain("head dim is 320"));
    }

    [Test]
    public void What_is_not_there_or_not_supported_ends_with_3()
    {
        using ToolRun tool = new();
        _ = tool.RunProblem(Problem, Tensors(), "--device", "cuda:99");
        Assert.That(tool.ExitCode, Is.EqualTo(3));
        Assert.That(tool.Remarks, Does.Contain("device cuda:99 cannot be used: CUDA device 99 was asked for"));
        _ = tool.RunProblem("""{"family":"dense"}""", Wide(), "--device", "cuda");
        Assert.That(tool.ExitCode, Is.EqualTo(3));
        Assert.That(tool.Remarks, Does.Contain("head dim is 320"));
    }

    [TestCase("f32 s2 d64 s8192 train")]
    [TestCase("permuted_block f16 d64 s8192 train")]
    public void Bench_measures_on_the_gpu_and_tells_what_a_virtual_one_did(string name)
    {
        NeedVirtual(); // where the bench of a GPU takes a second a pass
        using ToolRun tool = new();
        tool.Run("bench", "--device", "cuda", "--tokens", "16", "--filter", name, "--out", tool.At("bench"));
        Assert.That(tool.ExitCode, Is.Zero, tool.Remarks);
        Assert.That(tool.Results, Does.Contain("What its kernels did:").And.Contain("gathered_backward_f"));
        using JsonDocument written = JsonDocument.Parse(File.ReadAllText(Path.Combine(tool.At("bench"), "bench.json")));
        JsonElement[] cases = [.. written.RootElement.GetProperty("cases").EnumerateArray()];
        Assert.That(
            cases.Select(one => one.GetProperty("name").GetString()), Is.EqualTo(new[] { name, name + " backward" }));
        Assert.That(cases.Select(one => one.GetProperty("error").GetDouble()), Is.All.LessThan(0.01));
        Assert.That(cases.Select(one => one.GetProperty("milliseconds").GetDouble()), Is.All.Positive);
        Assert.That(cases.Select(one => one.GetProperty("peak").GetDouble()), Is.All.Positive);
        JsonElement[] kernels =
            [.. written.RootElement.GetProperty("virtual_gpu").GetProperty("kernels").EnumerateArray()];
        JsonElement backward = kernels.First(one => one.GetProperty("name").GetString()!.StartsWith("gathered_backward_f"));
        Assert.That(backward.GetProperty("launches").GetInt64(), Is.Positive);
        JsonElement counts = backward.GetProperty("statistics");
        foreach (string one in new[] { "global_load_bytes", "shared_wavefronts", "tensor_flops", "barrier_waits" })
        {
            Assert.That(counts.GetProperty(one).GetInt64(), Is.Positive, one);
        }

        Assert.That(counts.GetProperty("by_kind").EnumerateObject().Any(static kind => kind.Value.GetInt64() > 0));
    }

    [Test]
    public void Demo_runs_every_family_on_the_gpu_beside_its_peaks()
    {
        NeedVirtual(); // where the sequences of a GPU take minutes, and short ones show the same
        using ToolRun tool = new();
        tool.Run("demo", "--device", "cuda", "--quick", "--tokens", "16", "--out", tool.At("demo"));
        Assert.That(tool.ExitCode, Is.Zero, tool.Remarks);
        Assert.That(tool.Remarks, Does.Not.Contain("is left out"));
        Assert.That(File.Exists(Path.Combine(tool.At("demo"), "schedules.png")));
        using JsonDocument written = JsonDocument.Parse(File.ReadAllText(Path.Combine(tool.At("demo"), "demo.json")));
        JsonElement[] cases = [.. written.RootElement.GetProperty("cases").EnumerateArray()];
        foreach (string one in new[] { "training backward", "2-D window 13x13", "linear, long", "s2 training", "permuted blocks" })
        {
            Assert.That(cases.Select(static entry => entry.GetProperty("name").GetString()), Does.Contain(one));
        }

        Assert.That(cases.Select(one => one.GetProperty("error").GetDouble()), Is.All.LessThan(0.01));
        Assert.That(cases.Select(one => one.GetProperty("peak").GetDouble()), Is.All.Positive);
    }

    [Test]
    public void Info_shows_driver_compiler_and_devices()
    {
        using ToolRun tool = new();
        tool.Run("info");
        Assert.That(tool.ExitCode, Is.Zero);
        Assert.That(
            tool.Results,
            Does.Match(@"device:  cuda:0, .*, compute capability \d+\.\d, \d+ multiprocessors, \d+ MiB")
                .And.Match(@"cuda:    driver \d+\.\d, ").And.Match(@"kernels \d+ images, for \S"));
    }

    private static OutputTensor[] Tensors() => Make(32, "q", "k", "v", "do");

    // No kernel has so long rows.
    private static OutputTensor[] Wide() => Make(320, "q", "k", "v");

    private static OutputTensor[] Make(long dim, params string[] names)
    {
        const int Rows = 2 * 12;
        var random = new Random(3);
        return
        [
            .. names.Select(name => ToolRun.Floats(
                name, [1, 2, 12, dim],
                [.. Enumerable.Range(0, (int)(Rows * dim)).Select(_ => random.NextSingle() - 0.5f)])),
        ];
    }
}
