// The runs of a dense plan: checks, pins, calls. Called by the public methods and by the one-call methods.
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

public sealed unsafe partial class DenseAttentionPlan<T>
{
    private const string ForwardName = "DenseAttentionPlan.Forward";
    private const string BackwardName = "DenseAttentionPlan.Backward";

    /// <summary>A forward run; the caller holds a reference to the native plan.</summary>
    internal void ForwardHeld(in DenseForwardArguments<T> arguments, CancellationToken cancellationToken)
    {
        CheckForward(in arguments);
        using HandleScope owners = default;
        owners.Add(arguments.Query.Owner);
        owners.Add(arguments.Key.Owner);
        owners.Add(arguments.Value.Owner);
        owners.Add(arguments.Output.Owner);
        owners.Add(arguments.Lse.Owner);
        owners.Add(arguments.Bias.Owner);
        owners.Add(arguments.Mask.Owner);
        fixed (void* q = arguments.Query, k = arguments.Key, v = arguments.Value, o = arguments.Output)
        fixed (void* bias = arguments.Bias, mask = arguments.Mask, lse = arguments.Lse)
        fixed (float* slopes = arguments.AlibiSlopes, sinks = arguments.SinkLogits)
        fixed (int* queryStarts = arguments.CumulativeQueryLengths, keyStarts = arguments.CumulativeKeyLengths)
        fixed (int* keyLengths = arguments.KeyLengths, blockTable = arguments.BlockTable)
        {
            using HostRun run = new(this, AttentionPass.Forward, arguments.MaxThreads, cancellationToken);
            fattn_dense_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_dense_forward_args);
            run.Input(&native.q, q, _specs.Query);
            run.Input(&native.k, k, _specs.Key);
            run.Input(&native.v, v, _specs.Value);
            run.Input(&native.bias, bias, _specs.Bias);
            run.Input(&native.mask, mask, _specs.Mask);
            run.Input(&native.alibi_slopes, slopes, _specs.AlibiSlopes);
            run.Input(&native.sink_logits, sinks, _specs.SinkLogits);
            run.Input(&native.block_table, blockTable, _specs.BlockTable);
            // Tokens of no sequence stay as they are.
            bool isPacked = Options.Packed is not null;
            run.Output(&native.o, o, _specs.Output, isPacked);
            run.Output(&native.lse, lse, _specs.Lse, isPacked);
            native.cu_seqlens_q = queryStarts;
            native.cu_seqlens_k = keyStarts;
            native.kv_len = keyLengths;
            native.dropout_seed = arguments.DropoutSeed;
            native.dropout_offset = arguments.DropoutOffset;
            native.q_position_offset = arguments.QueryPositionOffset;
            native.k_position_offset = arguments.KeyPositionOffset;
            fattn_run settings = run.Begin();
            NativeCall.Check(
                NativeMethods.fattn_dense_forward(Handle.Pointer, &native, &settings), ForwardName, cancellationToken);
            run.End();
        }
    }

    /// <summary>A backward run; the caller holds a reference to the native plan.</summary>
    internal void BackwardHeld(in DenseBackwardArguments<T> arguments, CancellationToken cancellationToken)
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
        owners.Add(arguments.Bias.Owner);
        owners.Add(arguments.Mask.Owner);
        owners.Add(arguments.GradQuery.Owner);
        owners.Add(arguments.GradKey.Owner);
        owners.Add(arguments.GradValue.Owner);
        owners.Add(arguments.GradBias.Owner);
        fixed (void* q = arguments.Query, k = arguments.Key, v = arguments.Value, o = arguments.Output)
        fixed (void* lse = arguments.Lse, gradOutput = arguments.GradOutput, gradLse = arguments.GradLse)
        fixed (void* bias = arguments.Bias, mask = arguments.Mask, gradBias = arguments.GradBias)
        fixed (void* gradQuery = arguments.GradQuery, gradKey = arguments.GradKey, gradValue = arguments.GradValue)
        fixed (float* slopes = arguments.AlibiSlopes, sinks = arguments.SinkLogits)
        fixed (float* gradSinks = arguments.GradSinkLogits)
        fixed (int* queryStarts = arguments.CumulativeQueryLengths, keyStarts = arguments.CumulativeKeyLengths)
        fixed (int* keyLengths = arguments.KeyLengths)
        {
            using HostRun run = new(this, AttentionPass.Backward, arguments.MaxThreads, cancellationToken);
            fattn_dense_backward_args native = default;
            native.struct_size = (uint)sizeof(fattn_dense_backward_args);
            run.Input(&native.q, q, _specs.Query);
            run.Input(&native.k, k, _specs.Key);
            run.Input(&native.v, v, _specs.Value);
            run.Input(&native.o, o, _specs.Output);
            run.Input(&native.lse, lse, _specs.Lse);
            run.Input(&native.d_o, gradOutput, _specs.GradOutput);
            run.Input(&native.d_lse, gradLse, _specs.GradLse);
            run.Input(&native.bias, bias, _specs.Bias);
            run.Input(&native.mask, mask, _specs.Mask);
            run.Input(&native.alibi_slopes, slopes, _specs.AlibiSlopes);
            run.Input(&native.sink_logits, sinks, _specs.SinkLogits);
            run.Output(&native.d_q, gradQuery, _specs.GradQuery);
            run.Output(&native.d_k, gradKey, _specs.GradKey);
            run.Output(&native.d_v, gradValue, _specs.GradValue);
            run.Output(&native.d_bias, gradBias, _specs.GradBias);
            run.Output(&native.d_sink_logits, gradSinks, _specs.GradSinkLogits);
            native.cu_seqlens_q = queryStarts;
            native.cu_seqlens_k = keyStarts;
            native.kv_len = keyLengths;
            native.dropout_seed = arguments.DropoutSeed;
            native.dropout_offset = arguments.DropoutOffset;
            native.q_position_offset = arguments.QueryPositionOffset;
            native.k_position_offset = arguments.KeyPositionOffset;
            fattn_run settings = run.Begin();
            NativeCall.Check(
                NativeMethods.fattn_dense_backward(Handle.Pointer, &native, &settings), BackwardName,
                cancellationToken);
            run.End();
        }
    }

    private void CheckForward(in DenseForwardArguments<T> arguments)
    {
        _specs.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        _specs.CheckOutputs(in arguments.Output, in arguments.Lse);
        CheckScoreTensors(in arguments.Bias, in arguments.Mask);
        CheckVectors(arguments.AlibiSlopes.Length, arguments.SinkLogits.Length);
        CheckLengths(
            arguments.CumulativeQueryLengths.Length, arguments.CumulativeKeyLengths.Length,
            arguments.KeyLengths.Length);
        CheckSpan(_specs.BlockTable, arguments.BlockTable.Length, "blockTable", nameof(Options.Paging));
    }

    private void CheckBackward(in DenseBackwardArguments<T> arguments)
    {
        ThrowHelper.RequireBackward(Options.Backward, BackwardName);
        _specs.CheckInputs(in arguments.Query, in arguments.Key, in arguments.Value);
        _specs.CheckIncoming(in arguments.GradOutput, in arguments.GradLse);
        if (Options.Weights == AttentionWeights.Softmax)
        {
            _specs.CheckForwardResults(in arguments.Output, in arguments.Lse);
        }
        else
        {
            _specs.Output.CheckIfGiven(in arguments.Output);
            _specs.Lse.CheckIfGiven(in arguments.Lse);
        }

        CheckScoreTensors(in arguments.Bias, in arguments.Mask);
        CheckVectors(arguments.AlibiSlopes.Length, arguments.SinkLogits.Length);
        CheckLengths(
            arguments.CumulativeQueryLengths.Length, arguments.CumulativeKeyLengths.Length,
            arguments.KeyLengths.Length);
        _specs.CheckGradients(in arguments.GradQuery, in arguments.GradKey, in arguments.GradValue);
        TensorSpec.CheckAnnouncedIfGiven(_specs.GradBias, in arguments.GradBias, "gradBias", nameof(Options.Bias));
        if (arguments.GradSinkLogits.Length > 0)
        {
            TensorSpec? spec = Options.Sinks ? _specs.GradSinkLogits : null;
            CheckSpan(spec, arguments.GradSinkLogits.Length, "gradSinkLogits", nameof(Options.Sinks));
        }
    }

    private void CheckScoreTensors(in TensorIn<T> bias, in TensorIn<byte> mask)
    {
        TensorSpec.CheckAnnounced(_specs.Bias, in bias, "bias", nameof(Options.Bias));
        TensorSpec.CheckAnnounced(_specs.Mask, in mask, "mask", nameof(Options.Mask));
    }

    private void CheckVectors(int slopes, int sinks)
    {
        CheckSpan(Slopes, slopes, "alibiSlopes", nameof(Options.Alibi));
        CheckSpan(Sinks, sinks, "sinkLogits", nameof(Options.Sinks));
    }

    private void CheckLengths(int queryStarts, int keyStarts, int keyLengths)
    {
        bool isPacked = Options.Packed is not null;
        CheckSpan(
            isPacked ? _specs.CumulativeQueryLengths : null, queryStarts, "cumulativeQueryLengths",
            nameof(Options.Packed));
        CheckSpan(
            isPacked && Options.Paging is null ? _specs.CumulativeKeyLengths : null, keyStarts, "cumulativeKeyLengths",
            nameof(Options.Packed));
        CheckSpan(
            Options.KeyLengths ? _specs.KeyLengths : null, keyLengths, "keyLengths", nameof(Options.KeyLengths));
    }

    private static void CheckSpan(TensorSpec? spec, int length, string name, string option)
    {
        if (spec is not null)
        {
            spec.CheckLength(length);
        }
        else if (length > 0)
        {
            TensorSpec.ThrowUnannounced(name, option);
        }
    }
}
