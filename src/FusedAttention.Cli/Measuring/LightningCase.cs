// A measured case of lightning attention; listed by demo and bench.
using System.Runtime.CompilerServices;
using FusedAttention.Cli.Reference;

namespace FusedAttention.Cli.Measuring;

/// <param name="Name">Unique and stable: baselines are matched by it.</param>
/// <param name="Type">Element type of q, k and v.</param>
/// <param name="Shape">Sizes; queries and keys are equally many.</param>
/// <param name="Options">Causal, without feature map; with Backward the case is measured in both directions.</param>
internal sealed record LightningCase(string Name, CaseType Type, AttentionShape Shape, LightningOptions Options)
    : MeasuredCase(Name, Type)
{
    internal override string Sizes =>
        $"B{Shape.Batch} H{Shape.QueryHeads}{(Shape.KeyHeads == Shape.QueryHeads ? "" : $"/{Shape.KeyHeads}")}" +
        $" L{Shape.QueryLength} D{Shape.HeadDim}";

    internal override bool HasBackward => Options.Backward;

    internal override DenseEquivalent Dense => DenseEquivalent.Of(Type, Shape, Options.Causal, Options.Backward);

    internal override MeasuredCase Cut(long tokens) => this with { Shape = Cut(Shape, tokens) };

    internal override PreparedCase Prepare<T, TElements>(AttentionDevice device, int seed) =>
        new Prepared<T, TElements>(this, device, seed);

    private sealed class Prepared<T, TElements> : PreparedCase
        where T : unmanaged
        where TElements : IElements<T>
    {
        private readonly LightningAttentionPlan<T> _plan;
        private readonly CaseTensors<T, TElements> _tensors;
        private readonly float[] _slopes;
        private readonly DeviceBuffer<float>? _slopesOnDevice;
        private readonly LightningReference _reference;

        internal Prepared(LightningCase measured, AttentionDevice device, int seed)
        {
            AttentionShape shape = measured.Shape;
            _plan = new LightningAttentionPlan<T>(shape, measured.Options, device);
            _tensors = new CaseTensors<T, TElements>(_plan, shape, measured.HasBackward, seed);
            _slopes = LightningSlopes.OpenNlpLab((int)shape.QueryHeads);
            _slopesOnDevice = _tensors.OnDevice?.Upload(_slopes);
            _reference = new LightningReference(shape, _slopes, measured.Options.Scale, _tensors.Reference);
            Description = _plan.Describe();
            double allPairs = (double)shape.Batch * shape.QueryHeads * shape.QueryLength * shape.QueryLength;
            double queryWidths = (double)shape.QueryHeads * (shape.HeadDim + shape.ValueHeadDim);
            double keyWidths = (double)shape.KeyHeads * (shape.HeadDim + shape.ValueHeadDim);
            Work = new CaseWork
            {
                ForwardFlops = Description.ForwardFlops,
                BackwardFlops = Description.BackwardFlops,
                Bytes = shape.Batch * shape.QueryLength * (queryWidths + keyWidths) * Unsafe.SizeOf<T>(),
                VisitedShare = 1,
                AllPairs = allPairs,
                VisibleShare = allPairs == 0 ? 0 : (1 + (1.0 / shape.QueryLength)) / 2,
            };
        }

        internal override PlanDescription Description { get; }

        internal override CaseWork Work { get; }

        internal override CudaStream? Stream => _tensors.OnDevice?.Stream;

        internal override void Forward()
        {
            if (_tensors.OnDevice is { } device)
            {
                _plan.Forward(
                    new LightningDeviceForwardArguments<T>
                    {
                        Query = device.Q,
                        Key = device.K,
                        Value = device.V,
                        Output = device.Output,
                        Slopes = _slopesOnDevice,
                        Workspace = device.Workspace,
                    },
                    device.Stream);
                return;
            }

            _plan.Forward(_tensors.Q, _tensors.K, _tensors.V, _slopes, _tensors.Output);
        }

        internal override void Backward()
        {
            if (_tensors.OnDevice is { } device)
            {
                _plan.Backward(
                    new LightningDeviceBackwardArguments<T>
                    {
                        Query = device.Q,
                        Key = device.K,
                        Value = device.V,
                        GradOutput = device.OutputGradient,
                        Slopes = _slopesOnDevice,
                        GradQuery = device.QueryGradient,
                        GradKey = device.KeyGradient,
                        GradValue = device.ValueGradient,
                        Workspace = device.Workspace,
                    },
                    device.Stream);
                return;
            }

            LightningBackwardArguments<T> arguments = new()
            {
                Query = _tensors.Q,
                Key = _tensors.K,
                Value = _tensors.V,
                Slopes = _slopes,
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
