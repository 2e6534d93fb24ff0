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
            fattn_dense_forward_args native = default;
            native.struct_size = (uint)sizeof(fattn_dense_forward_args);
            native.q = q;
            native.k = k;
            native.v = v;
            native.o = o;
            native.lse = (float*)lse;
            native.bias = bias;
            native.mask = mask;
            native.alibi_slopes = slopes;
            native.sink_logits = sinks;
            native.cu_seqlens_q = queryStarts;
            native.cu_seqlens_k = keyStarts;
            native.kv_len = keyLengths;
            native.block_table = blockTable;
            native.dropout_seed = arguments.DropoutSeed;
            native.dropout_offset = arguments.DropoutOffset;
            native.q_position_offset = arguments.QueryPositionOffset;
            native.k_position_offset = arguments.KeyPositionOffset;
            if (Device is CudaDevice cuda)
            {
                cancellationToken.ThrowIfCancellationRequested();
                StageForward(cuda, &native);
                return;
            }

            using var run = new RunScope(arguments.MaxThreads, cancellationToken);
            fattn_run settings = run.Settings;
            NativeCall.Check(
                NativeMethods.fattn_dense_forward(Handle.Pointer, &native, &settings), ForwardName, cancellationToken);
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
            fattn_dense_backward_args native = default;
            native.struct_size = (uint)sizeof(fattn_dense_backward_args);
            native.q = q;
            native.k = k;
            native.v = v;
            native.o = o;
            native.lse = (float*)lse;
            native.d_o = gradOutput;
            native.d_lse = (float*)gradLse;
            native.bias = bias;
            native.mask = mask;
            native.alibi_slopes = slopes;
            native.sink_logits = sinks;
            native.cu_seqlens_q = queryStarts;
            native.cu_seqlens_k = keyStarts;
            native.kv_len = keyLengths;
            native.d_q = gradQuery;
            native.d_k = gradKey;
            native.d_v = gradValue;
            native.d_bias = (float*)gradBias;
            native.d_sink_logits = gradSinks;
            native.dropout_seed = arguments.DropoutSeed;
            native.dropout_offset = arguments.DropoutOffset;
            native.q_position_offset = arguments.QueryPositionOffset;
            native.k_position_offset = arguments.KeyPositionOffset;
            if (Device is CudaDevice cuda)
            {
                cancellationToken.ThrowIfCancellationRequested();
                StageBackward(cuda, &native);
                return;
            }

            using var run = new RunScope(arguments.MaxThreads, cancellationToken);
            fattn_run settings = run.Settings;
            NativeCall.Check(
                NativeMethods.fattn_dense_backward(Handle.Pointer, &native, &settings), BackwardName,
                cancellationToken);
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
        CheckSpan(Options.Alibi ? _specs.AlibiSlopes : null, slopes, "alibiSlopes", nameof(Options.Alibi));
        CheckSpan(Options.Sinks ? _specs.SinkLogits : null, sinks, "sinkLogits", nameof(Options.Sinks));
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
