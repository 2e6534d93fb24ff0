// A measured case of dense attention; listed by demo and bench, and the equivalent of the other families' cases.
using System;
using System.Runtime.CompilerServices;
using FusedAttention.Cli.Reference;

namespace FusedAttention.Cli.Measuring;

/// <param name="Name">Unique and stable: baselines are matched by it.</param>
/// <param name="Type">Element type of q, k and v.</param>
/// <param name="Shape">Sizes.</param>
/// <param name="Options">Features; with Backward the case is measured in both directions.</param>
internal sealed record DenseCase(string Name, CaseType Type, AttentionShape Shape, DenseOptions Options)
    : SoftmaxCase(Name, Type, Shape)
{
    internal override bool HasBackward => Options.Backward;

    internal override MeasuredCase Cut(long tokens) => this with { Shape = Cut(Shape, tokens) };

    internal override PreparedCase Prepare<T, TElements>(AttentionDevice device, int seed) =>
        new Prepared<T, TElements>(this, device, seed);

    private sealed class Prepared<T, TElements> : PreparedCase
        where T : unmanaged
        where TElements : IElements<T>
    {
        private readonly DenseAttentionPlan<T> _plan;
        private readonly CaseTensors<T, TElements> _tensors;
        private readonly ReferenceData _data;
        private readonly DeviceBuffer<float>? _slopesOnDevice;
        private readonly DeviceBuffer<float>? _sinksOnDevice;
        private readonly DenseReference _reference;

        internal Prepared(DenseCase measured, AttentionDevice device, int seed)
        {
            _plan = new DenseAttentionPlan<T>(measured.Shape, measured.Options, device);
            _tensors = new CaseTensors<T, TElements>(_plan, measured.Shape, measured.HasBackward, seed);
            long heads = measured.Shape.QueryHeads;
            _data = _tensors.Reference with
            {
                AlibiSlopes = measured.Options.Alibi ? Slopes(heads) : null,
                SinkLogits = measured.Options.Sinks ? NormalNumbers.Draw(heads, seed + CaseTensors.NumSeeds) : null,
            };
            _slopesOnDevice = _data.AlibiSlopes is { } slopes ? _tensors.OnDevice?.Upload(slopes) : null;
            _sinksOnDevice = _data.SinkLogits is { } sinks ? _tensors.OnDevice?.Upload(sinks) : null;
            _reference = new DenseReference(measured.Shape, measured.Options, _data);
            Description = _plan.Describe();
            double pairs = (double)_reference.VisiblePairs() * measured.Shape.Batch * heads;
            Work = measured.WorkOf(pairs, _plan.GetScheduleStats(), Unsafe.SizeOf<T>());
        }

        internal override PlanDescription Description { get; }

        internal override CaseWork Work { get; }

        internal override CudaStream? Stream => _tensors.OnDevice?.Stream;

        internal override void Forward()
        {
            if (_tensors.OnDevice is { } device)
            {
                _plan.Forward(
                    new DenseDeviceForwardArguments<T>
                    {
                        Query = device.Q,
                        Key = device.K,
                        Value = device.V,
                        Output = device.Output,
                        Lse = device.Lse,
                        AlibiSlopes = _slopesOnDevice,
                        SinkLogits = _sinksOnDevice,
                        Workspace = device.Workspace,
                    },
                    device.Stream);
                return;
            }

            DenseForwardArguments<T> arguments = new()
            {
                Query = _tensors.Q,
                Key = _tensors.K,
                Value = _tensors.V,
                Output = _tensors.Output,
                Lse = _tensors.Lse,
                AlibiSlopes = _data.AlibiSlopes,
                SinkLogits = _data.SinkLogits,
            };
            _plan.Forward(in arguments);
        }

        internal override void Backward()
        {
            if (_tensors.OnDevice is { } device)
            {
                _plan.Backward(
                    new DenseDeviceBackwardArguments<T>
                    {
                        Query = device.Q,
                        Key = device.K,
                        Value = device.V,
                        Output = device.Output,
                        Lse = device.Lse,
                        GradOutput = device.OutputGradient,
                        AlibiSlopes = _slopesOnDevice,
                        SinkLogits = _sinksOnDevice,
                        GradQuery = device.QueryGradient,
                        GradKey = device.KeyGradient,
                        GradValue = device.ValueGradient,
                        Workspace = device.Workspace,
                    },
                    device.Stream);
                return;
            }

            DenseBackwardArguments<T> arguments = new()
            {
                Query = _tensors.Q,
                Key = _tensors.K,
                Value = _tensors.V,
                Output = _tensors.Output,
                Lse = _tensors.Lse,
                GradOutput = _tensors.OutputGradient,
                AlibiSlopes = _data.AlibiSlopes,
                SinkLogits = _data.SinkLogits,
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

        private static float[] Slopes(long heads)
        {
            float[] slopes = new float[heads];
            for (int head = 0; head < slopes.Length; ++head)
            {
                slopes[head] = MathF.Pow(2, -8f * (head + 1) / heads);
            }

            return slopes;
        }
    }
}
