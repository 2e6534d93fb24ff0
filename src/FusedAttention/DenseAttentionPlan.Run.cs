// The runs of a dense plan: checks, pins, calls. Called by the public methods and by the one-call methods.
using System;
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
            using var run = new RunScope(arguments.MaxThreads, cancellationToken);
            fattn_run settings = run.Settings;
            NativeCall.Check(
                NativeMethods.fattn_dense_backward(Handle.Pointer, &native, &settings), BackwardName,
                cancellationToken);
        }
    }

    private void CheckForward(in DenseForwardArguments<T> arguments)
    {
        _specs.Query.Check(in arguments.Query);
        _specs.Key.Check(in arguments.Key);
        _specs.Value.Check(in arguments.Value);
        _specs.Output.Check(in arguments.Output);
        if (!arguments.Lse.IsDefault)
        {
            _specs.Lse.Check(in arguments.Lse);
        }

        CheckBias(in arguments.Bias);
        CheckMask(in arguments.Mask);
        CheckSpan(
            _specs.AlibiSlopes, arguments.AlibiSlopes.Length, Options.Alibi, "alibiSlopes", nameof(Options.Alibi));
        CheckSpan(_specs.SinkLogits, arguments.SinkLogits.Length, Options.Sinks, "sinkLogits", nameof(Options.Sinks));
        CheckLengths(arguments.CumulativeQueryLengths, arguments.CumulativeKeyLengths, arguments.KeyLengths);
        bool hasPages = Options.Paging is not null;
        if (hasPages)
        {
            _specs.BlockTable!.CheckLength(arguments.BlockTable.Length);
        }
        else if (arguments.BlockTable.Length > 0)
        {
            TensorSpec.ThrowPresence("blockTable", isGiven: true, nameof(Options.Paging));
        }
    }

    private void CheckBackward(in DenseBackwardArguments<T> arguments)
    {
        if (!Options.Backward)
        {
            throw new InvalidOperationException(
                $"{BackwardName} was called on a plan made without {nameof(DenseOptions.Backward)}.");
        }

        _specs.Query.Check(in arguments.Query);
        _specs.Key.Check(in arguments.Key);
        _specs.Value.Check(in arguments.Value);
        _specs.GradOutput.Check(in arguments.GradOutput);
        bool isSoftmax = Options.Weights == AttentionWeights.Softmax;
        if (isSoftmax || !arguments.Output.IsDefault)
        {
            _specs.Output.Check(in arguments.Output);
        }

        if (isSoftmax || !arguments.Lse.IsDefault)
        {
            _specs.Lse.Check(in arguments.Lse);
        }

        if (!arguments.GradLse.IsDefault)
        {
            _specs.GradLse.Check(in arguments.GradLse);
        }

        CheckBias(in arguments.Bias);
        CheckMask(in arguments.Mask);
        CheckSpan(
            _specs.AlibiSlopes, arguments.AlibiSlopes.Length, Options.Alibi, "alibiSlopes", nameof(Options.Alibi));
        CheckSpan(_specs.SinkLogits, arguments.SinkLogits.Length, Options.Sinks, "sinkLogits", nameof(Options.Sinks));
        CheckLengths(arguments.CumulativeQueryLengths, arguments.CumulativeKeyLengths, arguments.KeyLengths);
        CheckGradients(in arguments);
    }

    private void CheckGradients(in DenseBackwardArguments<T> arguments)
    {
        if (!arguments.GradQuery.IsDefault)
        {
            _specs.GradQuery.Check(in arguments.GradQuery);
        }

        if (!arguments.GradKey.IsDefault)
        {
            _specs.GradKey.Check(in arguments.GradKey);
        }

        if (!arguments.GradValue.IsDefault)
        {
            _specs.GradValue.Check(in arguments.GradValue);
        }

        if (!arguments.GradBias.IsDefault)
        {
            if (_specs.GradBias is null)
            {
                TensorSpec.ThrowPresence("gradBias", isGiven: true, nameof(Options.Bias));
            }

            _specs.GradBias!.Check(in arguments.GradBias);
        }

        if (arguments.GradSinkLogits.Length > 0)
        {
            CheckSpan(
                _specs.GradSinkLogits, arguments.GradSinkLogits.Length, Options.Sinks, "gradSinkLogits",
                nameof(Options.Sinks));
        }
    }

    private void CheckBias(in TensorIn<T> bias)
    {
        if (_specs.Bias is not null)
        {
            _specs.Bias.Check(in bias);
        }
        else if (!bias.IsDefault)
        {
            TensorSpec.ThrowPresence("bias", isGiven: true, nameof(Options.Bias));
        }
    }

    private void CheckMask(in TensorIn<byte> mask)
    {
        if (_specs.Mask is not null)
        {
            _specs.Mask.Check(in mask);
        }
        else if (!mask.IsDefault)
        {
            TensorSpec.ThrowPresence("mask", isGiven: true, nameof(Options.Mask));
        }
    }

    private void CheckLengths(ReadOnlySpan<int> queryStarts, ReadOnlySpan<int> keyStarts, ReadOnlySpan<int> keyLengths)
    {
        bool isPacked = Options.Packed is not null;
        CheckSpan(
            _specs.CumulativeQueryLengths, queryStarts.Length, isPacked, "cumulativeQueryLengths",
            nameof(Options.Packed));
        CheckSpan(
            _specs.CumulativeKeyLengths, keyStarts.Length, isPacked && Options.Paging is null, "cumulativeKeyLengths",
            nameof(Options.Packed));
        CheckSpan(_specs.KeyLengths, keyLengths.Length, Options.KeyLengths, "keyLengths", nameof(Options.KeyLengths));
    }

    private static void CheckSpan(TensorSpec spec, int length, bool isAnnounced, string name, string option)
    {
        if (isAnnounced)
        {
            spec.CheckLength(length);
        }
        else if (length > 0)
        {
            TensorSpec.ThrowPresence(name, isGiven: true, option);
        }
    }
}
