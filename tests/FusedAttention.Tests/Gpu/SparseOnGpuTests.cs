// Sparse plans on a GPU over device tensors in a stream: the results of the CPU, selection included.
using System;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class SparseOnGpuTests : GpuTest
{
    private const int Heads = 2;
    private const int Length = 40;
    private const int Dim = 16;
    private static readonly AttentionShape Shape = new(1, Heads, Length, Dim);

    [Test]
    public void S2_runs_in_a_stream()
    {
        var options = new S2Options { BlockSize = 4, LocalBlocks = 2, VerticalStride = 3, Backward = true };
        DenseCase problem = S2Truth.Problem<Half>(Shape, options);
        using var plan = new S2AttentionPlan<Half>(Shape, options, Device);
        using Tensors t = new(Device, problem);
        plan.Prepare(AttentionPass.Backward, t.Memory.Stream);
        plan.Forward(
            new S2DeviceForwardArguments<Half>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
            },
            t.Memory.Stream);
        plan.Backward(
            new S2DeviceBackwardArguments<Half>
            {
                Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
                GradOutput = t.GradOutput, GradLse = t.GradLse, GradQuery = t.GradQuery, GradKey = t.GradKey,
                GradValue = t.GradValue,
            },
            t.Memory.Stream);
        Expect.Same<Half>(t.Result(), S2Truth.Run<Half>(problem, options), withGradients: true);
    }

    [Test]
    public void Neighborhoods_run_in_a_stream_with_additional_keys()
    {
        var options = new NeighborhoodOptions(new NeighborhoodAxis(5, 3), new NeighborhoodAxis(6, 3) { Dilation = 2 })
        {
            AdditionalKeys = 3,
            Backward = true,
        };
        NeighborhoodCase problem = NeighborhoodCase.Create<Half>(options, batch: 1, heads: 2);
        NeighborhoodResult truth = problem.Run<Half>();
        using var plan = new NeighborhoodAttentionPlan<Half>(problem.Shape, options, Device);
        using DeviceMemory memory = new(Device);
        DeviceBuffer<Half> query = memory.Upload<Half>(problem.Query), key = memory.Upload<Half>(problem.Key);
        DeviceBuffer<Half> value = memory.Upload<Half>(problem.Value);
        DeviceBuffer<Half> moreKeys = memory.Upload<Half>(problem.AdditionalKey);
        DeviceBuffer<Half> moreValues = memory.Upload<Half>(problem.AdditionalValue);
        DeviceBuffer<Half> output = memory.Make<Half>(truth.Forward.Output.Length);
        DeviceBuffer<float> lse = memory.Make<float>(problem.Rows);
        plan.Forward(
            new NeighborhoodDeviceForwardArguments<Half>
            {
                Query = query, Key = key, Value = value, AdditionalKey = moreKeys, AdditionalValue = moreValues,
                Output = output, Lse = lse,
            },
            memory.Stream);
        DeviceBuffer<Half> gradQuery = memory.Make<Half>(query.Length), gradKey = memory.Make<Half>(key.Length);
        DeviceBuffer<Half> gradValue = memory.Make<Half>(value.Length);
        DeviceBuffer<Half> gradMoreKeys = memory.Make<Half>(moreKeys.Length);
        DeviceBuffer<Half> gradMoreValues = memory.Make<Half>(moreValues.Length);
        plan.Backward(
            new NeighborhoodDeviceBackwardArguments<Half>
            {
                Query = query, Key = key, Value = value, AdditionalKey = moreKeys, AdditionalValue = moreValues,
                Output = output, Lse = lse, GradOutput = memory.Upload<Half>(problem.GradOutput),
                GradQuery = gradQuery, GradKey = gradKey, GradValue = gradValue, GradAdditionalKey = gradMoreKeys,
                GradAdditionalValue = gradMoreValues,
                Workspace = memory.Make<byte>((long)plan.GetDeviceWorkspaceBytes(AttentionPass.Backward)),
            },
            memory.Stream);
        double tolerance = Expect.Tolerance<Half>();
        Expect.Near("output", memory.Doubles(output), truth.Forward.Output, tolerance);
        Expect.Near("lse", memory.Doubles(lse), truth.Forward.Lse, tolerance);
        Expect.Near("gradQuery", memory.Doubles(gradQuery), truth.Forward.GradQuery, tolerance);
        Expect.Near("gradKey", memory.Doubles(gradKey), truth.Forward.GradKey, tolerance);
        Expect.Near("gradValue", memory.Doubles(gradValue), truth.Forward.GradValue, tolerance);
        Expect.Near("gradAdditionalKey", memory.Doubles(gradMoreKeys), truth.GradAdditionalKey, tolerance);
        Expect.Near("gradAdditionalValue", memory.Doubles(gradMoreValues), truth.GradAdditionalValue, tolerance);
    }

    [Test]
    public void Blocks_are_selected_and_run_without_the_host()
    {
        var options = new PermutedBlockOptions
        {
            BlockSize = 4, SegmentSize = 8, Coverage = 0.6f, Backward = true,
        };
        DenseCase problem = DenseCase.Create<float>(Shape);
        using var plan = new PermutedBlockAttentionPlan<float>(Shape, options, Device);
        using var cpu = new PermutedBlockAttentionPlan<float>(Shape, options);
        long blocks = plan.QueryBlocks * plan.KeyBlocks;
        int[] permutation = new int[Heads * Length];
        byte[] mask = new byte[Heads * blocks];
        float[] coverage = new float[Heads * plan.QueryBlocks];
        cpu.Select(problem.Query, problem.Key, permutation, mask, coverage);

        using DeviceMemory memory = new(Device);
        DeviceBuffer<float> query = memory.Copy(problem.Query), key = memory.Copy(problem.Key);
        DeviceBuffer<float> value = memory.Copy(problem.Value);
        DeviceBuffer<int> slots = memory.Make<int>(permutation.Length);
        DeviceBuffer<byte> kept = memory.Make<byte>(mask.Length);
        DeviceBuffer<float> share = memory.Make<float>(coverage.Length);
        DeviceBuffer<float> output = memory.Make<float>(problem.Query.Length);
        DeviceBuffer<float> lse = memory.Make<float>(Heads * Length);
        plan.Prepare(AttentionPass.Forward, memory.Stream);
        plan.Select(query, key, slots, kept, memory.Stream, share);
        plan.Forward(
            new PermutedBlockDeviceForwardArguments<float>
            {
                Query = query, Key = key, Value = value, Output = output, Lse = lse, Permutation = slots,
                BlockMask = kept,
            },
            memory.Stream);
        DeviceBuffer<float> gradQuery = memory.Make<float>(query.Length), gradKey = memory.Make<float>(key.Length);
        plan.Prepare(AttentionPass.Backward, memory.Stream);
        plan.Backward(
            new PermutedBlockDeviceBackwardArguments<float>
            {
                Query = query, Key = key, Value = value, Output = output, Lse = lse, Permutation = slots,
                BlockMask = kept, GradOutput = memory.Copy(problem.GradOutput), GradQuery = gradQuery,
                GradKey = gradKey,
            },
            memory.Stream);

        float[] expected = new float[output.Length], expectedLse = new float[lse.Length];
        float[] expectedQuery = new float[query.Length], expectedKey = new float[key.Length];
        cpu.Forward(problem.Query, problem.Key, problem.Value, expected, permutation, mask, expectedLse);
        cpu.Backward(new PermutedBlockBackwardArguments<float>
        {
            Query = problem.Query, Key = problem.Key, Value = problem.Value, Output = expected, Lse = expectedLse,
            Permutation = permutation, BlockMask = mask, GradOutput = problem.GradOutput,
            GradQuery = expectedQuery, GradKey = expectedKey,
        });
        double tolerance = Expect.Tolerance<float>();
        Assert.That(slots.ToArray(memory.Stream), Is.EqualTo(permutation));
        Assert.That(kept.ToArray(memory.Stream), Is.EqualTo(mask));
        Expect.Near("coverage", memory.Doubles(share), Numbers.ToDouble<float>(coverage), tolerance);
        Expect.Near("output", memory.Doubles(output), Numbers.ToDouble<float>(expected), tolerance);
        Expect.Near("lse", memory.Doubles(lse), Numbers.ToDouble<float>(expectedLse), tolerance);
        Expect.Near("gradQuery", memory.Doubles(gradQuery), Numbers.ToDouble<float>(expectedQuery), tolerance);
        Expect.Near("gradKey", memory.Doubles(gradKey), Numbers.ToDouble<float>(expectedKey), tolerance);
        Assert.That(
            plan.GetScheduleStats(permutation, mask).NeededPairs,
            Is.EqualTo(cpu.GetScheduleStats(permutation, mask).NeededPairs));
    }

    [Test]
    public void Gates_choose_what_they_choose_on_the_cpu()
    {
        var options = new PermutedBlockOptions { BlockSize = 4, SegmentSize = 4 };
        DenseCase problem = DenseCase.Create<float>(Shape);
        using var plan = new PermutedBlockAttentionPlan<float>(Shape, options, Device);
        using var cpu = new PermutedBlockAttentionPlan<float>(Shape, options);
        long count = Heads * plan.QueryBlocks * plan.KeyBlocks;
        float[] scores = Numbers.Normal<float>(new Random(5), count);
        byte[] expected = new byte[count], found = new byte[count];
        using DeviceMemory memory = new(Device);
        DeviceBuffer<float> query = memory.Copy(problem.Query), key = memory.Copy(problem.Key);
        DeviceBuffer<float> given = memory.Copy(scores);
        DeviceBuffer<byte> mask = memory.Make<byte>(count);

        cpu.SelectMoba(problem.Query, problem.Key, 3, expected);
        plan.SelectMoba(
            query, key, 3, mask, memory.Stream,
            memory.Make<byte>((long)plan.GetDeviceWorkspaceBytes(AttentionPass.Forward)));
        Assert.That(mask.ToArray(memory.Stream), Is.EqualTo(expected));
        plan.SelectMoba(problem.Query, problem.Key, 3, found);
        Assert.That(found, Is.EqualTo(expected));

        cpu.SelectTopK(scores, 2, expected);
        plan.SelectTopK(given, 2, mask, memory.Stream);
        Assert.That(mask.ToArray(memory.Stream), Is.EqualTo(expected));
        cpu.SelectThreshold(scores, 0.1f, expected);
        plan.SelectThreshold(given, 0.1f, mask, memory.Stream);
        Assert.That(mask.ToArray(memory.Stream), Is.EqualTo(expected));
        plan.SelectThreshold(scores, 0.1f, found);
        Assert.That(found, Is.EqualTo(expected));
    }

    [Test]
    public void A_plan_of_the_cpu_takes_no_device_tensors()
    {
        using var plan = new S2AttentionPlan<float>(Shape);
        using CudaStream stream = Device.CreateStream();
        Assert.That(
            () => plan.Forward(default(S2DeviceForwardArguments<float>), stream),
            Throws.InvalidOperationException.With.Message.Contains("S2AttentionPlan.Forward was given device tensors"));
    }

    [Test]
    public void A_backward_run_needs_a_workspace()
    {
        using var plan = new S2AttentionPlan<Half>(Shape, new S2Options { Backward = true }, Device);
        using Tensors t = new(Device, DenseCase.Create<Half>(Shape));
        Assert.That(
            () => plan.Backward(
                new S2DeviceBackwardArguments<Half>
                {
                    Query = t.Query, Key = t.Key, Value = t.Value, Output = t.Output, Lse = t.Lse,
                    GradOutput = t.GradOutput, GradQuery = t.GradQuery,
                },
                t.Memory.Stream),
            Throws.TypeOf<AttentionException>().With.Property("Status")
                .EqualTo(AttentionStatus.WorkspaceTooSmall).And.Message.Contains("fattn_plan_prepare"));
    }

    /// <summary>A dense case's tensors on the device, and places for its results.</summary>
    private sealed class Tensors : IDisposable
    {
        internal Tensors(CudaDevice device, DenseCase problem)
        {
            Memory = new DeviceMemory(device);
            Query = Memory.Upload<Half>(problem.Query);
            Key = Memory.Upload<Half>(problem.Key);
            Value = Memory.Upload<Half>(problem.Value);
            GradOutput = Memory.Upload<Half>(problem.GradOutput);
            GradLse = Memory.Copy(problem.GradLse);
            Output = Memory.Make<Half>(problem.GradOutput.Length);
            Lse = Memory.Make<float>(problem.GradLse.Length);
            GradQuery = Memory.Make<Half>(problem.Query.Length);
            GradKey = Memory.Make<Half>(problem.Key.Length);
            GradValue = Memory.Make<Half>(problem.Value.Length);
        }

        internal DeviceMemory Memory { get; }

        internal DeviceBuffer<Half> Query { get; }

        internal DeviceBuffer<Half> Key { get; }

        internal DeviceBuffer<Half> Value { get; }

        internal DeviceBuffer<Half> GradOutput { get; }

        internal DeviceBuffer<float> GradLse { get; }

        internal DeviceBuffer<Half> Output { get; }

        internal DeviceBuffer<float> Lse { get; }

        internal DeviceBuffer<Half> GradQuery { get; }

        internal DeviceBuffer<Half> GradKey { get; }

        internal DeviceBuffer<Half> GradValue { get; }

        internal DenseResult Result() => new()
        {
            Output = Memory.Doubles(Output),
            Lse = Memory.Doubles(Lse),
            GradQuery = Memory.Doubles(GradQuery),
            GradKey = Memory.Doubles(GradKey),
            GradValue = Memory.Doubles(GradValue),
            GradBias = [],
            GradSinkLogits = [],
        };

        public void Dispose() => Memory.Dispose();
    }
}
