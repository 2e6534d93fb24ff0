// A dense case in memory of a GPU, with its plan and stream. Used by the tests on a GPU.
using System;
using System.Collections.Generic;
using FusedAttention.Tests.Support;

namespace FusedAttention.Tests.Gpu;

/// <summary>Tensors in Half; the stream waits for nothing else.</summary>
internal sealed class DeviceRun : IDisposable
{
    private readonly List<IDisposable> _all = [];
    private readonly DeviceBuffer<float> _lse;
    private readonly DeviceBuffer<Half>[] _gradients;
    private readonly DeviceBuffer<Half> _gradOutput;
    private readonly DeviceBuffer<float> _gradLse;

    internal DeviceRun(CudaDevice device, DenseCase problem)
    {
        Plan = Keep(new DenseAttentionPlan<Half>(problem.Shape, problem.Options, device));
        Stream = Keep(device.CreateStream());
        Output = Keep(device.Allocate<Half>(problem.Query.Length));
        _lse = Keep(device.Allocate<float>(problem.Shape.Batch * problem.Shape.QueryHeads * problem.Shape.QueryLength));
        ForwardArguments = new DenseDeviceForwardArguments<Half>
        {
            Query = Upload(device, problem.Query),
            Key = Upload(device, problem.Key),
            Value = Upload(device, problem.Value),
            Output = Output,
            Lse = _lse,
        };
        _gradOutput = Upload(device, problem.GradOutput);
        _gradLse = Keep(device.Upload<float>(problem.GradLse));
        _gradients =
        [
            Keep(device.Allocate<Half>(problem.Query.Length)),
            Keep(device.Allocate<Half>(problem.Key.Length)),
            Keep(device.Allocate<Half>(problem.Value.Length)),
        ];
    }

    internal DenseAttentionPlan<Half> Plan { get; }

    internal CudaStream Stream { get; }

    internal DeviceBuffer<Half> Output { get; }

    internal DenseDeviceForwardArguments<Half> ForwardArguments { get; }

    internal void Forward()
    {
        DenseDeviceForwardArguments<Half> arguments = ForwardArguments;
        Plan.Forward(in arguments, Stream);
    }

    internal void Backward(DeviceBuffer<byte>? workspace = null)
    {
        var arguments = new DenseDeviceBackwardArguments<Half>
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
        Plan.Backward(in arguments, Stream);
    }

    /// <summary>Compares all results of a forward and a backward run.</summary>
    internal void Expect(DenseResult truth)
    {
        double tolerance = Support.Expect.Tolerance<Half>();
        Support.Expect.Near("output", Doubles(Output), truth.Output, tolerance);
        Support.Expect.Near("lse", Numbers.ToDouble<float>(_lse.ToArray(Stream)), truth.Lse, tolerance);
        Support.Expect.Near("gradQuery", Doubles(_gradients[0]), truth.GradQuery, tolerance);
        Support.Expect.Near("gradKey", Doubles(_gradients[1]), truth.GradKey, tolerance);
        Support.Expect.Near("gradValue", Doubles(_gradients[2]), truth.GradValue, tolerance);
    }

    public void Dispose() => _all.ForEach(static one => one.Dispose());

    private double[] Doubles(DeviceBuffer<Half> buffer) => Numbers.ToDouble<Half>(buffer.ToArray(Stream));

    private DeviceBuffer<Half> Upload(CudaDevice device, float[] values) =>
        Keep(device.Upload<Half>(Numbers.From<Half>(values)));

    private TObject Keep<TObject>(TObject made)
        where TObject : IDisposable
    {
        _all.Add(made);
        return made;
    }
}
