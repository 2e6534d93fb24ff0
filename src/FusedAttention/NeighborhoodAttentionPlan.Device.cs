// The runs of a neighborhood plan over device tensors, queued in a stream. Part of the public class.
using System;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class NeighborhoodAttentionPlan<T>
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
    public void Forward(in NeighborhoodDeviceForwardArguments<T> arguments, CudaStream stream)
    {
        using QueuedRun run = new(this, stream, ForwardName);
        fattn_neighborhood_forward_args native = default;
        native.struct_size = (uint)sizeof(fattn_neighborhood_forward_args);
        native.q = run.Take(_specs.Dense.Query, in arguments.Query);
        native.k = run.Take(_specs.Dense.Key, in arguments.Key);
        native.v = run.Take(_specs.Dense.Value, in arguments.Value);
        native.o = run.Take(_specs.Dense.Output, in arguments.Output);
        native.lse = (float*)run.TakeIfGiven(_specs.Dense.Lse, in arguments.Lse);
        native.additional_k = run.TakeAnnounced(
            _specs.AdditionalKey, in arguments.AdditionalKey, "additionalKey", nameof(Options.AdditionalKeys));
        native.additional_v = run.TakeAnnounced(
            _specs.AdditionalValue, in arguments.AdditionalValue, "additionalValue", nameof(Options.AdditionalKeys));
        fattn_run settings = run.With(in arguments.Workspace);
        NativeCall.Check(NativeMethods.fattn_neighborhood_forward(Handle.Pointer, &native, &settings), ForwardName);
    }

    /// <summary>Queues the computation of gradients in a stream.</summary>
    /// <param name="arguments">The device tensors of this run, of the plan's device.</param>
    /// <param name="stream">Where it is queued; it was prepared for the plan, or the run brings a workspace.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU, or was made without
    /// <see cref="NeighborhoodOptions.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait; a captured run needs a workspace of its own.</remarks>
    public void Backward(in NeighborhoodDeviceBackwardArguments<T> arguments, CudaStream stream)
    {
        using QueuedRun run = new(this, stream, BackwardName);
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        fattn_neighborhood_backward_args native = default;
        native.struct_size = (uint)sizeof(fattn_neighborhood_backward_args);
        native.q = run.Take(_specs.Dense.Query, in arguments.Query);
        native.k = run.Take(_specs.Dense.Key, in arguments.Key);
        native.v = run.Take(_specs.Dense.Value, in arguments.Value);
        native.o = run.Take(_specs.Dense.Output, in arguments.Output);
        native.lse = (float*)run.Take(_specs.Dense.Lse, in arguments.Lse);
        native.d_o = run.Take(_specs.Dense.GradOutput, in arguments.GradOutput);
        native.d_lse = (float*)run.TakeIfGiven(_specs.Dense.GradLse, in arguments.GradLse);
        native.additional_k = run.TakeAnnounced(
            _specs.AdditionalKey, in arguments.AdditionalKey, "additionalKey", nameof(Options.AdditionalKeys));
        native.additional_v = run.TakeAnnounced(
            _specs.AdditionalValue, in arguments.AdditionalValue, "additionalValue", nameof(Options.AdditionalKeys));
        native.d_q = run.TakeIfGiven(_specs.Dense.GradQuery, in arguments.GradQuery);
        native.d_k = run.TakeIfGiven(_specs.Dense.GradKey, in arguments.GradKey);
        native.d_v = run.TakeIfGiven(_specs.Dense.GradValue, in arguments.GradValue);
        native.d_additional_k = run.TakeAnnouncedIfGiven(
            _specs.GradAdditionalKey, in arguments.GradAdditionalKey, "gradAdditionalKey",
            nameof(Options.AdditionalKeys));
        native.d_additional_v = run.TakeAnnouncedIfGiven(
            _specs.GradAdditionalValue, in arguments.GradAdditionalValue, "gradAdditionalValue",
            nameof(Options.AdditionalKeys));
        fattn_run settings = run.With(in arguments.Workspace);
        NativeCall.Check(NativeMethods.fattn_neighborhood_backward(Handle.Pointer, &native, &settings), BackwardName);
    }
}
