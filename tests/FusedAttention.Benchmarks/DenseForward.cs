// Question: how fast are forward runs of ordinary shapes from C#?
using System;
using BenchmarkDotNet.Attributes;

namespace FusedAttention.Benchmarks;

/// <summary>Self-attention, causal self-attention and decoding, with the work of the plan in the row's name.</summary>
[MemoryDiagnoser]
public class DenseForward : IDisposable
{
    private float[] _query = [], _key = [], _value = [], _output = [];
    private DenseAttentionPlan<float> _plan = null!;

    /// <summary>The problem of a row.</summary>
    [Params("full 4096 x 64", "causal 4096 x 64", "causal 4096 x 128", "decode 1 of 32768 x 128")]
    public string Problem { get; set; } = "";

    /// <summary>Makes plan and tensors.</summary>
    [GlobalSetup]
    public void Setup()
    {
        AttentionShape shape = Problem switch
        {
            "full 4096 x 64" or "causal 4096 x 64" => new AttentionShape(1, 8, 4096, 64),
            "causal 4096 x 128" => new AttentionShape(1, 8, 4096, 128),
            _ => AttentionShape.Decode(1, 32, 8, 32768, 128),
        };
        _plan = new DenseAttentionPlan<float>(
            shape, new DenseOptions { Causal = Problem.StartsWith("causal", StringComparison.Ordinal) });
        var random = new Random(1);
        _query = Fill(random, shape.QueryHeads * shape.QueryLength * shape.HeadDim);
        _key = Fill(random, shape.KeyHeads * shape.KeyLength * shape.HeadDim);
        _value = Fill(random, shape.ValueHeads * shape.KeyLength * shape.ValueHeadDim);
        _output = new float[_query.Length];
        ScheduleStats stats = _plan.GetScheduleStats();
        Console.WriteLine(
            $"// {Problem}: {_plan.Describe().ForwardKernel}, {_plan.Describe().ForwardFlops / 1e9:f2} GFLOP, "
            + $"{stats.FullTiles} full, {stats.PartialTiles} partial, {stats.SkippedTiles} skipped tiles");
    }

    /// <summary>Releases the plan.</summary>
    [GlobalCleanup]
    public void Dispose()
    {
        _plan.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>One forward run.</summary>
    [Benchmark]
    public void Run() => _plan.Forward(_query, _key, _value, _output);

    private static float[] Fill(Random random, long count)
    {
        float[] values = new float[count];
        for (int i = 0; i < values.Length; ++i)
        {
            values[i] = (random.NextSingle() * 2) - 1;
        }

        return values;
    }
}
