// The runs of a dense plan on a GPU, over device tensors and over spans. Called by callers and by DenseAttentionPlan.Run.
using System;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class DenseAttentionPlan<T>
{
    /// <summary>Queues the computation of the output in a stream.</summary>
    /// <param name="arguments">The device tensors of this run, of the plan's device.</param>
    /// <param name="stream">Where it is queued; the results are there once the stream has come to its end.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait, so that the run can be captured into a CUDA graph.</remarks>
    public void Forward(in DenseDeviceForwardArguments<T> arguments, CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        RequireCuda(ForwardName);
        CheckForward(in arguments);
        using HandleScope owners = default;
        owners.Add(Handle);
        owners.Add(stream.Handle);
        owners.Add(arguments.Query.Owner);
        owners.Add(arguments.Key.Owner);
        owners.Add(arguments.Value.Owner);
        owners.Add(arguments.Output.Owner);
        owners.Add(arguments.Lse.Owner);
        owners.Add(arguments.Bias.Owner);
        owners.Add(arguments.Mask.Owner);
        owners.Add(arguments.AlibiSlopes.Owner);
        owners.Add(arguments.SinkLogits.Owner);
        owners.Add(arguments.CumulativeQueryLengths.Owner);
        owners.Add(arguments.CumulativeKeyLengths.Owner);
        owners.Add(arguments.KeyLengths.Owner);
        owners.Add(arguments.BlockTable.Owner);
        owners.Add(arguments.Workspace.Owner);

        fattn_dense_forward_args native = default;
        native.struct_size = (uint)sizeof(fattn_dense_forward_args);
        native.flags = (uint)fattn_dense_args_flags.FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE;
        native.q = (void*)arguments.Query.Address;
        native.k = (void*)arguments.Key.Address;
        native.v = (void*)arguments.Value.Address;
        native.o = (void*)arguments.Output.Address;
        native.lse = (float*)arguments.Lse.Address;
        native.bias = (void*)arguments.Bias.Address;
        native.mask = (void*)arguments.Mask.Address;
        native.alibi_slopes = (float*)arguments.AlibiSlopes.Address;
        native.sink_logits = (float*)arguments.SinkLogits.Address;
        native.cu_seqlens_q = (int*)arguments.CumulativeQueryLengths.Address;
        native.cu_seqlens_k = (int*)arguments.CumulativeKeyLengths.Address;
        native.kv_len = (int*)arguments.KeyLengths.Address;
        native.block_table = (int*)arguments.BlockTable.Address;
        native.dropout_seed = arguments.DropoutSeed;
        native.dropout_offset = arguments.DropoutOffset;
        native.q_position_offset = arguments.QueryPositionOffset;
        native.k_position_offset = arguments.KeyPositionOffset;

        fattn_run settings = DeviceRun(stream, in arguments.Workspace);
        NativeCall.Check(NativeMethods.fattn_dense_forward(Handle.Pointer, &native, &settings), ForwardName);
    }

    /// <summary>Queues the computation of gradients in a stream.</summary>
    /// <param name="arguments">The device tensors of this run, of the plan's device.</param>
    /// <param name="stream">Where it is queued; it was prepared for the plan, or the arguments hold a workspace.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU, or was made without
    /// <see cref="DenseOptions.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait; a captured run needs a workspace of its own.</remarks>
    public void Backward(in DenseDeviceBackwardArguments<T> arguments, CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        RequireCuda(BackwardName);
        CheckBackward(in arguments);
        using HandleScope owners = default;
        owners.Add(Handle);
        owners.Add(stream.Handle);
        owners.Add(arguments.Query.Owner);
        owners.Add(arguments.Key.Owner);
        owners.Add(arguments.Value.Owner);
        owners.Add(arguments.Output.Owner);
        owners.Add(arguments.Lse.Owner);
        owners.Add(arguments.GradOutput.Owner);
        owners.Add(arguments.GradLse.Owner);
        owners.Add(arguments.Bias.Owner);
        owners.Add(arguments.Mask.Owner);
        owners.Add(arguments.AlibiSlopes.Owner);
        owners.Add(arguments.SinkLogits.Owner);
        owners.Add(arguments.CumulativeQueryLengths.Owner);
        owners.Add(arguments.CumulativeKeyLengths.Owner);
        owners.Add(arguments.KeyLengths.Owner);
        owners.Add(arguments.GradQuery.Owner);
        owners.Add(arguments.GradKey.Owner);
        owners.Add(arguments.GradValue.Owner);
        owners.Add(arguments.GradBias.Owner);
        owners.Add(arguments.GradSinkLogits.Owner);
        owners.Add(arguments.Workspace.Owner);

        fattn_dense_backward_args native = default;
        native.struct_size = (uint)sizeof(fattn_dense_backward_args);
        native.flags = (uint)fattn_dense_args_flags.FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE;
        native.q = (void*)arguments.Query.Address;
        native.k = (void*)arguments.Key.Address;
        native.v = (void*)arguments.Value.Address;
        native.o = (void*)arguments.Output.Address;
        native.lse = (float*)arguments.Lse.Address;
        native.d_o = (void*)arguments.GradOutput.Address;
        native.d_lse = (float*)arguments.GradLse.Address;
        native.bias = (void*)arguments.Bias.Address;
        native.mask = (void*)arguments.Mask.Address;
        native.alibi_slopes = (float*)arguments.AlibiSlopes.Address;
        native.sink_logits = (float*)arguments.SinkLogits.Address;
        native.cu_seqlens_q = (int*)arguments.CumulativeQueryLengths.Address;
        native.cu_seqlens_k = (int*)arguments.CumulativeKeyLengths.Address;
        native.kv_len = (int*)arguments.KeyLengths.Address;
        native.d_q = (void*)arguments.GradQuery.Address;
        native.d_k = (void*)arguments.GradKey.Address;
        native.d_v = (void*)arguments.GradValue.Address;
        native.d_bias = (float*)arguments.GradBias.Address;
        native.d_sink_logits = (float*)arguments.GradSinkLogits.Address;
        native.dropout_seed = arguments.DropoutSeed;
        native.dropout_offset = arguments.DropoutOffset;
        native.q_position_offset = arguments.QueryPositionOffset;
        native.k_position_offset = arguments.KeyPositionOffset;

        fattn_run settings = DeviceRun(stream, in arguments.Workspace);
        NativeCall.Check(NativeMethods.fattn_dense_backward(Handle.Pointer, &native, &settings), BackwardName);
    }

    private static fattn_run DeviceRun(CudaStream stream, in DeviceTensor<byte> workspace)
    {
        fattn_run run = default;
        run.struct_size = (uint)sizeof(fattn_run);
        run.stream = (void*)stream.Native;
        run.workspace = (void*)workspace.Address;
        run.workspace_bytes = workspace.Address == 0 ? 0 : (ulong)workspace.Length;
        return run;
    }

    private void StageForward(CudaDevice device, fattn_dense_forward_args* native)
    {
        using StagedRun staged = device.Staging.Rent();
        staged.Input(&native->q, _specs.Query.Bytes);
        staged.Input(&native->k, _specs.Key.Bytes);
        staged.Input(&native->v, _specs.Value.Bytes);
        staged.Input(&native->bias, BytesOf(_specs.Bias));
        staged.Input(&native->mask, BytesOf(_specs.Mask));
        staged.Input((void**)&native->alibi_slopes, _specs.AlibiSlopes.Bytes);
        staged.Input((void**)&native->sink_logits, _specs.SinkLogits.Bytes);
        staged.Input((void**)&native->block_table, BytesOf(_specs.BlockTable));
        // Tokens of no sequence stay as they are.
        bool isPacked = Options.Packed is not null;
        Output(staged, &native->o, _specs.Output, isPacked);
        Output(staged, (void**)&native->lse, _specs.Lse, isPacked);
        fattn_run run = staged.Upload(_forwardWorkspace);
        NativeCall.Check(NativeMethods.fattn_dense_forward(Handle.Pointer, native, &run), ForwardName);
        staged.Download();
    }

    private void StageBackward(CudaDevice device, fattn_dense_backward_args* native)
    {
        using StagedRun staged = device.Staging.Rent();
        staged.Input(&native->q, _specs.Query.Bytes);
        staged.Input(&native->k, _specs.Key.Bytes);
        staged.Input(&native->v, _specs.Value.Bytes);
        staged.Input(&native->o, _specs.Output.Bytes);
        staged.Input((void**)&native->lse, _specs.Lse.Bytes);
        staged.Input(&native->d_o, _specs.GradOutput.Bytes);
        staged.Input((void**)&native->d_lse, _specs.GradLse.Bytes);
        staged.Input(&native->bias, BytesOf(_specs.Bias));
        staged.Input(&native->mask, BytesOf(_specs.Mask));
        staged.Input((void**)&native->alibi_slopes, _specs.AlibiSlopes.Bytes);
        staged.Input((void**)&native->sink_logits, _specs.SinkLogits.Bytes);
        Output(staged, &native->d_q, _specs.GradQuery);
        Output(staged, &native->d_k, _specs.GradKey);
        Output(staged, &native->d_v, _specs.GradValue);
        Output(staged, (void**)&native->d_bias, _specs.GradBias);
        Output(staged, (void**)&native->d_sink_logits, _specs.GradSinkLogits);
        fattn_run run = staged.Upload(_backwardWorkspace);
        NativeCall.Check(NativeMethods.fattn_dense_backward(Handle.Pointer, native, &run), BackwardName);
        staged.Download();
    }

    private static long BytesOf(TensorSpec? spec) => spec is null ? 0 : spec.Bytes;

    private static void Output(StagedRun staged, void** place, TensorSpec? spec, bool hasGaps = false)
    {
        if (spec is not null)
        {
            staged.Output(place, spec.Bytes, hasGaps || !spec.IsContiguous);
        }
    }

    private void RequireCuda(string operation)
    {
        if (Device is not CudaDevice)
        {
            throw new InvalidOperationException(
                $"{operation} was given device tensors, but the plan runs on the CPU; make it with a CudaDevice.");
        }
    }

    private void CheckForward(in DenseDeviceForwardArguments<T> arguments)
    {
        _specs.Query.Check(in arguments.Query);
        _specs.Key.Check(in arguments.Key);
        _specs.Value.Check(in arguments.Value);
        _specs.Output.Check(in arguments.Output);
        _specs.Lse.CheckIfGiven(in arguments.Lse);
        CheckScores(in arguments.Bias, in arguments.Mask, in arguments.AlibiSlopes, in arguments.SinkLogits);
        CheckLengths(
            in arguments.CumulativeQueryLengths, in arguments.CumulativeKeyLengths, in arguments.KeyLengths);
        TensorSpec.CheckAnnounced(
            _specs.BlockTable, in arguments.BlockTable, "blockTable", nameof(Options.Paging));
    }

    private void CheckBackward(in DenseDeviceBackwardArguments<T> arguments)
    {
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        _specs.Query.Check(in arguments.Query);
        _specs.Key.Check(in arguments.Key);
        _specs.Value.Check(in arguments.Value);
        _specs.GradOutput.Check(in arguments.GradOutput);
        _specs.GradLse.CheckIfGiven(in arguments.GradLse);
        if (Options.Weights == AttentionWeights.Softmax)
        {
            _specs.Output.Check(in arguments.Output);
            _specs.Lse.Check(in arguments.Lse);
        }
        else
        {
            _specs.Output.CheckIfGiven(in arguments.Output);
            _specs.Lse.CheckIfGiven(in arguments.Lse);
        }

        CheckScores(in arguments.Bias, in arguments.Mask, in arguments.AlibiSlopes, in arguments.SinkLogits);
        CheckLengths(
            in arguments.CumulativeQueryLengths, in arguments.CumulativeKeyLengths, in arguments.KeyLengths);
        _specs.GradQuery.CheckIfGiven(in arguments.GradQuery);
        _specs.GradKey.CheckIfGiven(in arguments.GradKey);
        _specs.GradValue.CheckIfGiven(in arguments.GradValue);
        TensorSpec.CheckAnnouncedIfGiven(_specs.GradBias, in arguments.GradBias, "gradBias", nameof(Options.Bias));
        TensorSpec.CheckAnnouncedIfGiven(
            Options.Sinks ? _specs.GradSinkLogits : null, in arguments.GradSinkLogits, "gradSinkLogits",
            nameof(Options.Sinks));
    }

    private void CheckScores(
        in DeviceTensor<T> bias, in DeviceTensor<byte> mask, in DeviceTensor<float> slopes,
        in DeviceTensor<float> sinks)
    {
        TensorSpec.CheckAnnounced(_specs.Bias, in bias, "bias", nameof(Options.Bias));
        TensorSpec.CheckAnnounced(_specs.Mask, in mask, "mask", nameof(Options.Mask));
        TensorSpec.CheckAnnounced(
            Options.Alibi ? _specs.AlibiSlopes : null, in slopes, "alibiSlopes", nameof(Options.Alibi));
        TensorSpec.CheckAnnounced(
            Options.Sinks ? _specs.SinkLogits : null, in sinks, "sinkLogits", nameof(Options.Sinks));
    }

    private void CheckLengths(
        in DeviceTensor<int> queryStarts, in DeviceTensor<int> keyStarts, in DeviceTensor<int> keyLengths)
    {
        bool isPacked = Options.Packed is not null;
        TensorSpec.CheckAnnounced(
            isPacked ? _specs.CumulativeQueryLengths : null, in queryStarts, "cumulativeQueryLengths",
            nameof(Options.Packed));
        TensorSpec.CheckAnnounced(
            isPacked && Options.Paging is null ? _specs.CumulativeKeyLengths : null, in keyStarts,
            "cumulativeKeyLengths", nameof(Options.Packed));
        TensorSpec.CheckAnnounced(
            Options.KeyLengths ? _specs.KeyLengths : null, in keyLengths, "keyLengths", nameof(Options.KeyLengths));
    }
}
