// The runs of a dense plan over device tensors, queued in a stream. Part of the public class.
using System;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class DenseAttentionPlan<T>
{
    private const uint FlagsOfHostLengths = 0;
    private const uint FlagsOfDeviceLengths = (uint)fattn_dense_args_flags.FATTN_DENSE_ARGS_LENGTHS_ON_DEVICE;

    /// <summary>Queues the computation of the output in a stream.</summary>
    /// <param name="arguments">The device tensors of this run, of the plan's device.</param>
    /// <param name="stream">Where it is queued; the results are there once the stream has come to its end.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait, so that the run can be captured into a CUDA graph.</remarks>
    public void Forward(in DenseDeviceForwardArguments<T> arguments, CudaStream stream) =>
        Queue(in arguments, default, FlagsOfDeviceLengths, stream);

    /// <summary>Queues the computation of the output in a stream, with lengths in host memory.</summary>
    /// <param name="arguments">The device tensors of this run; the members for lengths are not set.</param>
    /// <param name="lengths">The lengths that the plan's options announce.</param>
    /// <param name="stream">Where it is queued; it was prepared for the plan, or the run brings a workspace.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: lengths that leave their
    /// tensors, memory or stream of another context, a workspace that is missing or too small, a stream that is being
    /// captured, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Does not wait. Cannot be captured: a graph would keep the lengths of one run.</remarks>
    public void Forward(in DenseDeviceForwardArguments<T> arguments, in DenseHostLengths lengths, CudaStream stream) =>
        Queue(in arguments, in lengths, FlagsOfHostLengths, stream);

    /// <summary>Queues the computation of gradients in a stream.</summary>
    /// <param name="arguments">The device tensors of this run, of the plan's device.</param>
    /// <param name="stream">Where it is queued; it was prepared for the plan, or the run brings a workspace.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU, or was made without
    /// <see cref="DenseOptions.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait; a captured run needs a workspace of its own.</remarks>
    public void Backward(in DenseDeviceBackwardArguments<T> arguments, CudaStream stream) =>
        Queue(in arguments, default, FlagsOfDeviceLengths, stream);

    /// <summary>Queues the computation of gradients in a stream, with lengths in host memory.</summary>
    /// <param name="arguments">The device tensors of this run; the members for lengths are not set.</param>
    /// <param name="lengths">The lengths that the plan's options announce.</param>
    /// <param name="stream">Where it is queued; it was prepared for the plan, or the run brings a workspace.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: lengths that leave their
    /// tensors, memory or stream of another context, a workspace that is missing or too small, a stream that is being
    /// captured, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU, or was made without
    /// <see cref="DenseOptions.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Does not wait. Cannot be captured: a graph would keep the lengths of one run.</remarks>
    public void Backward(
        in DenseDeviceBackwardArguments<T> arguments, in DenseHostLengths lengths, CudaStream stream) =>
        Queue(in arguments, in lengths, FlagsOfHostLengths, stream);

    private void Queue(
        in DenseDeviceForwardArguments<T> arguments, in DenseHostLengths lengths, uint flags, CudaStream stream)
    {
        using QueuedRun run = new(this, stream, ForwardName);
        CheckLengths(
            in arguments.CumulativeQueryLengths, in arguments.CumulativeKeyLengths, in arguments.KeyLengths,
            in lengths, flags);
        fixed (int* queryStarts = lengths.CumulativeQueryLengths, keyStarts = lengths.CumulativeKeyLengths)
        fixed (int* keyLengths = lengths.KeyLengths)
        {
            fattn_dense_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_dense_forward_args);
            native.flags = flags;
            native.q = run.Take(_specs.Query, in arguments.Query);
            native.k = run.Take(_specs.Key, in arguments.Key);
            native.v = run.Take(_specs.Value, in arguments.Value);
            native.o = run.Take(_specs.Output, in arguments.Output);
            native.lse = (float*)run.TakeIfGiven(_specs.Lse, in arguments.Lse);
            native.bias = run.TakeAnnounced(_specs.Bias, in arguments.Bias, "bias", nameof(Options.Bias));
            native.mask = run.TakeAnnounced(_specs.Mask, in arguments.Mask, "mask", nameof(Options.Mask));
            native.alibi_slopes = (float*)run.TakeAnnounced(
                Slopes, in arguments.AlibiSlopes, "alibiSlopes", nameof(Options.Alibi));
            native.sink_logits = (float*)run.TakeAnnounced(
                Sinks, in arguments.SinkLogits, "sinkLogits", nameof(Options.Sinks));
            native.cu_seqlens_q = Either(queryStarts, run.Hold(in arguments.CumulativeQueryLengths));
            native.cu_seqlens_k = Either(keyStarts, run.Hold(in arguments.CumulativeKeyLengths));
            native.kv_len = Either(keyLengths, run.Hold(in arguments.KeyLengths));
            native.block_table = (int*)run.TakeAnnounced(
                _specs.BlockTable, in arguments.BlockTable, "blockTable", nameof(Options.Paging));
            native.dropout_seed = arguments.DropoutSeed;
            native.dropout_offset = arguments.DropoutOffset;
            native.q_position_offset = arguments.QueryPositionOffset;
            native.k_position_offset = arguments.KeyPositionOffset;
            fattn_run settings = run.With(in arguments.Workspace);
            NativeCall.Check(NativeMethods.fattn_dense_forward(Handle.Pointer, &native, &settings), ForwardName);
        }
    }

    private void Queue(
        in DenseDeviceBackwardArguments<T> arguments, in DenseHostLengths lengths, uint flags, CudaStream stream)
    {
        using QueuedRun run = new(this, stream, BackwardName);
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        CheckLengths(
            in arguments.CumulativeQueryLengths, in arguments.CumulativeKeyLengths, in arguments.KeyLengths,
            in lengths, flags);
        fixed (int* queryStarts = lengths.CumulativeQueryLengths, keyStarts = lengths.CumulativeKeyLengths)
        fixed (int* keyLengths = lengths.KeyLengths)
        {
            fattn_dense_backward_args native = default;
            native.struct_size = (uint)sizeof(fattn_dense_backward_args);
            native.flags = flags;
            native.q = run.Take(_specs.Query, in arguments.Query);
            native.k = run.Take(_specs.Key, in arguments.Key);
            native.v = run.Take(_specs.Value, in arguments.Value);
            bool needsResults = Options.Weights == AttentionWeights.Softmax;
            native.o = needsResults
                ? run.Take(_specs.Output, in arguments.Output)
                : run.TakeIfGiven(_specs.Output, in arguments.Output);
            native.lse = (float*)(needsResults
                ? run.Take(_specs.Lse, in arguments.Lse)
                : run.TakeIfGiven(_specs.Lse, in arguments.Lse));
            native.d_o = run.Take(_specs.GradOutput, in arguments.GradOutput);
            native.d_lse = (float*)run.TakeIfGiven(_specs.GradLse, in arguments.GradLse);
            native.bias = run.TakeAnnounced(_specs.Bias, in arguments.Bias, "bias", nameof(Options.Bias));
            native.mask = run.TakeAnnounced(_specs.Mask, in arguments.Mask, "mask", nameof(Options.Mask));
            native.alibi_slopes = (float*)run.TakeAnnounced(
                Slopes, in arguments.AlibiSlopes, "alibiSlopes", nameof(Options.Alibi));
            native.sink_logits = (float*)run.TakeAnnounced(
                Sinks, in arguments.SinkLogits, "sinkLogits", nameof(Options.Sinks));
            native.cu_seqlens_q = Either(queryStarts, run.Hold(in arguments.CumulativeQueryLengths));
            native.cu_seqlens_k = Either(keyStarts, run.Hold(in arguments.CumulativeKeyLengths));
            native.kv_len = Either(keyLengths, run.Hold(in arguments.KeyLengths));
            native.d_q = run.TakeIfGiven(_specs.GradQuery, in arguments.GradQuery);
            native.d_k = run.TakeIfGiven(_specs.GradKey, in arguments.GradKey);
            native.d_v = run.TakeIfGiven(_specs.GradValue, in arguments.GradValue);
            native.d_bias = (float*)run.TakeAnnouncedIfGiven(
                _specs.GradBias, in arguments.GradBias, "gradBias", nameof(Options.Bias));
            native.d_sink_logits = (float*)run.TakeAnnouncedIfGiven(
                Options.Sinks ? _specs.GradSinkLogits : null, in arguments.GradSinkLogits, "gradSinkLogits",
                nameof(Options.Sinks));
            native.dropout_seed = arguments.DropoutSeed;
            native.dropout_offset = arguments.DropoutOffset;
            native.q_position_offset = arguments.QueryPositionOffset;
            native.k_position_offset = arguments.KeyPositionOffset;
            fattn_run settings = run.With(in arguments.Workspace);
            NativeCall.Check(NativeMethods.fattn_dense_backward(Handle.Pointer, &native, &settings), BackwardName);
        }
    }

    private TensorSpec? Slopes => Options.Alibi ? _specs.AlibiSlopes : null;

    private TensorSpec? Sinks => Options.Sinks ? _specs.SinkLogits : null;

    // One of the two is null: checked before.
    private static int* Either(int* onHost, void* onDevice) => onHost is null ? (int*)onDevice : onHost;

    private void CheckLengths(
        in DeviceTensor<int> queryStarts, in DeviceTensor<int> keyStarts, in DeviceTensor<int> keyLengths,
        in DenseHostLengths onHost, uint flags)
    {
        bool areOnHost = flags == FlagsOfHostLengths;
        if (areOnHost)
        {
            CheckLengths(
                onHost.CumulativeQueryLengths.Length, onHost.CumulativeKeyLengths.Length, onHost.KeyLengths.Length);
        }

        bool isPacked = Options.Packed is not null;
        Check(
            isPacked, _specs.CumulativeQueryLengths, in queryStarts, "cumulativeQueryLengths", nameof(Options.Packed));
        Check(
            isPacked && Options.Paging is null, _specs.CumulativeKeyLengths, in keyStarts, "cumulativeKeyLengths",
            nameof(Options.Packed));
        Check(Options.KeyLengths, _specs.KeyLengths, in keyLengths, "keyLengths", nameof(Options.KeyLengths));

        void Check(bool isAnnounced, TensorSpec spec, in DeviceTensor<int> tensor, string name, string option)
        {
            if (areOnHost && !tensor.IsDefault)
            {
                ThrowHelper.Argument($"{name} was given on the device; this run takes lengths of host memory.", name);
            }

            TensorSpec.CheckAnnounced(isAnnounced && !areOnHost ? spec : null, in tensor, name, option);
        }
    }
}
