// Dense attention on a GPU: over spans and over device tensors, against the definition; who shares what; what ends how.
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class DenseOnGpuTests : GpuTest
{
    private static readonly AttentionShape Small = new(1, 2, 20, 32);

    public static IEnumerable<TestCaseData> Problems()
    {
        yield return Case("causal", AttentionShape.Gqa(2, 4, 2, 20, 32), new DenseOptions { Causal = true });
        yield return Case(
            "bias_alibi_sinks", Small,
            new DenseOptions { Bias = new BiasOptions { PerHead = true }, Alibi = true, Sinks = true });
        yield return Case("mask", Small, new DenseOptions { Mask = new MaskOptions { PerHead = true } });
        yield return Case(
            "empty_rows", AttentionShape.CrossAttention(1, 2, 20, 9, 32), new DenseOptions { Causal = true });
    }

    private static TestCaseData Case(string name, AttentionShape shape, DenseOptions options) =>
        new TestCaseData(shape, options).SetArgDisplayNames(name);

    [TestCaseSource(nameof(Problems))]
    public void Spans_match_the_definition(AttentionShape shape, DenseOptions options)
    {
        DenseCase problem = DenseCase.Create<Half>(shape, options);
        Expect.Same<Half>(problem.ForwardBackward<Half>(Device), DenseTruth.Compute(problem), withGradients: true);
    }

    [Test]
    public void Spans_in_float_match_the_definition()
    {
        DenseCase problem = DenseCase.Create<float>(Small, new DenseOptions { SoftCap = 3 });
        Expect.Same<float>(problem.ForwardBackward<float>(Device), DenseTruth.Compute(problem), withGradients: true);
    }

    [Test]
    public void Packed_sequences_match_the_definition()
    {
        var shape = new AttentionShape(1, 2, 30, 32);
        var options = new DenseOptions { Causal = true, Packed = new PackedOptions(3, 16, 14) };
        DenseCase problem = DenseCase.Create<BFloat16>(
            shape, options, with: made => made.With([0, 14, 14, 30], [0, 14, 20, 30]));
        Expect.Same<BFloat16>(
            problem.ForwardBackward<BFloat16>(Device), DenseTruth.Compute(problem), withGradients: true);
    }

    [Test]
    public void Lengths_beside_spans_are_checked()
    {
        var options = new DenseOptions { Packed = new PackedOptions(2, 20, 20) };
        DenseCase problem = DenseCase.Create<Half>(
            Small, options, with: made => made.With([0, 12, 11], [0, 12, 20]));
        Assert.That(
            () => problem.Forward<Half>(Device),
            Throws.TypeOf<AttentionException>().With.Message.Contains("args->cu_seqlens_q[2] is 11"));
    }

    [Test]
    public void Lengths_of_host_memory_go_beside_device_tensors()
    {
        var options = new DenseOptions { Packed = new PackedOptions(2, 20, 20), Backward = true };
        DenseCase problem = DenseCase.Create<Half>(Small, options, with: made => made.With([0, 12, 20], [0, 7, 20]));
        using DeviceRun run = new(Device, problem);
        run.Plan.Prepare(AttentionPass.Backward, run.Stream);
        int[] queries = [.. problem.CumulativeQueryLengths], keys = [.. problem.CumulativeKeyLengths];
        run.Forward(queries, keys);
        run.Backward(queries, keys);
        Array.Clear(queries);
        Array.Clear(keys);
        run.Expect(DenseTruth.Compute(problem));
        Assert.That(
            () => run.Forward([0, 12, 11], [0, 7, 20]),
            Throws.TypeOf<AttentionException>().With.Message.Contains("args->cu_seqlens_q[2] is 11"));
        Assert.That(
            () => run.Forward([0, 20], [0, 7, 20]),
            Throws.ArgumentException.With.Message.Contains("cumulativeQueryLengths has 2 elements"));
    }

    [Test]
    public void Rows_of_no_sequence_stay()
    {
        var options = new DenseOptions { Packed = new PackedOptions(1, 20, 20) };
        DenseCase problem = DenseCase.Create<float>(Small, options, with: made => made.With([0, 5], [0, 20]));
        using var plan = new DenseAttentionPlan<float>(Small, options, Device);
        float[] output = new float[problem.Query.Length];
        Array.Fill(output, -5f);
        var arguments = new DenseForwardArguments<float>
        {
            Query = problem.Query,
            Key = problem.Key,
            Value = problem.Value,
            Output = output,
            CumulativeQueryLengths = problem.CumulativeQueryLengths,
            CumulativeKeyLengths = problem.CumulativeKeyLengths,
        };
        plan.Forward(in arguments);
        Assert.That(output[(5 * 32)..(20 * 32)], Is.All.EqualTo(-5f));
        Assert.That(output[..(5 * 32)], Has.None.EqualTo(-5f));
    }

    [Test]
    public void What_lies_between_rows_of_an_output_stays()
    {
        var shape = new AttentionShape(1, 1, 3, 32) { OutputStrides = new TensorStrides(3 * 48, 3 * 48, 48) };
        DenseCase problem = DenseCase.Create<float>(new AttentionShape(1, 1, 3, 32));
        double[] truth = DenseTruth.Compute(problem).Output;
        using var plan = new DenseAttentionPlan<float>(shape, null, Device);
        float[] output = new float[(2 * 48) + 32];
        Array.Fill(output, -5f);
        plan.Forward(problem.Query, problem.Key, problem.Value, output);
        for (int i = 0; i < output.Length; ++i)
        {
            (int row, int column) = (i / 48, i % 48);
            double expected = column < 32 ? truth[(row * 32) + column] : -5;
            Assert.That(output[i], Is.EqualTo(expected).Within(1e-5), $"{row}, {column}");
        }
    }

    [Test]
    public async Task Device_tensors_are_run_in_a_stream()
    {
        DenseCase problem = DenseCase.Create<Half>(Small, new DenseOptions { Causal = true, Backward = true });
        DenseResult truth = DenseTruth.Compute(problem);
        using DeviceRun run = new(Device, problem);
        run.Plan.Prepare(AttentionPass.Backward, run.Stream);
        run.Forward();
        run.Backward();
        await run.Stream.WaitAsync();
        run.Expect(truth);
    }

    [Test]
    public void A_backward_run_needs_a_workspace()
    {
        DenseCase problem = DenseCase.Create<Half>(Small, new DenseOptions { Backward = true });
        using DeviceRun run = new(Device, problem);
        ulong bytes = run.Plan.GetDeviceWorkspaceBytes(AttentionPass.Backward);
        Assert.That(bytes, Is.EqualTo(40 * 8));
        Assert.That(run.Plan.Describe().BackwardDeviceWorkspaceBytes, Is.EqualTo(bytes));
        Assert.That(run.Plan.GetWorkspaceBytes(AttentionPass.Backward), Is.Zero);
        run.Forward();
        var error = Assert.Throws<AttentionException>(() => run.Backward());
        Assert.That(error!.Status, Is.EqualTo(AttentionStatus.WorkspaceTooSmall));
        Assert.That(error.NativeText, Does.Contain("the run needs 320 bytes of workspace; the stream's pool holds 0"));
        using DeviceBuffer<byte> small = Device.Allocate<byte>(319);
        error = Assert.Throws<AttentionException>(() => run.Backward(small));
        Assert.That(error!.NativeText, Does.Contain("run->workspace_bytes is 319; this run needs 320"));
        using DeviceBuffer<byte> enough = Device.Allocate<byte>(320);
        run.Backward(enough);
        run.Stream.Synchronize();
        run.Expect(DenseTruth.Compute(problem));
    }

    [Test]
    public void Memory_and_streams_of_another_context_are_refused()
    {
        using CudaDevice other = OpenOther(1);
        DenseCase problem = DenseCase.Create<Half>(Small);
        using DeviceRun run = new(Device, problem);
        using DeviceBuffer<Half> there = other.Allocate<Half>(problem.Query.Length);
        DenseDeviceForwardArguments<Half> arguments = run.ForwardArguments;
        arguments.Query = there;
        Assert.That(
            () => run.Plan.Forward(in arguments, run.Stream),
            Throws.TypeOf<AttentionException>().With.Message.Contains("args->q was allocated in another context"));
        using CudaStream foreign = other.CreateStream();
        arguments = run.ForwardArguments;
        Assert.That(
            () => run.Plan.Forward(in arguments, foreign),
            Throws.TypeOf<AttentionException>().With.Message.Contains("the stream belongs to another context"));
        Assert.That(() => run.Plan.Prepare(AttentionPass.Forward, foreign), Throws.TypeOf<AttentionException>());
    }

    [Test]
    public void Tensors_are_compared_with_the_plan()
    {
        DenseCase problem = DenseCase.Create<Half>(Small);
        using DeviceRun run = new(Device, problem);
        DenseDeviceForwardArguments<Half> arguments = run.ForwardArguments;
        arguments.Key = arguments.Key.Slice(0, 7);
        Assert.That(
            () => run.Plan.Forward(in arguments, run.Stream),
            Throws.ArgumentException.With.Message.Contains("key has 7 elements; the plan expects 1280"));
        arguments = run.ForwardArguments;
        using DeviceBuffer<float> sinks = Device.Allocate<float>(2);
        arguments.SinkLogits = sinks;
        Assert.That(
            () => run.Plan.Forward(in arguments, run.Stream),
            Throws.ArgumentException.With.Message.Contains("made without Sinks"));
        using var onCpu = new DenseAttentionPlan<Half>(Small);
        arguments = run.ForwardArguments;
        Assert.That(
            () => onCpu.Forward(in arguments, run.Stream),
            Throws.InvalidOperationException.With.Message.Contains("the plan runs on the CPU"));
    }

    [Test]
    public void Callers_at_the_same_time_get_the_bits_of_one()
    {
        DenseCase problem = DenseCase.Create<Half>(Small, new DenseOptions { Causal = true });
        using var plan = new DenseAttentionPlan<Half>(problem.Shape, problem.Options, Device);
        double[] expected = problem.Forward(plan).Output;
        double[][] found = new double[4][];
        Parallel.For(0, 4, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
            found[i] = problem.Forward(plan).Output);
        Assert.That(found, Is.All.EqualTo(expected));
        Device.Trim();
        Assert.That(problem.Forward(plan).Output, Is.EqualTo(expected), "after its staging memory was freed");
    }

    [Test]
    public void Plan_tensors_stream_and_device_may_go_while_the_run_is_in_flight()
    {
        using IDisposable late = RunLate();
        DenseCase problem = DenseCase.Create<Half>(Small, new DenseOptions { Causal = true });
        CudaDevice device = CudaDevice.Open();
        using PinnedBuffer<Half> result = device.AllocatePinned<Half>(problem.Query.Length);
        DeviceRun run = new(device, problem);
        run.Forward();
        run.Output.CopyTo(result, run.Stream);
        Assert.That(run.Stream.IsDone, Is.False);
        run.Dispose();
        device.Dispose();
        using CudaDevice again = CudaDevice.Open();
        again.Synchronize();
        Expect.Near(
            "output", Numbers.ToDouble<Half>(result.AsSpan()), DenseTruth.Compute(problem).Output,
            Expect.Tolerance<Half>());
    }

    [Test]
    public void Spans_need_the_device_and_device_tensors_do_not()
    {
        DenseCase problem = DenseCase.Create<Half>(Small);
        CudaDevice device = CudaDevice.Open();
        using DeviceRun run = new(device, problem);
        device.Dispose();
        run.Forward();
        Expect.Near(
            "output", Numbers.ToDouble<Half>(run.Output.ToArray(run.Stream)), DenseTruth.Compute(problem).Output,
            Expect.Tolerance<Half>());
        Assert.That(() => problem.Forward(run.Plan), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void The_shared_device_serves_one_call_methods()
    {
        DenseCase problem = DenseCase.Create<float>(Small);
        CudaDevice shared = AttentionDevice.Cuda();
        Assert.That(AttentionDevice.Cuda(), Is.SameAs(shared));
        float[] output = new float[problem.Query.Length];
        DenseAttention.Forward<float>(
            problem.Query, problem.Key, problem.Value, output, Small, device: shared);
        Expect.Near(
            "output", Numbers.ToDouble<float>(output), DenseTruth.Compute(problem).Output, Expect.Tolerance<float>());
        shared.Dispose();
        Assert.That(shared.Describe().Kind, Is.EqualTo(DeviceKind.Cuda));
    }

    [Test]
    public void A_cancelled_token_stops_a_run_over_spans_before_it_begins()
    {
        DenseCase problem = DenseCase.Create<float>(Small);
        using var plan = new DenseAttentionPlan<float>(Small, null, Device);
        Assert.That(
            () => plan.Forward(
                problem.Query, problem.Key, problem.Value, new float[problem.Query.Length],
                cancellationToken: new CancellationToken(canceled: true)),
            Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public void What_has_no_kernel_is_refused_by_name()
    {
        Assert.That(
            DenseAttention.IsSupported<float>(new AttentionShape(1, 1, 4, 320), null, out string reason, Device),
            Is.False);
        Assert.That(reason, Does.Contain("head dim is 320"));
    }

    [Test]
    public void A_device_that_is_lost_ends_every_call_and_no_dispose()
    {
        CudaDevice lost = OpenOther(2);
        DenseCase problem = DenseCase.Create<Half>(Small);
        DeviceRun run = new(lost, problem);
        run.Forward();
        Task ending = run.Stream.WaitAsync().AsTask();
        Assert.That(CallDriver("cuDevicePrimaryCtxReset_v2", 2), Is.Zero);
        Assert.That(() => run.Forward(), Throws.TypeOf<AttentionException>());
        Assert.That(run.Stream.Synchronize, Throws.TypeOf<AttentionException>());
        Assert.That(() => lost.Allocate<int>(1), Throws.TypeOf<AttentionException>());
        Assert.That(() => problem.Forward<Half>(lost), Throws.TypeOf<AttentionException>());
        Assert.That(Task.WhenAny(ending, Task.Delay(30_000)).Result, Is.SameAs(ending), "a wait ends too");
        Assert.That(ending.IsCompletedSuccessfully || ending.Exception!.InnerException is AttentionException);
        Assert.That(run.Dispose, Throws.Nothing);
        Assert.That(lost.Dispose, Throws.Nothing);
    }
}
