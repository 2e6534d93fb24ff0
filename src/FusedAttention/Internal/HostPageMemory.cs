// The pages of a cache in host memory. Made by S2KeyValueCache and DenseKeyValueCache for the CPU.
using System;
using System.Threading;

namespace FusedAttention.Internal;

/// <summary>Pages in native memory; every call returns when its work is done.</summary>
internal sealed unsafe class HostPageMemory<T> : PageMemory<T>
    where T : unmanaged
{
    private readonly HostBuffer<T> _keys;
    private readonly HostBuffer<T> _values;

    internal HostPageMemory(string owner, AttentionShape shape, DenseAttentionPlan<T> plan)
        : base(owner, shape, plan)
    {
        _keys = new HostBuffer<T>(KeyElements);
        try
        {
            _values = new HostBuffer<T>(ValueElements);
        }
        catch
        {
            _keys.Dispose();
            throw;
        }
    }

    internal override void Append(ReadOnlySpan<T> key, ReadOnlySpan<T> value, in NewTokens tokens)
    {
        TensorIn<T> keys = _keys, values = _values;
        using HandleScope owners = default;
        owners.Add(keys.Owner);
        owners.Add(values.Owner);
        fixed (void* from = key, fromValues = value, to = keys, toValues = values)
        fixed (int* slots = tokens.Slots)
        {
            Append(from, fromValues, to, toValues, tokens, slots, null);
        }
    }

    internal override void Decode(
        TensorIn<T> query, TensorOut<T> output, TensorOut<float> lse, in PageState state,
        CancellationToken cancellationToken)
    {
        var arguments = new DenseForwardArguments<T>
        {
            Query = query,
            Key = _keys,
            Value = _values,
            Output = output,
            Lse = lse,
            KeyLengths = state.Lengths,
            BlockTable = state.Table,
        };
        Plan.Forward(in arguments, cancellationToken);
    }

    public override void Dispose()
    {
        base.Dispose();
        _keys.Dispose();
        _values.Dispose();
    }
}
