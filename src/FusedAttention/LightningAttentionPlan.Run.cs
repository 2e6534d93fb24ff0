// The runs of a lightning plan: checks, pins, calls. Called by the public methods and by the one-call methods.
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
        CheckTensors(in arguments);
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
            fattn_lightning_backward_args native = default;
            native.struct_size = (uint)sizeof(fattn_lightning_backward_args);
            native.q = q;
            native.k = k;
            native.v = v;
            native.slopes = slopes;
            native.initial_state = (float*)initial;
            native.d_o = gradOutput;
            native.d_final_state = (float*)gradFinal;
            native.d_q = gradQuery;
            native.d_k = gradKey;
            native.d_v = gradValue;
            native.d_initial_state = (float*)gradInitial;
            using var run = new RunScope(arguments.MaxThreads, cancellationToken);
            fattn_run settings = run.Settings;
            NativeCall.Check(
                NativeMethods.fattn_lightning_backward(Handle.Pointer, &native, &settings), BackwardName,
                cancellationToken);
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
            fattn_lightning_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_lightning_forward_args);
            native.q = q;
            native.k = k;
            native.v = v;
            native.o = o;
            native.slopes = slopes;
            native.initial_state = (float*)initial;
            native.final_state = (float*)final;
            using var run = new RunScope(arguments.MaxThreads, cancellationToken);
            fattn_run settings = run.Settings;
            fattn_status status = isStep
                ? NativeMethods.fattn_lightning_step(Handle.Pointer, &native, &settings)
                : NativeMethods.fattn_lightning_forward(Handle.Pointer, &native, &settings);
            NativeCall.Check(status, isStep ? StepName : ForwardName, cancellationToken);
        }
    }

    private void CheckTensors(in LightningForwardArguments<T> arguments)
    {
        _specs.Tensors.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        _specs.Tensors.Output.Check(in arguments.Output);
        _specs.Slopes.CheckLength(arguments.Slopes.Length);
    }

    private void CheckInitialState(in TensorIn<float> state) => TensorSpec.CheckAnnounced(
        Options.InitialState ? _specs.InitialState : null, in state, "initialState", nameof(Options.InitialState));

    private void CheckBackward(in LightningBackwardArguments<T> arguments)
    {
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        DenseSpecs tensors = _specs.Tensors;
        tensors.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        tensors.GradOutput.Check(in arguments.GradOutput);
        _specs.Slopes.CheckLength(arguments.Slopes.Length);
        CheckInitialState(in arguments.InitialState);
        _specs.GradFinalState.CheckIfGiven(in arguments.GradFinalState);
        tensors.CheckGradients(in arguments.GradQuery, in arguments.GradKey, in arguments.GradValue);
        TensorSpec.CheckAnnouncedIfGiven(
            Options.InitialState ? _specs.GradInitialState : null, in arguments.GradInitialState, "gradInitialState",
            nameof(Options.InitialState));
    }
}
