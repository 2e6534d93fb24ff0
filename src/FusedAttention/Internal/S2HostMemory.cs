// An S2 cache in host memory. Made by S2KeyValueCache for the CPU.
using System;
using System.Threading;

namespace FusedAttention.Internal;

/// <summary>Pages in native memory; every call returns when its work is done.</summary>
internal sealed unsafe class S2HostMemory<T> : S2Memory<T>
    where T : unmanaged
{
    private readonly HostBuffer<T> _keys;
    private readonly HostBuffer<T> _values;

    internal S2HostMemory(AttentionShape shape, S2Pages pages, DenseAttentionPlan<T> plan, long blockSize)
        : base(shape, pages, plan, blockSize)
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

    internal override void Append(
        ReadOnlySpan<T> key, ReadOnlySpan<T> value, long tokens, ReadOnlySpan<int> slots)
    {
        TensorIn<T> keys = _keys, values = _values;
        using HandleScope owners = default;
        owners.Add(keys.Owner);
        owners.Add(values.Owner);
        fixed (void* from = key, fromValues = value, to = keys, toValues = values)
        fixed (int* places = slots)
        {
            Append(from, fromValues, to, toValues, tokens, places, null);
        }
    }

    internal override void Decode(
        TensorIn<T> query, TensorOut<T> output, TensorOut<float> lse, long length,
        CancellationToken cancellationToken)
    {
        var arguments = new DenseForwardArguments<T>
        {
            Query = query,
            Key = _keys,
            Value = _values,
            Output = output,
            Lse = lse,
            KeyLengths = Pages.Lengths(length),
            BlockTable = Pages.Table,
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
