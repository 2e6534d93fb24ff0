// A measured case of neighborhood attention; listed by demo and bench.
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

    internal override PreparedCase Prepare<T, TElements>(AttentionDevice device, int seed) =>
        new Prepared<T, TElements>(this, device, seed);

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
            _tensors = new CaseTensors<T, TElements>(measured.Shape, measured.HasBackward, seed);
            _reference = new NeighborhoodReference(
                measured.Shape, Axes(measured.Options.Axes), measured.Options.Scale, _tensors.Reference);
            Description = _plan.Describe();
            ScheduleStats stats = _plan.GetScheduleStats();
            Work = measured.WorkOf(stats.NeededPairs, stats, Unsafe.SizeOf<T>());
        }

        internal override PlanDescription Description { get; }

        internal override CaseWork Work { get; }

        internal override void Forward() =>
            _plan.Forward(_tensors.Q, _tensors.K, _tensors.V, _tensors.Output, _tensors.Lse);

        internal override void Backward()
        {
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

        public override void Dispose() => _plan.Dispose();

        private static AxisWindow[] Axes(IReadOnlyList<NeighborhoodAxis> axes) =>
        [
            .. axes.Select(axis => new AxisWindow(
                axis.Extent, axis.KernelSize, axis.Stride, axis.Dilation, axis.Causal)),
        ];
    }
}
