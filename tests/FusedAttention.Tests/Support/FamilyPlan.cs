// One small plan of any family and tensors that fit all of them. Used by the tests of what all families promise.
using System;

namespace FusedAttention.Tests.Support;

/// <summary>A plan and its two passes.</summary>
internal sealed class FamilyPlan : IDisposable
{
    /// <summary>The names that <see cref="Make"/> takes.</summary>
    public static readonly string[] Families = ["dense", "neighborhood", "permuted_block", "s2", "lightning"];

    private const int Heads = 2;
    private const int Length = 48;
    private const int Dim = 16;

    private static readonly AttentionShape Shape = new(1, Heads, Length, Dim);
    private static readonly float[] Slopes = LightningSlopes.OpenNlpLab(Heads);

    private FamilyPlan(AttentionPlan plan, Action<Tensors> forward, Action<Tensors> backward)
    {
        Plan = plan;
        Forward = forward;
        Backward = backward;
    }

    public AttentionPlan Plan { get; }

    public Action<Tensors> Forward { get; }

    /// <summary>Needs a forward run before it.</summary>
    public Action<Tensors> Backward { get; }

    public static FamilyPlan Make(string family, AttentionDevice? device = null) => family switch
    {
        "dense" => Dense(device),
        "neighborhood" => Neighborhood(device),
        "permuted_block" => PermutedBlock(device),
        "s2" => S2(device),
        "lightning" => Lightning(device),
        _ => throw new ArgumentException(family),
    };

    public void Dispose() => Plan.Dispose();

    private static FamilyPlan Dense(AttentionDevice? device)
    {
        var plan = new DenseAttentionPlan<float>(Shape, new DenseOptions { Causal = true, Backward = true }, device);
        return new FamilyPlan(
            plan,
            t => plan.Forward(new DenseForwardArguments<float>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
                MaxThreads = t.MaxThreads,
            }),
            t => plan.Backward(new DenseBackwardArguments<float>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
                GradOutput = t.GradOutput, GradQuery = t.GradQuery, GradKey = t.GradKey, GradValue = t.GradValue,
                MaxThreads = t.MaxThreads,
            }));
    }

    private static FamilyPlan Neighborhood(AttentionDevice? device)
    {
        var options = new NeighborhoodOptions(new NeighborhoodAxis(6, 3), new NeighborhoodAxis(8, 5))
        {
            Backward = true,
        };
        var plan = new NeighborhoodAttentionPlan<float>(Shape, options, device);
        return new FamilyPlan(
            plan,
            t => plan.Forward(new NeighborhoodForwardArguments<float>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
                MaxThreads = t.MaxThreads,
            }),
            t => plan.Backward(new NeighborhoodBackwardArguments<float>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
                GradOutput = t.GradOutput, GradQuery = t.GradQuery, GradKey = t.GradKey, GradValue = t.GradValue,
                MaxThreads = t.MaxThreads,
            }));
    }

    private static FamilyPlan PermutedBlock(AttentionDevice? device)
    {
        var options = new PermutedBlockOptions { BlockSize = 8, SegmentSize = 16, Coverage = 0.6f, Backward = true };
        var plan = new PermutedBlockAttentionPlan<float>(Shape, options, device);
        return new FamilyPlan(
            plan,
            t =>
            {
                plan.Select(t.Query, t.Key, t.Permutation, t.BlockMask, maxThreads: t.MaxThreads);
                plan.Forward(new PermutedBlockForwardArguments<float>
                {
                    Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
                    Permutation = t.Permutation, BlockMask = t.BlockMask, MaxThreads = t.MaxThreads,
                });
            },
            t => plan.Backward(new PermutedBlockBackwardArguments<float>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
                Permutation = t.Permutation, BlockMask = t.BlockMask,
                GradOutput = t.GradOutput, GradQuery = t.GradQuery, GradKey = t.GradKey, GradValue = t.GradValue,
                MaxThreads = t.MaxThreads,
            }));
    }

    private static FamilyPlan S2(AttentionDevice? device)
    {
        var options = new S2Options { BlockSize = 8, LocalBlocks = 2, VerticalStride = 3, Backward = true };
        var plan = new S2AttentionPlan<float>(Shape, options, device);
        return new FamilyPlan(
            plan,
            t => plan.Forward(new S2ForwardArguments<float>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
                MaxThreads = t.MaxThreads,
            }),
            t => plan.Backward(new S2BackwardArguments<float>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
                GradOutput = t.GradOutput, GradQuery = t.GradQuery, GradKey = t.GradKey, GradValue = t.GradValue,
                MaxThreads = t.MaxThreads,
            }));
    }

    private static FamilyPlan Lightning(AttentionDevice? device)
    {
        var plan = new LightningAttentionPlan<float>(Shape, new LightningOptions { Backward = true }, device);
        return new FamilyPlan(
            plan,
            t => plan.Forward(new LightningForwardArguments<float>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Slopes = Slopes, Output = t.Output,
                MaxThreads = t.MaxThreads,
            }),
            t => plan.Backward(new LightningBackwardArguments<float>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Slopes = Slopes,
                GradOutput = t.GradOutput, GradQuery = t.GradQuery, GradKey = t.GradKey, GradValue = t.GradValue,
                MaxThreads = t.MaxThreads,
            }));
    }

    /// <summary>Random inputs, the same each time, and places for results; the queries are in native memory.</summary>
    internal sealed class Tensors : IDisposable
    {
        private const int Elements = Heads * Length * Dim;

        public Tensors()
        {
            var random = new Random(3);
            Numbers.Normal<float>(random, Elements).CopyTo(Query.AsSpan());
            Key = Numbers.Normal<float>(random, Elements);
            Value = Numbers.Normal<float>(random, Elements);
            GradOutput = Numbers.Normal<float>(random, Elements);
        }

        public HostTensor<float> Query { get; } = new([1, Heads, Length, Dim]);

        public float[] Key { get; }

        public float[] Value { get; }

        public float[] GradOutput { get; }

        public int[] Permutation { get; } = new int[Heads * Length];

        public byte[] BlockMask { get; } = new byte[Heads * 6 * 6];

        public float[] Output { get; } = new float[Elements];

        public float[] Lse { get; } = new float[Heads * Length];

        public float[] GradQuery { get; } = new float[Elements];

        public float[] GradKey { get; } = new float[Elements];

        public float[] GradValue { get; } = new float[Elements];

        public int MaxThreads { get; init; }

        /// <summary>Everything that runs have written.</summary>
        public float[] Results() => [.. Output, .. Lse, .. GradQuery, .. GradKey, .. GradValue];

        public void Dispose() => Query.Dispose();
    }
}
