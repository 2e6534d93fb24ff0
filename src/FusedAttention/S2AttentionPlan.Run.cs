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
            fattn_s2_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_s2_forward_args);
            native.q = q;
            native.k = k;
            native.v = v;
            native.o = o;
            native.lse = (float*)lse;
            native.q_position_offset = arguments.QueryPositionOffset;
            native.k_position_offset = arguments.KeyPositionOffset;
            using var run = new RunScope(arguments.MaxThreads, cancellationToken);
            fattn_run settings = run.Settings;
            NativeCall.Check(
                NativeMethods.fattn_s2_forward(Handle.Pointer, &native, &settings), ForwardName, cancellationToken);
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
            fattn_s2_backward_args native = default;
            native.struct_size = (uint)sizeof(fattn_s2_backward_args);
            native.q = q;
            native.k = k;
            native.v = v;
            native.o = o;
            native.lse = (float*)lse;
            native.d_o = gradOutput;
            native.d_lse = (float*)gradLse;
            native.d_q = gradQuery;
            native.d_k = gradKey;
            native.d_v = gradValue;
            native.q_position_offset = arguments.QueryPositionOffset;
            native.k_position_offset = arguments.KeyPositionOffset;
            using var run = new RunScope(arguments.MaxThreads, cancellationToken);
            fattn_run settings = run.Settings;
            NativeCall.Check(
                NativeMethods.fattn_s2_backward(Handle.Pointer, &native, &settings), BackwardName, cancellationToken);
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
