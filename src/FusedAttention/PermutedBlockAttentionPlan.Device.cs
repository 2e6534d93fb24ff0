// The runs of a permuted block plan over device tensors, queued in a stream. Part of the public class.
using System;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class PermutedBlockAttentionPlan<T>
{
    /// <summary>Queues the computation of the output over a selection in a stream.</summary>
    /// <param name="arguments">The device tensors of this run, of the plan's device.</param>
    /// <param name="stream">Where it is queued; the results are there once the stream has come to its end.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>
    /// Allocates nothing and does not wait, so that the run can be captured into a CUDA graph. Nothing looks at the
    /// contents of a selection on the device: a wrong one gives wrong results.
    /// </remarks>
    public void Forward(in PermutedBlockDeviceForwardArguments<T> arguments, CudaStream stream)
    {
        using QueuedRun run = new(this, stream, ForwardName);
        fattn_permuted_block_forward_args native = default;
        native.struct_size = (uint)sizeof(fattn_permuted_block_forward_args);
        native.q = run.Take(_specs.Tensors.Query, in arguments.Query);
        native.k = run.Take(_specs.Tensors.Key, in arguments.Key);
        native.v = run.Take(_specs.Tensors.Value, in arguments.Value);
        native.o = run.Take(_specs.Tensors.Output, in arguments.Output);
        native.lse = (float*)run.TakeIfGiven(_specs.Tensors.Lse, in arguments.Lse);
        native.permutation = (int*)run.TakeIfGiven(_specs.Permutation, in arguments.Permutation);
        native.block_mask = (byte*)run.TakeIfGiven(_specs.BlockMask, in arguments.BlockMask);
        fattn_run settings = run.With(in arguments.Workspace);
        NativeCall.Check(NativeMethods.fattn_permuted_block_forward(Handle.Pointer, &native, &settings), ForwardName);
    }

    /// <summary>Queues the computation of gradients in a stream.</summary>
    /// <param name="arguments">The device tensors of this run, of the plan's device.</param>
    /// <param name="stream">Where it is queued; it was prepared for the plan, or the run brings a workspace.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU, or was made without
    /// <see cref="PermutedBlockOptions.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait; a captured run needs a workspace of its own.</remarks>
    public void Backward(in PermutedBlockDeviceBackwardArguments<T> arguments, CudaStream stream)
    {
        using QueuedRun run = new(this, stream, BackwardName);
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        fattn_permuted_block_backward_args native = default;
        native.struct_size = (uint)sizeof(fattn_permuted_block_backward_args);
        native.q = run.Take(_specs.Tensors.Query, in arguments.Query);
        native.k = run.Take(_specs.Tensors.Key, in arguments.Key);
        native.v = run.Take(_specs.Tensors.Value, in arguments.Value);
        native.o = run.Take(_specs.Tensors.Output, in arguments.Output);
        native.lse = (float*)run.Take(_specs.Tensors.Lse, in arguments.Lse);
        native.d_o = run.Take(_specs.Tensors.GradOutput, in arguments.GradOutput);
        native.d_lse = (float*)run.TakeIfGiven(_specs.Tensors.GradLse, in arguments.GradLse);
        native.permutation = (int*)run.TakeIfGiven(_specs.Permutation, in arguments.Permutation);
        native.block_mask = (byte*)run.TakeIfGiven(_specs.BlockMask, in arguments.BlockMask);
        native.d_q = run.TakeIfGiven(_specs.Tensors.GradQuery, in arguments.GradQuery);
        native.d_k = run.TakeIfGiven(_specs.Tensors.GradKey, in arguments.GradKey);
        native.d_v = run.TakeIfGiven(_specs.Tensors.GradValue, in arguments.GradValue);
        fattn_run settings = run.With(in arguments.Workspace);
        NativeCall.Check(NativeMethods.fattn_permuted_block_backward(Handle.Pointer, &native, &settings), BackwardName);
    }

    /// <summary>Queues the choice of slots and blocks by importance and coverage.</summary>
    /// <param name="query">Queries, [B, Hq, Lq, D].</param>
    /// <param name="key">Keys, [B, Hk, Lk, D].</param>
    /// <param name="permutation">Receives the token of each slot, [B, Hq, Lk].</param>
    /// <param name="blockMask">Receives 1 for kept blocks, [B, Hq, QueryBlocks, KeyBlocks].</param>
    /// <param name="coverage">Receives the share of the block weights that is kept, [B, Hq, QueryBlocks]; default: not
    /// wanted.</param>
    /// <param name="stream">Where it is queued; it was prepared for forward runs, or there is a workspace.</param>
    /// <param name="workspace">Memory of its own, of a forward run's size; default: that of the stream.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait; the host sees nothing of what is chosen.</remarks>
    public void Select(
        DeviceTensor<T> query, DeviceTensor<T> key, DeviceTensor<int> permutation, DeviceTensor<byte> blockMask,
        CudaStream stream, DeviceTensor<float> coverage = default, DeviceTensor<byte> workspace = default)
    {
        using QueuedRun run = new(this, stream, nameof(Select));
        fattn_permuted_block_select_args native = default;
        native.struct_size = (uint)sizeof(fattn_permuted_block_select_args);
        native.q = run.Take(_specs.Tensors.Query, in query);
        native.k = run.Take(_specs.Tensors.Key, in key);
        native.permutation = (int*)run.Take(_specs.Permutation, in permutation);
        native.block_mask = (byte*)run.Take(_specs.BlockMask, in blockMask);
        native.coverage = (float*)run.TakeIfGiven(_specs.Coverage, in coverage);
        fattn_run settings = run.With(in workspace);
        NativeCall.Check(NativeMethods.fattn_permuted_block_select(Handle.Pointer, &native, &settings), nameof(Select));
    }

    /// <summary>Queues the choice of blocks as MoBA does it.</summary>
    /// <param name="query">Queries, [B, Hq, Lq, D].</param>
    /// <param name="key">Keys, [B, Hk, Lk, D].</param>
    /// <param name="topK">Blocks to keep in each row, the own block being one of them; 1 or more.</param>
    /// <param name="blockMask">Receives 1 for kept blocks, [B, Hq, QueryBlocks, KeyBlocks].</param>
    /// <param name="stream">Where it is queued; it was prepared for forward runs, or there is a workspace.</param>
    /// <param name="workspace">Memory of its own, of a forward run's size; default: that of the stream.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait; the host sees nothing of what is chosen.</remarks>
    public void SelectMoba(
        DeviceTensor<T> query, DeviceTensor<T> key, long topK, DeviceTensor<byte> blockMask, CudaStream stream,
        DeviceTensor<byte> workspace = default)
    {
        using QueuedRun run = new(this, stream, nameof(SelectMoba));
        fattn_permuted_block_gate_args native = default;
        native.q = run.Take(_specs.Tensors.Query, in query);
        native.k = run.Take(_specs.Tensors.Key, in key);
        native.block_mask = (byte*)run.Take(_specs.BlockMask, in blockMask);
        native.top_k = topK;
        native.gate = fattn_block_gate.FATTN_BLOCK_GATE_MOBA;
        Gate(native, run.With(in workspace), nameof(SelectMoba));
    }

    /// <summary>Queues the choice of the blocks with the highest given scores, and the own block.</summary>
    /// <param name="scores">Scores of a gate, [B, Hq, QueryBlocks, KeyBlocks]; with causality those after the own block
    /// do not count.</param>
    /// <param name="topK">Blocks to keep in each row, 1 or more.</param>
    /// <param name="blockMask">Receives 1 for kept blocks, [B, Hq, QueryBlocks, KeyBlocks].</param>
    /// <param name="stream">Where it is queued; it was prepared for forward runs, or there is a workspace.</param>
    /// <param name="workspace">Memory of its own, of a forward run's size; default: that of the stream.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait; the host sees nothing of what is chosen.</remarks>
    public void SelectTopK(
        DeviceTensor<float> scores, long topK, DeviceTensor<byte> blockMask, CudaStream stream,
        DeviceTensor<byte> workspace = default)
    {
        using QueuedRun run = new(this, stream, nameof(SelectTopK));
        fattn_permuted_block_gate_args native = default;
        native.scores = (float*)run.Take(_specs.Scores, in scores);
        native.block_mask = (byte*)run.Take(_specs.BlockMask, in blockMask);
        native.top_k = topK;
        native.gate = fattn_block_gate.FATTN_BLOCK_GATE_TOP_K;
        Gate(native, run.With(in workspace), nameof(SelectTopK));
    }

    /// <summary>Queues the choice of the blocks whose softmax of given scores reaches a threshold.</summary>
    /// <param name="scores">Scores of a gate, [B, Hq, QueryBlocks, KeyBlocks]; with causality those after the own block
    /// do not count.</param>
    /// <param name="threshold">Least weight of a kept block, 0 to 1.</param>
    /// <param name="blockMask">Receives 1 for kept blocks, [B, Hq, QueryBlocks, KeyBlocks].</param>
    /// <param name="stream">Where it is queued; it was prepared for forward runs, or there is a workspace.</param>
    /// <param name="workspace">Memory of its own, of a forward run's size; default: that of the stream.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait; the host sees nothing of what is chosen.</remarks>
    public void SelectThreshold(
        DeviceTensor<float> scores, float threshold, DeviceTensor<byte> blockMask, CudaStream stream,
        DeviceTensor<byte> workspace = default)
    {
        using QueuedRun run = new(this, stream, nameof(SelectThreshold));
        fattn_permuted_block_gate_args native = default;
        native.scores = (float*)run.Take(_specs.Scores, in scores);
        native.block_mask = (byte*)run.Take(_specs.BlockMask, in blockMask);
        native.threshold = threshold;
        native.gate = fattn_block_gate.FATTN_BLOCK_GATE_THRESHOLD;
        Gate(native, run.With(in workspace), nameof(SelectThreshold));
    }

    private void Gate(fattn_permuted_block_gate_args native, fattn_run settings, string operation)
    {
        native.struct_size = (uint)sizeof(fattn_permuted_block_gate_args);
        NativeCall.Check(NativeMethods.fattn_permuted_block_gate(Handle.Pointer, &native, &settings), operation);
    }
}
