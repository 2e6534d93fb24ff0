// The runs of an S2 plan: checks, pins, calls. Called by the public methods and by the one-call methods.
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class S2AttentionPlan<T>
{
    private const string ForwardName = "S2AttentionPlan.Forward";
    private const string BackwardName = "S2AttentionPlan.Backward";
    private const string CoverageName = "S2AttentionPlan.GetCoverage";
    private const string NeededBlocksName = "S2AttentionPlan.GetNeededBlocks";

    /// <summary>A forward run; the caller holds a reference to the native plan.</summary>
    internal void ForwardHeld(in S2ForwardArguments<T> arguments, CancellationToken cancellationToken)
    {
        _specs.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        _specs.CheckOutputs(in arguments.Output, in arguments.Lse);
        using HandleScope owners = default;
        owners.Add(arguments.Query.Owner);
        owners.Add(arguments.Key.Owner);
        owners.Add(arguments.Value.Owner);
        owners.Add(arguments.Output.Owner);
        owners.Add(arguments.Lse.Owner);
        fixed (void* q = arguments.Query, k = arguments.Key, v = arguments.Value, o = arguments.Output)
        fixed (void* lse = arguments.Lse)
        {
            using HostRun run = new(this, AttentionPass.Forward, arguments.MaxThreads, cancellationToken);
            fattn_s2_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_s2_forward_args);
            run.Input(&native.q, q, _specs.Query);
            run.Input(&native.k, k, _specs.Key);
            run.Input(&native.v, v, _specs.Value);
            run.Output(&native.o, o, _specs.Output);
            run.Output(&native.lse, lse, _specs.Lse);
            native.q_position_offset = arguments.QueryPositionOffset;
            native.k_position_offset = arguments.KeyPositionOffset;
            fattn_run settings = run.Begin();
            NativeCall.Check(
                NativeMethods.fattn_s2_forward(Handle.Pointer, &native, &settings), ForwardName, cancellationToken);
            run.End();
        }
    }

    /// <summary>A backward run; the caller holds a reference to the native plan.</summary>
    internal void BackwardHeld(in S2BackwardArguments<T> arguments, CancellationToken cancellationToken)
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
        owners.Add(arguments.GradQuery.Owner);
        owners.Add(arguments.GradKey.Owner);
        owners.Add(arguments.GradValue.Owner);
        fixed (void* q = arguments.Query, k = arguments.Key, v = arguments.Value, o = arguments.Output)
        fixed (void* lse = arguments.Lse, gradOutput = arguments.GradOutput, gradLse = arguments.GradLse)
        fixed (void* gradQuery = arguments.GradQuery, gradKey = arguments.GradKey, gradValue = arguments.GradValue)
        {
            using HostRun run = new(this, AttentionPass.Backward, arguments.MaxThreads, cancellationToken);
            fattn_s2_backward_args native = default;
            native.struct_size = (uint)sizeof(fattn_s2_backward_args);
            run.Input(&native.q, q, _specs.Query);
            run.Input(&native.k, k, _specs.Key);
            run.Input(&native.v, v, _specs.Value);
            run.Input(&native.o, o, _specs.Output);
            run.Input(&native.lse, lse, _specs.Lse);
            run.Input(&native.d_o, gradOutput, _specs.GradOutput);
            run.Input(&native.d_lse, gradLse, _specs.GradLse);
            run.Output(&native.d_q, gradQuery, _specs.GradQuery);
            run.Output(&native.d_k, gradKey, _specs.GradKey);
            run.Output(&native.d_v, gradValue, _specs.GradValue);
            native.q_position_offset = arguments.QueryPositionOffset;
            native.k_position_offset = arguments.KeyPositionOffset;
            fattn_run settings = run.Begin();
            NativeCall.Check(
                NativeMethods.fattn_s2_backward(Handle.Pointer, &native, &settings), BackwardName, cancellationToken);
            run.End();
        }
    }

    private void CheckBackward(in S2BackwardArguments<T> arguments)
    {
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        _specs.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        _specs.CheckForwardResults(in arguments.Output, in arguments.Lse);
        _specs.CheckIncoming(in arguments.GradOutput, in arguments.GradLse);
        _specs.CheckGradients(in arguments.GradQuery, in arguments.GradKey, in arguments.GradValue);
    }
}
