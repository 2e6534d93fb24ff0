// The runs of a neighborhood plan: checks, pins, calls. Called by the public methods and by the one-call methods.
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class NeighborhoodAttentionPlan<T>
{
    private const string ForwardName = "NeighborhoodAttentionPlan.Forward";
    private const string BackwardName = "NeighborhoodAttentionPlan.Backward";

    /// <summary>A forward run; the caller holds a reference to the native plan.</summary>
    internal void ForwardHeld(in NeighborhoodForwardArguments<T> arguments, CancellationToken cancellationToken)
    {
        CheckForward(in arguments);
        using HandleScope owners = default;
        owners.Add(arguments.Query.Owner);
        owners.Add(arguments.Key.Owner);
        owners.Add(arguments.Value.Owner);
        owners.Add(arguments.Output.Owner);
        owners.Add(arguments.Lse.Owner);
        owners.Add(arguments.AdditionalKey.Owner);
        owners.Add(arguments.AdditionalValue.Owner);
        fixed (void* q = arguments.Query, k = arguments.Key, v = arguments.Value, o = arguments.Output)
        fixed (void* lse = arguments.Lse)
        fixed (void* additionalKey = arguments.AdditionalKey, additionalValue = arguments.AdditionalValue)
        {
            using HostRun run = new(this, AttentionPass.Forward, arguments.MaxThreads, cancellationToken);
            fattn_neighborhood_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_neighborhood_forward_args);
            run.Input(&native.q, q, _specs.Dense.Query);
            run.Input(&native.k, k, _specs.Dense.Key);
            run.Input(&native.v, v, _specs.Dense.Value);
            run.Output(&native.o, o, _specs.Dense.Output);
            run.Output(&native.lse, lse, _specs.Dense.Lse);
            run.Input(&native.additional_k, additionalKey, _specs.AdditionalKey);
            run.Input(&native.additional_v, additionalValue, _specs.AdditionalValue);
            fattn_run settings = run.Begin();
            NativeCall.Check(
                NativeMethods.fattn_neighborhood_forward(Handle.Pointer, &native, &settings), ForwardName,
                cancellationToken);
            run.End();
        }
    }

    /// <summary>A backward run; the caller holds a reference to the native plan.</summary>
    internal void BackwardHeld(in NeighborhoodBackwardArguments<T> arguments, CancellationToken cancellationToken)
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
        owners.Add(arguments.AdditionalKey.Owner);
        owners.Add(arguments.AdditionalValue.Owner);
        owners.Add(arguments.GradQuery.Owner);
        owners.Add(arguments.GradKey.Owner);
        owners.Add(arguments.GradValue.Owner);
        owners.Add(arguments.GradAdditionalKey.Owner);
        owners.Add(arguments.GradAdditionalValue.Owner);
        fixed (void* q = arguments.Query, k = arguments.Key, v = arguments.Value, o = arguments.Output)
        fixed (void* lse = arguments.Lse, gradOutput = arguments.GradOutput, gradLse = arguments.GradLse)
        fixed (void* additionalKey = arguments.AdditionalKey, additionalValue = arguments.AdditionalValue)
        fixed (void* gradQuery = arguments.GradQuery, gradKey = arguments.GradKey, gradValue = arguments.GradValue)
        fixed (void* gradAdditionalKey = arguments.GradAdditionalKey)
        fixed (void* gradAdditionalValue = arguments.GradAdditionalValue)
        {
            using HostRun run = new(this, AttentionPass.Backward, arguments.MaxThreads, cancellationToken);
            fattn_neighborhood_backward_args native = default;
            native.struct_size = (uint)sizeof(fattn_neighborhood_backward_args);
            run.Input(&native.q, q, _specs.Dense.Query);
            run.Input(&native.k, k, _specs.Dense.Key);
            run.Input(&native.v, v, _specs.Dense.Value);
            run.Input(&native.o, o, _specs.Dense.Output);
            run.Input(&native.lse, lse, _specs.Dense.Lse);
            run.Input(&native.d_o, gradOutput, _specs.Dense.GradOutput);
            run.Input(&native.d_lse, gradLse, _specs.Dense.GradLse);
            run.Input(&native.additional_k, additionalKey, _specs.AdditionalKey);
            run.Input(&native.additional_v, additionalValue, _specs.AdditionalValue);
            run.Output(&native.d_q, gradQuery, _specs.Dense.GradQuery);
            run.Output(&native.d_k, gradKey, _specs.Dense.GradKey);
            run.Output(&native.d_v, gradValue, _specs.Dense.GradValue);
            run.Output(&native.d_additional_k, gradAdditionalKey, _specs.GradAdditionalKey);
            run.Output(&native.d_additional_v, gradAdditionalValue, _specs.GradAdditionalValue);
            fattn_run settings = run.Begin();
            NativeCall.Check(
                NativeMethods.fattn_neighborhood_backward(Handle.Pointer, &native, &settings), BackwardName,
                cancellationToken);
            run.End();
        }
    }

    private void CheckForward(in NeighborhoodForwardArguments<T> arguments)
    {
        _specs.Dense.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        _specs.Dense.CheckOutputs(in arguments.Output, in arguments.Lse);
        CheckAdditional(in arguments.AdditionalKey, in arguments.AdditionalValue);
    }

    private void CheckBackward(in NeighborhoodBackwardArguments<T> arguments)
    {
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        _specs.Dense.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        _specs.Dense.CheckForwardResults(in arguments.Output, in arguments.Lse);
        _specs.Dense.CheckIncoming(in arguments.GradOutput, in arguments.GradLse);
        CheckAdditional(in arguments.AdditionalKey, in arguments.AdditionalValue);
        _specs.Dense.CheckGradients(in arguments.GradQuery, in arguments.GradKey, in arguments.GradValue);
        TensorSpec.CheckAnnouncedIfGiven(
            _specs.GradAdditionalKey, in arguments.GradAdditionalKey, "gradAdditionalKey",
            nameof(Options.AdditionalKeys));
        TensorSpec.CheckAnnouncedIfGiven(
            _specs.GradAdditionalValue, in arguments.GradAdditionalValue, "gradAdditionalValue",
            nameof(Options.AdditionalKeys));
    }

    private void CheckAdditional(in TensorIn<T> key, in TensorIn<T> value)
    {
        TensorSpec.CheckAnnounced(_specs.AdditionalKey, in key, "additionalKey", nameof(Options.AdditionalKeys));
        TensorSpec.CheckAnnounced(_specs.AdditionalValue, in value, "additionalValue", nameof(Options.AdditionalKeys));
    }
}
