// The runs of a permuted block plan: checks, pins, calls. Called by the public methods and by the one-call methods.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class PermutedBlockAttentionPlan<T>
{
    private const string ForwardName = "PermutedBlockAttentionPlan.Forward";
    private const string BackwardName = "PermutedBlockAttentionPlan.Backward";

    /// <summary>A forward run; the caller holds a reference to the native plan.</summary>
    internal void ForwardHeld(in PermutedBlockForwardArguments<T> arguments, CancellationToken cancellationToken)
    {
        DenseSpecs tensors = _specs.Tensors;
        tensors.Query.Check(in arguments.Query);
        tensors.Key.Check(in arguments.Key);
        tensors.Value.Check(in arguments.Value);
        tensors.Output.Check(in arguments.Output);
        if (!arguments.Lse.IsDefault)
        {
            tensors.Lse.Check(in arguments.Lse);
        }

        CheckSelection(in arguments.Permutation, in arguments.BlockMask);
        using HandleScope owners = default;
        owners.Add(arguments.Query.Owner);
        owners.Add(arguments.Key.Owner);
        owners.Add(arguments.Value.Owner);
        owners.Add(arguments.Output.Owner);
        owners.Add(arguments.Lse.Owner);
        owners.Add(arguments.Permutation.Owner);
        owners.Add(arguments.BlockMask.Owner);
        fixed (void* q = arguments.Query, k = arguments.Key, v = arguments.Value, o = arguments.Output)
        fixed (void* lse = arguments.Lse, permutation = arguments.Permutation, blockMask = arguments.BlockMask)
        {
            fattn_permuted_block_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_permuted_block_forward_args);
            native.q = q;
            native.k = k;
            native.v = v;
            native.o = o;
            native.lse = (float*)lse;
            native.permutation = (int*)permutation;
            native.block_mask = (byte*)blockMask;
            using var run = new RunScope(arguments.MaxThreads, cancellationToken);
            fattn_run settings = run.Settings;
            NativeCall.Check(
                NativeMethods.fattn_permuted_block_forward(Handle.Pointer, &native, &settings), ForwardName,
                cancellationToken);
        }
    }

    /// <summary>A backward run; the caller holds a reference to the native plan.</summary>
    internal void BackwardHeld(in PermutedBlockBackwardArguments<T> arguments, CancellationToken cancellationToken)
    {
        CheckBackward(in arguments);
        using HandleScope owners = default;
        owners.Add(arguments.Query.Owner);
        owners.Add(arguments.Key.Owner);
        owners.Add(arguments.Value.Owner);
        owners.Add(arguments.Output.Owner);
        owners.Add(arguments.Lse.Owner);
        owners.Add(arguments.GradOutput.Owner);
        owners.Add(arguments.GradLse.Owner);
        owners.Add(arguments.Permutation.Owner);
        owners.Add(arguments.BlockMask.Owner);
        owners.Add(arguments.GradQuery.Owner);
        owners.Add(arguments.GradKey.Owner);
        owners.Add(arguments.GradValue.Owner);
        fixed (void* q = arguments.Query, k = arguments.Key, v = arguments.Value, o = arguments.Output)
        fixed (void* lse = arguments.Lse, gradOutput = arguments.GradOutput, gradLse = arguments.GradLse)
        fixed (void* permutation = arguments.Permutation, blockMask = arguments.BlockMask)
        fixed (void* gradQuery = arguments.GradQuery, gradKey = arguments.GradKey, gradValue = arguments.GradValue)
        {
            fattn_permuted_block_backward_args native = default;
            native.struct_size = (uint)sizeof(fattn_permuted_block_backward_args);
            native.q = q;
            native.k = k;
            native.v = v;
            native.o = o;
            native.lse = (float*)lse;
            native.d_o = gradOutput;
            native.d_lse = (float*)gradLse;
            native.permutation = (int*)permutation;
            native.block_mask = (byte*)blockMask;
            native.d_q = gradQuery;
            native.d_k = gradKey;
            native.d_v = gradValue;
            using var run = new RunScope(arguments.MaxThreads, cancellationToken);
            fattn_run settings = run.Settings;
            NativeCall.Check(
                NativeMethods.fattn_permuted_block_backward(Handle.Pointer, &native, &settings), BackwardName,
                cancellationToken);
        }
    }

    private void CheckBackward(in PermutedBlockBackwardArguments<T> arguments)
    {
        if (!Options.Backward)
        {
            throw new InvalidOperationException(
                $"{BackwardName} was called on a plan made without {nameof(PermutedBlockOptions.Backward)}.");
        }

        DenseSpecs tensors = _specs.Tensors;
        tensors.Query.Check(in arguments.Query);
        tensors.Key.Check(in arguments.Key);
        tensors.Value.Check(in arguments.Value);
        tensors.Output.Check(in arguments.Output);
        tensors.Lse.Check(in arguments.Lse);
        tensors.GradOutput.Check(in arguments.GradOutput);
        if (!arguments.GradLse.IsDefault)
        {
            tensors.GradLse.Check(in arguments.GradLse);
        }

        CheckSelection(in arguments.Permutation, in arguments.BlockMask);
        if (!arguments.GradQuery.IsDefault)
        {
            tensors.GradQuery.Check(in arguments.GradQuery);
        }

        if (!arguments.GradKey.IsDefault)
        {
            tensors.GradKey.Check(in arguments.GradKey);
        }

        if (!arguments.GradValue.IsDefault)
        {
            tensors.GradValue.Check(in arguments.GradValue);
        }
    }

    private void CheckSelection(in TensorIn<int> permutation, in TensorIn<byte> blockMask)
    {
        if (!permutation.IsDefault)
        {
            _specs.Permutation.Check(in permutation);
        }

        if (!blockMask.IsDefault)
        {
            _specs.BlockMask.Check(in blockMask);
        }
    }
}
