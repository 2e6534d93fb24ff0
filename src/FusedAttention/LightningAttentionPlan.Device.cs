// The runs of a lightning plan over device tensors, queued in a stream. Part of the public class.
using System;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class LightningAttentionPlan<T>
{
    /// <summary>Queues the computation of the output in a stream.</summary>
    /// <param name="arguments">The device tensors of this run, of the plan's device.</param>
    /// <param name="stream">Where it is queued; the results are there once the stream has come to its end.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>
    /// Allocates nothing and does not wait, so that the run can be captured into a CUDA graph. Nothing looks at slopes
    /// on the device: wrong ones give wrong results.
    /// </remarks>
    public void Forward(in LightningDeviceForwardArguments<T> arguments, CudaStream stream)
    {
        using QueuedRun run = new(this, stream, ForwardName);
        fattn_lightning_forward_args native = default;
        native.struct_size = (uint)sizeof(fattn_lightning_forward_args);
        native.q = run.Take(_specs.Tensors.Query, in arguments.Query);
        native.k = run.Take(_specs.Tensors.Key, in arguments.Key);
        native.v = run.Take(_specs.Tensors.Value, in arguments.Value);
        native.o = run.Take(_specs.Tensors.Output, in arguments.Output);
        native.slopes = (float*)run.Take(_specs.Slopes, in arguments.Slopes);
        native.initial_state = (float*)run.TakeAnnounced(
            InitialState, in arguments.InitialState, "initialState", nameof(Options.InitialState));
        native.final_state = (float*)run.TakeIfGiven(_specs.FinalState, in arguments.FinalState);
        fattn_run settings = run.With(in arguments.Workspace);
        NativeCall.Check(NativeMethods.fattn_lightning_forward(Handle.Pointer, &native, &settings), ForwardName);
    }

    /// <summary>Queues a step of one token in a stream.</summary>
    /// <param name="arguments">The device tensors of this step: the final state is the one before the token and becomes
    /// the one after it, the initial state is not given.</param>
    /// <param name="stream">Where it is queued.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the step, and says why: more than one
    /// token, a plan that is not causal, memory or stream of another context, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait; reads and writes each state once.</remarks>
    public void Step(in LightningDeviceForwardArguments<T> arguments, CudaStream stream)
    {
        using QueuedRun run = new(this, stream, StepName);
        fattn_lightning_forward_args native = default;
        native.struct_size = (uint)sizeof(fattn_lightning_forward_args);
        native.q = run.Take(_specs.Tensors.Query, in arguments.Query);
        native.k = run.Take(_specs.Tensors.Key, in arguments.Key);
        native.v = run.Take(_specs.Tensors.Value, in arguments.Value);
        native.o = run.Take(_specs.Tensors.Output, in arguments.Output);
        native.slopes = (float*)run.Take(_specs.Slopes, in arguments.Slopes);
        native.initial_state = (float*)run.TakeAnnounced(
            null, in arguments.InitialState, "initialState", nameof(Options.InitialState));
        native.final_state = (float*)run.Take(_specs.StepState, in arguments.FinalState);
        fattn_run settings = run.With(in arguments.Workspace);
        NativeCall.Check(NativeMethods.fattn_lightning_step(Handle.Pointer, &native, &settings), StepName);
    }

    /// <summary>Queues the computation of gradients in a stream.</summary>
    /// <param name="arguments">The device tensors of this run, of the plan's device.</param>
    /// <param name="stream">Where it is queued; it was prepared for the plan, or the run brings a workspace.</param>
    /// <exception cref="ArgumentException">A tensor is not what the plan expects.</exception>
    /// <exception cref="AttentionException">The native library refuses the run, and says why: memory or stream of
    /// another context, a workspace that is missing or too small, a fault of earlier work.</exception>
    /// <exception cref="InvalidOperationException">The plan does not run on a GPU, or was made without
    /// <see cref="LightningOptions.Backward"/>.</exception>
    /// <exception cref="ObjectDisposedException">The plan, the stream or a tensor was disposed.</exception>
    /// <remarks>Allocates nothing and does not wait; a captured run needs a workspace of its own.</remarks>
    public void Backward(in LightningDeviceBackwardArguments<T> arguments, CudaStream stream)
    {
        using QueuedRun run = new(this, stream, BackwardName);
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        fattn_lightning_backward_args native = default;
        native.struct_size = (uint)sizeof(fattn_lightning_backward_args);
        native.q = run.Take(_specs.Tensors.Query, in arguments.Query);
        native.k = run.Take(_specs.Tensors.Key, in arguments.Key);
        native.v = run.Take(_specs.Tensors.Value, in arguments.Value);
        native.slopes = (float*)run.Take(_specs.Slopes, in arguments.Slopes);
        native.initial_state = (float*)run.TakeAnnounced(
            InitialState, in arguments.InitialState, "initialState", nameof(Options.InitialState));
        native.d_o = run.Take(_specs.Tensors.GradOutput, in arguments.GradOutput);
        native.d_final_state = (float*)run.TakeIfGiven(_specs.GradFinalState, in arguments.GradFinalState);
        native.d_q = run.TakeIfGiven(_specs.Tensors.GradQuery, in arguments.GradQuery);
        native.d_k = run.TakeIfGiven(_specs.Tensors.GradKey, in arguments.GradKey);
        native.d_v = run.TakeIfGiven(_specs.Tensors.GradValue, in arguments.GradValue);
        native.d_initial_state = (float*)run.TakeAnnouncedIfGiven(
            Options.InitialState ? _specs.GradInitialState : null, in arguments.GradInitialState, "gradInitialState",
            nameof(Options.InitialState));
        fattn_run settings = run.With(in arguments.Workspace);
        NativeCall.Check(NativeMethods.fattn_lightning_backward(Handle.Pointer, &native, &settings), BackwardName);
    }

    private TensorSpec? InitialState => Options.InitialState ? _specs.InitialState : null;
}
