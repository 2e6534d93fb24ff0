// The selections of a permuted block plan: checks, pins, calls. Part of the public class.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class PermutedBlockAttentionPlan<T>
{
    /// <summary>Chooses slots and blocks by importance and coverage.</summary>
    /// <param name="query">Queries, [B, Hq, Lq, D].</param>
    /// <param name="key">Keys, [B, Hk, Lk, D].</param>
    /// <param name="permutation">Receives the token of each slot, [B, Hq, Lk].</param>
    /// <param name="blockMask">Receives 1 for kept blocks, [B, Hq, QueryBlocks, KeyBlocks].</param>
    /// <param name="coverage">Receives the share of the block weights that is kept, [B, Hq, QueryBlocks], 1 where there
    /// was no block to choose; default: not wanted.</param>
    /// <param name="maxThreads">Most threads the run may use, 0 for the device's own number.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void Select(
        TensorIn<T> query, TensorIn<T> key, TensorOut<int> permutation, TensorOut<byte> blockMask,
        TensorOut<float> coverage = default, int maxThreads = 0, CancellationToken cancellationToken = default)
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        SelectHeld(query, key, permutation, blockMask, coverage, maxThreads, cancellationToken);
    }

    /// <summary>Chooses blocks as MoBA does: the highest scores of mean query times mean key.</summary>
    /// <param name="query">Queries, [B, Hq, Lq, D].</param>
    /// <param name="key">Keys, [B, Hk, Lk, D].</param>
    /// <param name="topK">Blocks to keep in each row, the own block being one of them; 1 or more.</param>
    /// <param name="blockMask">Receives 1 for kept blocks, [B, Hq, QueryBlocks, KeyBlocks], for runs without a
    /// permutation.</param>
    /// <param name="maxThreads">Most threads the run may use, 0 for the device's own number.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <remarks>
    /// MoBA itself chooses for each query: <see cref="PermutedBlockOptions.QueryBlock"/> 1. The own block and the chosen
    /// ones are parts of one softmax, so the result is MoBA's merge of both.
    /// </remarks>
    public void SelectMoba(
        TensorIn<T> query, TensorIn<T> key, long topK, TensorOut<byte> blockMask, int maxThreads = 0,
        CancellationToken cancellationToken = default)
    {
        _specs.Tensors.Query.Check(in query);
        _specs.Tensors.Key.Check(in key);
        _specs.BlockMask.Check(in blockMask);
        using HandleScope scope = default;
        scope.Add(Handle);
        using HandleScope owners = default;
        owners.Add(query.Owner);
        owners.Add(key.Owner);
        owners.Add(blockMask.Owner);
        fixed (void* q = query, k = key, mask = blockMask)
        {
            fattn_permuted_block_gate_args native = default;
            native.q = q;
            native.k = k;
            native.block_mask = (byte*)mask;
            native.top_k = topK;
            native.gate = fattn_block_gate.FATTN_BLOCK_GATE_MOBA;
            Gate(in native, nameof(SelectMoba), maxThreads, cancellationToken);
        }
    }

    /// <summary>Chooses the blocks with the highest given scores, and the own block.</summary>
    /// <param name="scores">Scores of a gate, [B, Hq, QueryBlocks, KeyBlocks]; with causality those after the own block
    /// do not count.</param>
    /// <param name="topK">Blocks to keep in each row, 1 or more.</param>
    /// <param name="blockMask">Receives 1 for kept blocks, [B, Hq, QueryBlocks, KeyBlocks], for runs without a
    /// permutation.</param>
    /// <param name="maxThreads">Most threads the run may use, 0 for the device's own number.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void SelectTopK(
        TensorIn<float> scores, long topK, TensorOut<byte> blockMask, int maxThreads = 0,
        CancellationToken cancellationToken = default)
    {
        fattn_permuted_block_gate_args native = default;
        native.top_k = topK;
        native.gate = fattn_block_gate.FATTN_BLOCK_GATE_TOP_K;
        GateScores(ref native, scores, blockMask, nameof(SelectTopK), maxThreads, cancellationToken);
    }

    /// <summary>Chooses the blocks whose softmax of given scores reaches a threshold, and the own block.</summary>
    /// <param name="scores">Scores of a gate, [B, Hq, QueryBlocks, KeyBlocks]; with causality those after the own block
    /// do not count.</param>
    /// <param name="threshold">Least weight of a kept block, 0 to 1; 5e-4 to 5e-3 are usual.</param>
    /// <param name="blockMask">Receives 1 for kept blocks, [B, Hq, QueryBlocks, KeyBlocks], for runs without a
    /// permutation.</param>
    /// <param name="maxThreads">Most threads the run may use, 0 for the device's own number.</param>
    /// <param name="cancellationToken">Stops the run within 10 ms; outputs are then undefined.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why.</exception>
    /// <exception cref="ObjectDisposedException">The plan, or a tensor's memory, was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public void SelectThreshold(
        TensorIn<float> scores, float threshold, TensorOut<byte> blockMask, int maxThreads = 0,
        CancellationToken cancellationToken = default)
    {
        fattn_permuted_block_gate_args native = default;
        native.threshold = threshold;
        native.gate = fattn_block_gate.FATTN_BLOCK_GATE_THRESHOLD;
        GateScores(ref native, scores, blockMask, nameof(SelectThreshold), maxThreads, cancellationToken);
    }

    /// <summary>A selection; the caller holds a reference to the native plan.</summary>
    internal void SelectHeld(
        TensorIn<T> query, TensorIn<T> key, TensorOut<int> permutation, TensorOut<byte> blockMask,
        TensorOut<float> coverage, int maxThreads, CancellationToken cancellationToken)
    {
        _specs.Tensors.Query.Check(in query);
        _specs.Tensors.Key.Check(in key);
        _specs.Permutation.Check(in permutation);
        _specs.BlockMask.Check(in blockMask);
        _specs.Coverage.CheckIfGiven(in coverage);
        using HandleScope owners = default;
        owners.Add(query.Owner);
        owners.Add(key.Owner);
        owners.Add(permutation.Owner);
        owners.Add(blockMask.Owner);
        owners.Add(coverage.Owner);
        fixed (void* q = query, k = key, tokens = permutation, mask = blockMask, share = coverage)
        {
            using HostRun run = new(this, AttentionPass.Forward, maxThreads, cancellationToken);
            fattn_permuted_block_select_args native = default;
            native.struct_size = (uint)sizeof(fattn_permuted_block_select_args);
            run.Input(&native.q, q, _specs.Tensors.Query);
            run.Input(&native.k, k, _specs.Tensors.Key);
            run.Output(&native.permutation, tokens, _specs.Permutation);
            run.Output(&native.block_mask, mask, _specs.BlockMask);
            run.Output(&native.coverage, share, _specs.Coverage);
            fattn_run settings = run.Begin();
            NativeCall.Check(
                NativeMethods.fattn_permuted_block_select(Handle.Pointer, &native, &settings), nameof(Select),
                cancellationToken);
            run.End();
        }
    }

    private void GateScores(
        ref fattn_permuted_block_gate_args native, TensorIn<float> scores, TensorOut<byte> blockMask, string operation,
        int maxThreads, CancellationToken cancellationToken)
    {
        _specs.Scores.Check(in scores);
        _specs.BlockMask.Check(in blockMask);
        using HandleScope scope = default;
        scope.Add(Handle);
        using HandleScope owners = default;
        owners.Add(scores.Owner);
        owners.Add(blockMask.Owner);
        fixed (void* given = scores, mask = blockMask)
        {
            native.scores = (float*)given;
            native.block_mask = (byte*)mask;
            Gate(in native, operation, maxThreads, cancellationToken);
        }
    }

    private void Gate(
        in fattn_permuted_block_gate_args given, string operation, int maxThreads,
        CancellationToken cancellationToken)
    {
        using HostRun run = new(this, AttentionPass.Forward, maxThreads, cancellationToken);
        fattn_permuted_block_gate_args native = given;
        native.struct_size = (uint)sizeof(fattn_permuted_block_gate_args);
        run.Input(&native.q, given.q, _specs.Tensors.Query);
        run.Input(&native.k, given.k, _specs.Tensors.Key);
        run.Input(&native.scores, given.scores, _specs.Scores);
        run.Output(&native.block_mask, given.block_mask, _specs.BlockMask);
        fattn_run settings = run.Begin();
        NativeCall.Check(
            NativeMethods.fattn_permuted_block_gate(Handle.Pointer, &native, &settings), operation, cancellationToken);
        run.End();
    }
}
