// A measured case of S2 attention; listed by demo and bench.
using System.Runtime.CompilerServices;
using FusedAttention.Cli.Reference;

namespace FusedAttention.Cli.Measuring;

/// <param name="Name">Unique and stable: baselines are matched by it.</param>
/// <param name="Type">Element type of q, k and v.</param>
/// <param name="Shape">Sizes.</param>
/// <param name="Options">The pattern; with Backward the case is measured in both directions.</param>
internal sealed record S2Case(string Name, CaseType Type, AttentionShape Shape, S2Options Options)
    : SoftmaxCase(Name, Type, Shape)
{
    internal override bool HasBackward => Options.Backward;

    internal override DenseEquivalent Dense => DenseEquivalent.Of(Type, Shape, Options.Causal, Options.Backward);

    internal override MeasuredCase Cut(long tokens) => this with { Shape = Cut(Shape, tokens) };

    internal override PreparedCase Prepare<T, TElements>(AttentionDevice device, int seed) =>
        new Prepared<T, TElements>(this, device, seed);

    private sealed class Prepared<T, TElements> : PreparedCase
        where T : unmanaged
        where TElements : IElements<T>
    {
        private readonly S2AttentionPlan<T> _plan;
        private readonly CaseTensors<T, TElements> _tensors;
        private readonly BlockReference _reference;

        internal Prepared(S2Case measured, AttentionDevice device, int seed)
        {
            S2Options options = measured.Options;
            _plan = new S2AttentionPlan<T>(measured.Shape, options, device);
            _tensors = new CaseTensors<T, TElements>(_plan, measured.Shape, measured.HasBackward, seed);
            S2Pattern pattern = new(options.BlockSize, options.LocalBlocks, options.VerticalStride)
            {
                HeadOffset = options.HeadOffset,
                PerQueryHead = options.PatternHeads == S2PatternHeads.Query,
                DenseHeads = options.DenseHeads,
                Homogeneous = options.Homogeneous,
                Causal = options.Causal,
            };
            _reference = new BlockReference(
                measured.Shape, BlockPattern.S2(measured.Shape, pattern), options.Scale, _tensors.Reference);
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
                    new S2DeviceForwardArguments<T>
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
                    new S2DeviceBackwardArguments<T>
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

            S2BackwardArguments<T> arguments = new()
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
    }
}
