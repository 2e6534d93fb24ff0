// The runs of a permuted block plan: checks, pins, calls. Called by the public methods and by the one-call methods.
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
        _specs.Tensors.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        _specs.Tensors.CheckOutputs(in arguments.Output, in arguments.Lse);
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
            using HostRun run = new(this, AttentionPass.Forward, arguments.MaxThreads, cancellationToken);
            fattn_permuted_block_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_permuted_block_forward_args);
            CheckContents((int*)permutation, (byte*)blockMask, ForwardName);
            run.Input(&native.q, q, _specs.Tensors.Query);
            run.Input(&native.k, k, _specs.Tensors.Key);
            run.Input(&native.v, v, _specs.Tensors.Value);
            run.Output(&native.o, o, _specs.Tensors.Output);
            run.Output(&native.lse, lse, _specs.Tensors.Lse);
            run.Input(&native.permutation, permutation, _specs.Permutation);
            run.Input(&native.block_mask, blockMask, _specs.BlockMask);
            fattn_run settings = run.Begin();
            NativeCall.Check(
                NativeMethods.fattn_permuted_block_forward(Handle.Pointer, &native, &settings), ForwardName,
                cancellationToken);
            run.End();
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
            using HostRun run = new(this, AttentionPass.Backward, arguments.MaxThreads, cancellationToken);
            fattn_permuted_block_backward_args native = default;
            native.struct_size = (uint)sizeof(fattn_permuted_block_backward_args);
            CheckContents((int*)permutation, (byte*)blockMask, BackwardName);
            run.Input(&native.q, q, _specs.Tensors.Query);
            run.Input(&native.k, k, _specs.Tensors.Key);
            run.Input(&native.v, v, _specs.Tensors.Value);
            run.Input(&native.o, o, _specs.Tensors.Output);
            run.Input(&native.lse, lse, _specs.Tensors.Lse);
            run.Input(&native.d_o, gradOutput, _specs.Tensors.GradOutput);
            run.Input(&native.d_lse, gradLse, _specs.Tensors.GradLse);
            run.Input(&native.permutation, permutation, _specs.Permutation);
            run.Input(&native.block_mask, blockMask, _specs.BlockMask);
            run.Output(&native.d_q, gradQuery, _specs.Tensors.GradQuery);
            run.Output(&native.d_k, gradKey, _specs.Tensors.GradKey);
            run.Output(&native.d_v, gradValue, _specs.Tensors.GradValue);
            fattn_run settings = run.Begin();
            NativeCall.Check(
                NativeMethods.fattn_permuted_block_backward(Handle.Pointer, &native, &settings), BackwardName,
                cancellationToken);
            run.End();
        }
    }

    private void CheckBackward(in PermutedBlockBackwardArguments<T> arguments)
    {
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        DenseSpecs tensors = _specs.Tensors;
        tensors.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        tensors.CheckForwardResults(in arguments.Output, in arguments.Lse);
        tensors.CheckIncoming(in arguments.GradOutput, in arguments.GradLse);
        CheckSelection(in arguments.Permutation, in arguments.BlockMask);
        tensors.CheckGradients(in arguments.GradQuery, in arguments.GradKey, in arguments.GradValue);
    }

    // A run on the CPU looks at them itself; on a GPU nothing does.
    private void CheckContents(int* permutation, byte* blockMask, string operation)
    {
        if (Device is CudaDevice && permutation is not null)
        {
            _ = ReadStats(permutation, blockMask, operation);
        }
    }

    private void CheckSelection(in TensorIn<int> permutation, in TensorIn<byte> blockMask)
    {
        _specs.Permutation.CheckIfGiven(in permutation);
        _specs.BlockMask.CheckIfGiven(in blockMask);
    }
}
