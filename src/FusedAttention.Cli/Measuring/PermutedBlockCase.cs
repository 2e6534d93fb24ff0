// A measured case of permuted block-sparse attention, selection included; listed by demo and bench.
using System;
using System.Linq;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using FusedAttention.Cli.Reference;

namespace FusedAttention.Cli.Measuring;

/// <param name="Name">Unique and stable: baselines are matched by it.</param>
/// <param name="Type">Element type of q, k and v.</param>
/// <param name="Shape">Sizes.</param>
/// <param name="Options">Blocks, segments, coverage; with Backward the case is measured in both directions.</param>
internal sealed record PermutedBlockCase(
    string Name, CaseType Type, AttentionShape Shape, PermutedBlockOptions Options) : SoftmaxCase(Name, Type, Shape)
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
        private readonly PermutedBlockAttentionPlan<T> _plan;
        private readonly CaseTensors<T, TElements> _tensors;
        private readonly int[] _permutation;
        private readonly byte[] _blockMask;
        private readonly float[] _coverage;
        private readonly DeviceBuffer<int>? _permutationOnDevice;
        private readonly DeviceBuffer<byte>? _blockMaskOnDevice;
        private readonly double _allowedBlocks;
        private readonly BlockReference _reference;
        private readonly DenseReference _dense;

        internal Prepared(PermutedBlockCase measured, AttentionDevice device, int seed)
        {
            AttentionShape shape = measured.Shape;
            _plan = new PermutedBlockAttentionPlan<T>(shape, measured.Options, device);
            _tensors = new CaseTensors<T, TElements>(_plan, shape, measured.HasBackward, seed);
            ReferenceData data = _tensors.Reference;
            PermutedBlockSample.Lean(shape, measured.Options, data.Q, data.K);
            Round(data.Q, _tensors.Q);
            Round(data.K, _tensors.K);
            long heads = shape.Batch * shape.QueryHeads;
            _permutation = new int[heads * shape.KeyLength];
            _blockMask = new byte[heads * _plan.QueryBlocks * _plan.KeyBlocks];
            _coverage = new float[heads * _plan.QueryBlocks];
            _allowedBlocks = heads * CountAllowed(measured.Options.Causal);
            _permutationOnDevice = _tensors.OnDevice?.Make<int>(_permutation.Length);
            _blockMaskOnDevice = _tensors.OnDevice?.Make<byte>(_blockMask.Length);

            // On the device too, in memory of the host: what is kept there is what runs choose again.
            _plan.Select(_tensors.Q, _tensors.K, _permutation, _blockMask, _coverage);
            BlockPattern pattern = BlockPattern.Given(
                shape, measured.Options.BlockSize, measured.Options.Causal, _permutation, _blockMask);
            _reference = new BlockReference(shape, pattern, measured.Options.Scale, data);
            DenseOptions dense = new() { Causal = measured.Options.Causal, Scale = measured.Options.Scale };
            _dense = new DenseReference(shape, dense, data);
            Description = _plan.Describe();
            ScheduleStats stats = _plan.GetScheduleStats(_permutation, _blockMask);
            Work = measured.WorkOf(stats.NeededPairs, stats, Unsafe.SizeOf<T>());
        }

        internal override PlanDescription Description { get; }

        internal override CaseWork Work { get; }

        internal override CudaStream? Stream => _tensors.OnDevice?.Stream;

        internal override void Forward()
        {
            Select();
            if (_tensors.OnDevice is { } device)
            {
                _plan.Forward(
                    new PermutedBlockDeviceForwardArguments<T>
                    {
                        Query = device.Q,
                        Key = device.K,
                        Value = device.V,
                        Output = device.Output,
                        Lse = device.Lse,
                        Permutation = _permutationOnDevice,
                        BlockMask = _blockMaskOnDevice,
                        Workspace = device.Workspace,
                    },
                    device.Stream);
                return;
            }

            _plan.Forward(_tensors.Q, _tensors.K, _tensors.V, _tensors.Output, _permutation, _blockMask, _tensors.Lse);
        }

        internal override void Backward()
        {
            if (_tensors.OnDevice is { } device)
            {
                _plan.Backward(
                    new PermutedBlockDeviceBackwardArguments<T>
                    {
                        Query = device.Q,
                        Key = device.K,
                        Value = device.V,
                        Output = device.Output,
                        Lse = device.Lse,
                        GradOutput = device.OutputGradient,
                        Permutation = _permutationOnDevice,
                        BlockMask = _blockMaskOnDevice,
                        GradQuery = device.QueryGradient,
                        GradKey = device.KeyGradient,
                        GradValue = device.ValueGradient,
                        Workspace = device.Workspace,
                    },
                    device.Stream);
                return;
            }

            PermutedBlockBackwardArguments<T> arguments = new()
            {
                Query = _tensors.Q,
                Key = _tensors.K,
                Value = _tensors.V,
                Output = _tensors.Output,
                Lse = _tensors.Lse,
                GradOutput = _tensors.OutputGradient,
                Permutation = _permutation,
                BlockMask = _blockMask,
                GradQuery = _tensors.QueryGradient,
                GradKey = _tensors.KeyGradient,
                GradValue = _tensors.ValueGradient,
            };
            _plan.Backward(in arguments);
        }

        internal override CaseSelection MeasureSelection(Func<Action, double> time) => new(
            1e3 * time(Select),
            _blockMask.Count(static kept => kept != 0) / _allowedBlocks,
            TensorPrimitives.Sum<float>(_coverage) / _coverage.Length,
            _tensors.OutputError(_dense));

        internal override double ForwardError() => _tensors.ForwardError(_reference);

        internal override double BackwardError() => _tensors.BackwardError(_reference);

        public override void Dispose()
        {
            _tensors.Dispose();
            _plan.Dispose();
        }

        private void Select()
        {
            if (_tensors.OnDevice is { } device)
            {
                _plan.Select(
                    device.Q, device.K, _permutationOnDevice, _blockMaskOnDevice, device.Stream,
                    workspace: device.Workspace);
                return;
            }

            _plan.Select(_tensors.Q, _tensors.K, _permutation, _blockMask, _coverage);
        }

        // Blocks of one head that a selection may keep: with causality up to the end of the row's own segment, as keys
        // lie anywhere in theirs.
        private double CountAllowed(bool causal)
        {
            PermutedBlockOptions options = _plan.Options;
            long blocksPerSegment = options.SegmentSize / options.BlockSize;
            double allowed = 0;
            for (long row = _plan.KeyBlocks - _plan.QueryBlocks; row < _plan.KeyBlocks; ++row)
            {
                long end = (row / blocksPerSegment * blocksPerSegment) + blocksPerSegment;
                allowed += causal ? Math.Min(end, _plan.KeyBlocks) : _plan.KeyBlocks;
            }

            return allowed;
        }

        // The case's elements, and the same numbers as floats.
        private static void Round(float[] numbers, T[] elements)
        {
            for (int i = 0; i < elements.Length; ++i)
            {
                elements[i] = TElements.FromSingle(numbers[i]);
                numbers[i] = TElements.ToSingle(elements[i]);
            }
        }
    }
}
