// The runs of a lightning plan: checks, pins, calls. Called by the public methods and by the one-call methods.
using System;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class LightningAttentionPlan<T>
{
    private const string ForwardName = "LightningAttentionPlan.Forward";
    private const string StepName = "LightningAttentionPlan.Step";
    private const string BackwardName = "LightningAttentionPlan.Backward";

    /// <summary>A forward run; the caller holds a reference to the native plan.</summary>
    internal void ForwardHeld(in LightningForwardArguments<T> arguments, CancellationToken cancellationToken)
    {
        CheckTensors(in arguments, ForwardName);
        CheckInitialState(in arguments.InitialState);
        _specs.FinalState.CheckIfGiven(in arguments.FinalState);
        Run(in arguments, isStep: false, cancellationToken);
    }

    /// <summary>A backward run; the caller holds a reference to the native plan.</summary>
    internal void BackwardHeld(in LightningBackwardArguments<T> arguments, CancellationToken cancellationToken)
    {
        CheckBackward(in arguments);
        using HandleScope owners = default;
        owners.Add(arguments.Query.Owner);
        owners.Add(arguments.Key.Owner);
        owners.Add(arguments.Value.Owner);
        owners.Add(arguments.InitialState.Owner);
        owners.Add(arguments.GradOutput.Owner);
        owners.Add(arguments.GradFinalState.Owner);
        owners.Add(arguments.GradQuery.Owner);
        owners.Add(arguments.GradKey.Owner);
        owners.Add(arguments.GradValue.Owner);
        owners.Add(arguments.GradInitialState.Owner);
        fixed (void* q = arguments.Query, k = arguments.Key, v = arguments.Value, initial = arguments.InitialState)
        fixed (void* gradOutput = arguments.GradOutput, gradFinal = arguments.GradFinalState)
        fixed (void* gradQuery = arguments.GradQuery, gradKey = arguments.GradKey, gradValue = arguments.GradValue)
        fixed (void* gradInitial = arguments.GradInitialState)
        fixed (float* slopes = arguments.Slopes)
        {
            using HostRun run = new(this, AttentionPass.Backward, arguments.MaxThreads, cancellationToken);
            fattn_lightning_backward_args native = default;
            native.struct_size = (uint)sizeof(fattn_lightning_backward_args);
            run.Input(&native.q, q, _specs.Tensors.Query);
            run.Input(&native.k, k, _specs.Tensors.Key);
            run.Input(&native.v, v, _specs.Tensors.Value);
            run.Input(&native.slopes, slopes, _specs.Slopes);
            run.Input(&native.initial_state, initial, _specs.InitialState);
            run.Input(&native.d_o, gradOutput, _specs.Tensors.GradOutput);
            run.Input(&native.d_final_state, gradFinal, _specs.GradFinalState);
            run.Output(&native.d_q, gradQuery, _specs.Tensors.GradQuery);
            run.Output(&native.d_k, gradKey, _specs.Tensors.GradKey);
            run.Output(&native.d_v, gradValue, _specs.Tensors.GradValue);
            run.Output(&native.d_initial_state, gradInitial, _specs.GradInitialState);
            fattn_run settings = run.Begin();
            NativeCall.Check(
                NativeMethods.fattn_lightning_backward(Handle.Pointer, &native, &settings), BackwardName,
                cancellationToken);
            run.End();
        }
    }

    private void Run(in LightningForwardArguments<T> arguments, bool isStep, CancellationToken cancellationToken)
    {
        using HandleScope owners = default;
        owners.Add(arguments.Query.Owner);
        owners.Add(arguments.Key.Owner);
        owners.Add(arguments.Value.Owner);
        owners.Add(arguments.Output.Owner);
        owners.Add(arguments.InitialState.Owner);
        owners.Add(arguments.FinalState.Owner);
        fixed (void* q = arguments.Query, k = arguments.Key, v = arguments.Value, o = arguments.Output)
        fixed (void* initial = arguments.InitialState, final = arguments.FinalState)
        fixed (float* slopes = arguments.Slopes)
        {
            using HostRun run = new(this, AttentionPass.Forward, arguments.MaxThreads, cancellationToken);
            fattn_lightning_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_lightning_forward_args);
            run.Input(&native.q, q, _specs.Tensors.Query);
            run.Input(&native.k, k, _specs.Tensors.Key);
            run.Input(&native.v, v, _specs.Tensors.Value);
            run.Output(&native.o, o, _specs.Tensors.Output);
            run.Input(&native.slopes, slopes, _specs.Slopes);
            run.Input(&native.initial_state, initial, _specs.InitialState);
            run.Output(&native.final_state, final, _specs.FinalState, isUpdated: isStep);
            fattn_run settings = run.Begin();
            fattn_status status = isStep
                ? NativeMethods.fattn_lightning_step(Handle.Pointer, &native, &settings)
                : NativeMethods.fattn_lightning_forward(Handle.Pointer, &native, &settings);
            NativeCall.Check(status, isStep ? StepName : ForwardName, cancellationToken);
            run.End();
        }
    }

    private void CheckTensors(in LightningForwardArguments<T> arguments, string operation)
    {
        _specs.Tensors.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        _specs.Tensors.Output.Check(in arguments.Output);
        CheckSlopes(arguments.Slopes, operation);
    }

    private void CheckSlopes(ReadOnlySpan<float> slopes, string operation)
    {
        _specs.Slopes.CheckLength(slopes.Length);
        if (Device is CudaDevice)
        {
            LightningSpecs.CheckDecay(slopes, operation);
        }
    }

    private void CheckInitialState(in TensorIn<float> state) => TensorSpec.CheckAnnounced(
        InitialState, in state, "initialState", nameof(Options.InitialState));

    private void CheckBackward(in LightningBackwardArguments<T> arguments)
    {
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        DenseSpecs tensors = _specs.Tensors;
        tensors.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        tensors.GradOutput.Check(in arguments.GradOutput);
        CheckSlopes(arguments.Slopes, BackwardName);
        CheckInitialState(in arguments.InitialState);
        _specs.GradFinalState.CheckIfGiven(in arguments.GradFinalState);
        tensors.CheckGradients(in arguments.GradQuery, in arguments.GradKey, in arguments.GradValue);
        TensorSpec.CheckAnnouncedIfGiven(
            Options.InitialState ? _specs.GradInitialState : null, in arguments.GradInitialState, "gradInitialState",
            nameof(Options.InitialState));
    }
}
