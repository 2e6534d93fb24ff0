// Runs of a plan allocate nothing on the managed heap.
using System;
using System.Numerics.Tensors;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
[NonParallelizable]
internal sealed class AllocationTests
{
    private const int Runs = 100;

    private static readonly AttentionShape Shape = new(1, 2, 24, 16);

    [Test]
    public void Forward_with_arrays_allocates_nothing()
    {
        DenseCase problem = DenseCase.Create<float>(Shape);
        float[] output = new float[problem.Query.Length], lse = new float[48];
        using var plan = new DenseAttentionPlan<float>(Shape);
        Assert.That(Measure(() => plan.Forward(problem.Query, problem.Key, problem.Value, output, lse)), Is.Zero);
    }

    [Test]
    public void Forward_with_every_kind_of_tensor_allocates_nothing()
    {
        DenseCase problem = DenseCase.Create<float>(Shape);
        using var plan = new DenseAttentionPlan<float>(Shape);
        using HostTensor<float> key = new([1, 2, 24, 16]);
        using var output = new HostBuffer<float>(problem.Query.Length);
        nint[] lengths = [1, 2, 24, 16];
        Assert.That(
            Measure(() => plan.Forward(
                new ReadOnlyTensorSpan<float>(problem.Query, lengths), key, problem.Value.AsSpan(), output)),
            Is.Zero);
    }

    [Test]
    public void Forward_with_everything_announced_allocates_nothing()
    {
        var options = new DenseOptions
        {
            Causal = true,
            Bias = new BiasOptions(),
            Mask = new MaskOptions(),
            Alibi = true,
            Sinks = true,
            KeyLengths = true,
        };
        DenseCase problem = DenseCase.Create<float>(Shape, options);
        float[] output = new float[problem.Query.Length];
        int[] keyLengths = [20];
        using var plan = new DenseAttentionPlan<float>(Shape, options);
        Assert.That(
            Measure(() => plan.Forward(new DenseForwardArguments<float>
            {
                Query = problem.Query,
                Key = problem.Key,
                Value = problem.Value,
                Output = output,
                Bias = problem.Bias,
                Mask = problem.Mask,
                AlibiSlopes = problem.AlibiSlopes,
                SinkLogits = problem.SinkLogits,
                KeyLengths = keyLengths,
            })),
            Is.Zero);
    }

    [TestCaseSource(typeof(FamilyPlan), nameof(FamilyPlan.Families))]
    public void Both_passes_of_every_family_allocate_nothing(string family)
    {
        using FamilyPlan plan = FamilyPlan.Make(family);
        using FamilyPlan.Tensors tensors = new();
        Assert.That(Measure(() => plan.Forward(tensors)), Is.Zero);
        Assert.That(Measure(() => plan.Backward(tensors)), Is.Zero);
    }

    [Test]
    public void Steps_of_linear_attention_allocate_nothing()
    {
        using var step = new LightningAttentionPlan<float>(Shape with { QueryLength = 1, KeyLength = 1 });
        float[] state = new float[step.StateLength], token = new float[32], row = new float[32], slopes = new float[2];
        Assert.That(Measure(() => step.Step(token, token, token, slopes, state, row)), Is.Zero);
    }

    [Test]
    public void Gates_over_blocks_allocate_nothing()
    {
        using var plan = new PermutedBlockAttentionPlan<float>(
            Shape, new PermutedBlockOptions { BlockSize = 4, SegmentSize = 8 });
        float[] data = new float[768];
        byte[] blockMask = new byte[72];
        Assert.That(Measure(() => plan.SelectMoba(data, data, 2, blockMask)), Is.Zero);
    }

    [Test]
    public void The_static_method_allocates_nothing_for_a_known_problem()
    {
        DenseCase problem = DenseCase.Create<float>(Shape);
        float[] output = new float[problem.Query.Length];
        var options = new DenseOptions { Causal = true };
        Assert.That(
            Measure(() => DenseAttention.Forward<float>(
                problem.Query, problem.Key, problem.Value, output, Shape, options)),
            Is.Zero);
    }

    [Test]
    public void Merging_two_parts_of_a_known_shape_stays_below_a_kilobyte()
    {
        float[] part = new float[768], lse = new float[48], output = new float[768];
        Assert.That(
            Measure(() => AttentionMerge.Merge<float>(part, lse, part, lse, output, default, Shape)),
            Is.LessThan(1024 * Runs));
    }

    private static long Measure(Action run)
    {
        for (int i = 0; i < Runs; ++i)
        {
            run();
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < Runs; ++i)
        {
            run();
        }

        return GC.GetAllocatedBytesForCurrentThread() - before;
    }
}
