// Tests of the tool's other verbs: info, doctor, draw, demo, bench, and those that only say what they need.
using System.IO;
using System.Linq;
using System.Text.Json;
using FusedAttention.Cli;
using FusedAttention.Cli.Families;
using FusedAttention.Cli.Imaging;
using FusedAttention.Cli.Measuring;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class VerbTests
{
    private static readonly string[] Verbs = ["run", "info", "demo", "bench", "tune", "doctor", "denoise", "draw"];

    private ToolRun _tool = null!;

    [SetUp]
    public void MakeFolder() => _tool = new ToolRun();

    [TearDown]
    public void RemoveFolder() => _tool.Dispose();

    [Test]
    public void Help_names_every_verb_and_an_example()
    {
        _tool.Run("--help");
        Assert.That(_tool.ExitCode, Is.Zero);
        Assert.That(_tool.Results, Does.Contain("fattn run problem.json --input in.safetensors"));
        foreach (string verb in Verbs)
        {
            Assert.That(_tool.Results, Does.Contain($"\n  {verb} "));
        }
    }

    [TestCaseSource(nameof(Verbs))]
    public void Every_verb_has_help(string verb)
    {
        _tool.Run(verb, "--help");
        Assert.That(_tool.ExitCode, Is.Zero);
        Assert.That(_tool.Results, Does.Match($@"Usage:\s+\S+ {verb}"));
    }

    [Test]
    public void Help_of_run_tells_each_family_s_fields_tensors_and_results()
    {
        _tool.Run("run", "--help");
        foreach (AttentionFamily family in FamilyRegistry.Available)
        {
            foreach (string help in new[] { family.Name, family.FieldsHelp, family.TensorsHelp, family.ResultsHelp })
            {
                Assert.That(_tool.Results, Does.Contain(help));
            }
        }
    }

    [TestCase("fly", "\"fly\" is neither a verb nor an option here")]
    [TestCase(null, "required command was not provided")]
    public void Command_lines_that_mean_nothing_are_bad_input(string? verb, string reason)
    {
        _tool.Run(verb is null ? [] : [verb]);
        Assert.That((_tool.ExitCode, _tool.Results), Is.EqualTo((2, "")));
        Assert.That(_tool.Remarks, Does.Contain(reason).And.Contain("--help"));
        Assert.That(_tool.Remarks.Count(static c => c == '\n'), Is.EqualTo(1));
    }

    [Test]
    public void Info_and_doctor_name_the_library_and_the_instruction_set()
    {
        string target = DeviceArguments.NameOf(AttentionDevice.Cpu.Describe().Target);
        _tool.Run("info");
        Assert.That(_tool.ExitCode, Is.Zero);
        Assert.That(_tool.Results, Does.Contain($"in use: {target}").And.Contain("ABI 1").And.Contain("CUDA"));
        Assert.That(_tool.Results, Does.Contain($"families: {FamilyRegistry.Describe()}"));
        _tool.Run("doctor");
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Results);
        Assert.That(_tool.Results, Does.Contain($"  {target}: right").And.Contain("  scalar: right"));
        Assert.That(_tool.Results, Does.EndWith("all is well\n"));
    }

    [Test]
    public void Draw_writes_a_picture_and_the_same_map_as_text()
    {
        File.WriteAllText(_tool.At("p.json"), """{"family":"dense","causal":true}""");
        _tool.Run(
            "draw", _tool.At("p.json"), "--output", _tool.At("mask.png"), "--q-len", "1000", "--kv-len", "2000",
            "--device", "cpu");
        Assert.That((_tool.ExitCode, _tool.Remarks), Is.EqualTo((0, "")));
        Raster picture = PngReader.Read(File.ReadAllBytes(_tool.At("mask.png")), "mask.png");
        Assert.That(picture.Width, Is.GreaterThan(200));
        string[] rows =
            [.. _tool.Results.Split('\n').Where(static line => line.Length > 0 && line.All("#+.".Contains))];
        Assert.That(rows[0], Does.StartWith("#").And.EndWith("."));
        Assert.That(rows[^1], Does.Match(@"\+$"));
        Assert.That(_tool.Results, Does.StartWith("head 0: ").And.Contain("# full   + partial   . skipped"));
    }

    [Test]
    public void Draw_takes_sizes_from_a_tensor_file()
    {
        float[] zeros = new float[3 * 50 * 4];
        _tool.RunProblem("""{"family":"dense"}""",
            [.. new[] { "q", "k", "v" }.Select(name => ToolRun.Floats(name, [1, 3, 50, 4], zeros))]);
        _tool.Run(
            "draw", _tool.At("problem.json"), "--output", _tool.At("m.png"), "--input", _tool.At("in.safetensors"));
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(_tool.Results, Does.StartWith("heads 0-2: "));
    }

    [TestCase("--q-len", "0", "--q-len is \"0\"")]
    [TestCase("--kv-len", "many", "--kv-len is \"many\"")]
    public void Draw_refuses_lengths_that_are_none(string option, string value, string reason)
    {
        File.WriteAllText(_tool.At("p.json"), """{"family":"dense"}""");
        _tool.Run("draw", _tool.At("p.json"), "--output", _tool.At("m.png"), option, value);
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain(reason));
    }

    [Test]
    public void Demo_measures_and_leaves_a_table_and_a_picture()
    {
        MeasuredCase[] cases = [.. FamilyRegistry.Available.SelectMany(static family => family.DemoCases(8))];
        _tool.Run("demo", "--quick", "--out", _tool.At("demo"));
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(_tool.Remarks, Does.Contain($"[1/{cases.Length}] full").And.Not.Contain("left out"));
        Assert.That(_tool.Results, Does.Contain("training backward").And.Contain("permuted blocks: selection "));
        Assert.That(_tool.Results.Split('\n').Max(static line => line.Length), Is.LessThanOrEqualTo(140));
        string table = File.ReadAllText(_tool.At("demo/demo.md"));
        Assert.That(table, Does.Contain("| full | f32 | B1 H8 L512 D64 | forward |"));
        Assert.That(PngReader.Read(File.ReadAllBytes(_tool.At("demo/schedules.png")), "x").Height, Is.GreaterThan(200));
        Assert.That(
            Baseline.ReadFile(_tool.At("demo/demo.json")).Keys,
            Is.EquivalentTo(cases.SelectMany(static entry =>
                entry.HasBackward ? new[] { entry.Name, entry.Name + " backward" } : [entry.Name])));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(_tool.At("demo/demo.json")));
        foreach (JsonElement entry in json.RootElement.GetProperty("cases").EnumerateArray())
        {
            double limit = entry.GetProperty("type").ValueEquals("f32") ? 1e-5 : 2e-2;
            Assert.That(entry.GetProperty("error").GetDouble(), Is.GreaterThan(0).And.LessThan(limit), $"{entry}");
            bool selects = entry.GetProperty("name").GetString() is "permuted blocks"
                or "permuted blocks, shared by grouped heads" or "permuted blocks, training";
            Assert.That(entry.TryGetProperty("selection_milliseconds", out JsonElement time), Is.EqualTo(selects));
            if (selects)
            {
                Assert.That(time.GetDouble(), Is.GreaterThan(0), $"{entry}");
                Assert.That(entry.GetProperty("kept_block_share").GetDouble(), Is.InRange(0.01, 0.9), $"{entry}");
                Assert.That(entry.GetProperty("coverage").GetDouble(), Is.InRange(0.9, 1.00001), $"{entry}");
                Assert.That(
                    entry.GetProperty("error_against_dense").GetDouble(), Is.InRange(1e-4, 0.5), $"{entry}");
            }
        }
    }

    [Test]
    public void Bench_compares_with_a_baseline()
    {
        _tool.Run("bench", "--filter", "f32 d64 s512 causal", "--out", _tool.At("first"));
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        string json = _tool.At("first/bench.json");
        double before = Baseline.ReadFile(json)["f32 d64 s512 causal"];
        Assert.That(before, Is.GreaterThan(0));
        _tool.Run(
            "bench", "--filter", "f32 d64 s512 causal", "--out", _tool.At("second"), "--baseline", json,
            "--threads", "1");
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        Assert.That(_tool.Results, Does.Contain("vs baseline").And.Match(@"\d\.\d\d x"));
        string table = File.ReadAllText(_tool.At("second/bench.md"));
        Assert.That(table, Does.Contain("vs baseline").And.Contain(", 1 thread."));
    }

    [Test]
    public void Bench_leaves_points_of_a_series_out_that_would_be_cut()
    {
        _tool.Run("bench", "--tokens", "1024", "--filter", "growing", "--out", _tool.At("cut"));
        Assert.That(_tool.ExitCode, Is.Zero, _tool.Remarks);
        using JsonDocument written = JsonDocument.Parse(File.ReadAllText(_tool.At("cut/bench.json")));
        Assert.That(
            written.RootElement.GetProperty("cases").EnumerateArray().Select(
                static entry => entry.GetProperty("name").GetString()),
            Is.EqualTo(new[] { "f32 2-D 32 w13 growing" }));
        Assert.That(File.Exists(_tool.At("cut/scaling-neighborhood.png")), Is.False, "one point is no line");
    }

    [TestCase("{}", "no array \"cases\"")]
    [TestCase("""{"cases":[{"name":"a"}]}""", "a case without its own")]
    [TestCase("""{"cases":[{"name":"a","milliseconds":0}]}""", "a case without its own")]
    [TestCase("""{"cases":[{"name":"a","milliseconds":1},{"name":"a","milliseconds":1}]}""", "a case without its own")]
    [TestCase("""{"cases":[{"name":"\ud800","milliseconds":1}]}""", "surrogate")]
    [TestCase("cases", "not strict JSON")]
    public void Faulty_baseline_is_refused(string text, string reason)
    {
        File.WriteAllText(_tool.At("b.json"), text);
        _tool.Run("bench", "--baseline", _tool.At("b.json"));
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain(reason));
    }

    [Test]
    public void Filter_without_a_match_names_the_cases()
    {
        _tool.Run("bench", "--filter", "nothing");
        Assert.That(_tool.ExitCode, Is.EqualTo(2));
        Assert.That(_tool.Remarks, Does.Contain("bf16 d128 decode 32768"));
    }

    [Test]
    public void Tune_says_what_it_needs()
    {
        _tool.Run("tune");
        Assert.That(_tool.ExitCode, Is.EqualTo(3));
        Assert.That(_tool.Remarks, Does.Contain("configurations"));
    }
}
