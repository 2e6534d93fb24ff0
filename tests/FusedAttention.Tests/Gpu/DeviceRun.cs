// A dense case in memory of a GPU, with its plan and stream. Used by the tests on a GPU.
using System;
using FusedAttention.Tests.Support;

namespace FusedAttention.Tests.Gpu;

/// <summary>Tensors in Half; the stream waits for nothing else.</summary>
internal sealed class DeviceRun : IDisposable
{
    private readonly DeviceMemory _memory;
    private readonly DeviceBuffer<float> _lse;
    private readonly DeviceBuffer<Half>[] _gradients;
    private readonly DeviceBuffer<Half> _gradOutput;
    private readonly DeviceBuffer<float> _gradLse;

    internal DeviceRun(CudaDevice device, DenseCase problem)
    {
        _memory = new DeviceMemory(device);
        Plan = _memory.Keep(new DenseAttentionPlan<Half>(problem.Shape, problem.Options, device));
        Output = _memory.Make<Half>(problem.Query.Length);
        _lse = _memory.Make<float>(problem.Shape.Batch * problem.Shape.QueryHeads * problem.Shape.QueryLength);
        ForwardArguments = new DenseDeviceForwardArguments<Half>
        {
            Query = _memory.Upload<Half>(problem.Query),
            Key = _memory.Upload<Half>(problem.Key),
            Value = _memory.Upload<Half>(problem.Value),
            Output = Output,
            Lse = _lse,
        };
        _gradOutput = _memory.Upload<Half>(problem.GradOutput);
        _gradLse = _memory.Copy(problem.GradLse);
        _gradients =
        [
            _memory.Make<Half>(problem.Query.Length),
            _memory.Make<Half>(problem.Key.Length),
            _memory.Make<Half>(problem.Value.Length),
        ];
    }

    internal DenseAttentionPlan<Half> Plan { get; }

    internal CudaStream Stream => _memory.Stream;

    internal DeviceBuffer<Half> Output { get; }

    internal DenseDeviceForwardArguments<Half> ForwardArguments { get; }

    internal void Forward()
    {
        DenseDeviceForwardArguments<Half> arguments = ForwardArguments;
        Plan.Forward(in arguments, Stream);
    }

    /// <summary>A run with lengths in host memory.</summary>
    internal void Forward(int[] queries, int[] keys)
    {
        DenseDeviceForwardArguments<Half> arguments = ForwardArguments;
        Plan.Forward(in arguments, Lengths(queries, keys), Stream);
    }

    internal void Backward(DeviceBuffer<byte>? workspace = null)
    {
        DenseDeviceBackwardArguments<Half> arguments = BackwardArguments(workspace);
        Plan.Backward(in arguments, Stream);
    }

    /// <summary>A run with lengths in host memory.</summary>
    internal void Backward(int[] queries, int[] keys)
    {
        DenseDeviceBackwardArguments<Half> arguments = BackwardArguments(null);
        Plan.Backward(in arguments, Lengths(queries, keys), Stream);
    }

    /// <summary>Compares all results of a forward and a backward run.</summary>
    internal void Expect(DenseResult truth)
    {
        double tolerance = Support.Expect.Tolerance<Half>();
        Support.Expect.Near("output", _memory.Doubles(Output), truth.Output, tolerance);
        Support.Expect.Near("lse", _memory.Doubles(_lse), truth.Lse, tolerance);
        Support.Expect.Near("gradQuery", _memory.Doubles(_gradients[0]), truth.GradQuery, tolerance);
        Support.Expect.Near("gradKey", _memory.Doubles(_gradients[1]), truth.GradKey, tolerance);
        Support.Expect.Near("gradValue", _memory.Doubles(_gradients[2]), truth.GradValue, tolerance);
    }

    public void Dispose() => _memory.Dispose();

    private static DenseHostLengths Lengths(int[] queries, int[] keys) =>
        new() { CumulativeQueryLengths = queries, CumulativeKeyLengths = keys };

    private DenseDeviceBackwardArguments<Half> BackwardArguments(DeviceBuffer<byte>? workspace) => new()
    {
        Query = ForwardArguments.Query,
        Key = ForwardArguments.Key,
        Value = ForwardArguments.Value,
        Output = Output,
        Lse = _lse,
        GradOutput = _gradOutput,
        GradLse = _gradLse,
        GradQuery = _gradients[0],
        GradKey = _gradients[1],
        GradValue = _gradients[2],
        Workspace = workspace,
    };
}
