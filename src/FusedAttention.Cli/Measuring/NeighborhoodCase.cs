// A measured case of neighborhood attention; listed by demo and bench.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using FusedAttention.Cli.Reference;

namespace FusedAttention.Cli.Measuring;

/// <param name="Name">Unique and stable: baselines are matched by it.</param>
/// <param name="Type">Element type of q, k and v.</param>
/// <param name="Shape">Sizes.</param>
/// <param name="Options">The grid; with Backward the case is measured in both directions.</param>
internal sealed record NeighborhoodCase(
    string Name, CaseType Type, AttentionShape Shape, NeighborhoodOptions Options) : SoftmaxCase(Name, Type, Shape)
{
    internal override bool HasBackward => Options.Backward;

    internal override DenseEquivalent Dense =>
        DenseEquivalent.Of(Type, Shape, causal: false, Options.Backward);

    internal override MeasuredCase Cut(long tokens)
    {
        NeighborhoodAxis[] axes = [.. Options.Axes];
        while (axes.Aggregate(1L, static (product, axis) => product * axis.Extent) > tokens)
        {
            int longest = Array.FindIndex(axes, axis => axis.Extent == axes.Max(static one => one.Extent));
            axes[longest] = Halve(axes[longest]);
        }

        NeighborhoodOptions cut = new(axes)
        {
            AdditionalKeys = Options.AdditionalKeys,
            Scale = Options.Scale,
            Backward = Options.Backward,
            Deterministic = Options.Deterministic,
            Float32Output = Options.Float32Output,
            Float32Gradients = Options.Float32Gradients,
        };
        return this with { Shape = Cut(Shape, cut.Tokens), Options = cut };
    }

    internal override PreparedCase Prepare<T, TElements>(AttentionDevice device, int seed) =>
        new Prepared<T, TElements>(this, device, seed);

    // Half of an axis, with a window that fits into it.
    private static NeighborhoodAxis Halve(NeighborhoodAxis axis)
    {
        long extent = Math.Max(1, axis.Extent / 2);
        long dilation = Math.Min(axis.Dilation, extent);
        long kernel = Math.Min(axis.KernelSize, extent / dilation);
        return axis with
        {
            Extent = extent,
            KernelSize = kernel,
            Dilation = dilation,
            Stride = Math.Min(axis.Stride, kernel),
        };
    }

    private sealed class Prepared<T, TElements> : PreparedCase
        where T : unmanaged
        where TElements : IElements<T>
    {
        private readonly NeighborhoodAttentionPlan<T> _plan;
        private readonly CaseTensors<T, TElements> _tensors;
        private readonly NeighborhoodReference _reference;

        internal Prepared(NeighborhoodCase measured, AttentionDevice device, int seed)
        {
            _plan = new NeighborhoodAttentionPlan<T>(measured.Shape, measured.Options, device);
            _tensors = new CaseTensors<T, TElements>(_plan, measured.Shape, measured.HasBackward, seed);
            _reference = new NeighborhoodReference(
                measured.Shape, Axes(measured.Options.Axes), measured.Options.Scale, _tensors.Reference);
            Description = _plan.Describe();
            ScheduleStats stats = _plan.GetScheduleStats();
            Work = measured.WorkOf(stats.NeededPairs, stats, Unsafe.SizeOf<T>());
        }

        internal override PlanDescription Description { get; }

        internal override CaseWork Work { get; }

        internal override CudaStream? Stream => _tensors.OnDevice?.Stream;

        internal override void Forward()
        {
            if (_tensors.OnDevice is { } device)
            {
                _plan.Forward(
                    new NeighborhoodDeviceForwardArguments<T>
                    {
                        Query = device.Q,
                        Key = device.K,
                        Value = device.V,
                        Output = device.Output,
                        Lse = device.Lse,
                        Workspace = device.Workspace,
                    },
                    device.Stream);
                return;
            }

            _plan.Forward(_tensors.Q, _tensors.K, _tensors.V, _tensors.Output, _tensors.Lse);
        }

        internal override void Backward()
        {
            if (_tensors.OnDevice is { } device)
            {
                _plan.Backward(
                    new NeighborhoodDeviceBackwardArguments<T>
                    {
                        Query = device.Q,
                        Key = device.K,
                        Value = device.V,
                        Output = device.Output,
                        Lse = device.Lse,
                        GradOutput = device.OutputGradient,
                        GradQuery = device.QueryGradient,
                        GradKey = device.KeyGradient,
                        GradValue = device.ValueGradient,
                        Workspace = device.Workspace,
                    },
                    device.Stream);
                return;
            }

            NeighborhoodBackwardArguments<T> arguments = new()
            {
                Query = _tensors.Q,
                Key = _tensors.K,
                Value = _tensors.V,
                Output = _tensors.Output,
                Lse = _tensors.Lse,
                GradOutput = _tensors.OutputGradient,
                GradQuery = _tensors.QueryGradient,
                GradKey = _tensors.KeyGradient,
                GradValue = _tensors.ValueGradient,
            };
            _plan.Backward(in arguments);
        }

        internal override double ForwardError() => _tensors.ForwardError(_reference);

        internal override double BackwardError() => _tensors.BackwardError(_reference);

        public override void Dispose()
        {
            _tensors.Dispose();
            _plan.Dispose();
        }

        private static AxisWindow[] Axes(IReadOnlyList<NeighborhoodAxis> axes) =>
        [
            .. axes.Select(axis => new AxisWindow(
                axis.Extent, axis.KernelSize, axis.Stride, axis.Dilation, axis.Causal)),
        ];
    }
}
