// How tokens come into the pages of a dense cache: counted, checked, given their places. Part of the public class.
using System;
using FusedAttention.Internal;

namespace FusedAttention;

public sealed partial class DenseKeyValueCache<T>
{
    private void Append(long first, long sequences, ReadOnlySpan<T> key, ReadOnlySpan<T> value)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        long tokens = CountTokens(first, sequences, key.Length, value.Length);
        if (tokens == 0)
        {
            return;
        }

        NewTokens taken = Take(first, sequences, tokens);
        try
        {
            _memory.Append(key, value, in taken);
        }
        catch
        {
            GiveBack(first, sequences, tokens);
            throw;
        }
    }

    private void Append(
        long first, long sequences, in DeviceTensor<T> key, in DeviceTensor<T> value, CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        DevicePageMemory<T> memory = OnDevice("Append");
        if (key.Element != ElementTypeOf<T>.Float || value.Element != ElementTypeOf<T>.Float)
        {
            throw new ArgumentException(
                $"key has elements of type {key.Element} and value of {value.Element}; the cache keeps "
                + $"{ElementTypeOf<T>.Float}.",
                nameof(key));
        }

        long tokens = CountTokens(first, sequences, key.Length, value.Length);
        if (tokens == 0)
        {
            return;
        }

        NewTokens taken = Take(first, sequences, tokens);
        try
        {
            memory.Append(in key, in value, in taken, stream);
        }
        catch
        {
            GiveBack(first, sequences, tokens);
            throw;
        }
    }

    private DevicePageMemory<T> OnDevice(string operation)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        return _memory as DevicePageMemory<T> ?? throw new InvalidOperationException(
            $"{Name}.{operation} was given device tensors, but the cache lies in host memory; make it with a "
            + "CudaDevice.");
    }

    private void CheckSequence(long sequence)
    {
        if (sequence < 0 || sequence >= Sequences)
        {
            throw new ArgumentOutOfRangeException(
                nameof(sequence), sequence, $"The cache has {Sequences} sequences.");
        }
    }

    /// <summary>Tokens a sequence, once they fit the tensors, the capacity and the free pages.</summary>
    private long CountTokens(long first, long sequences, long keyLength, long valueLength)
    {
        long keyRow = sequences * _shape.KeyHeads * _shape.HeadDim;
        long valueRow = sequences * _shape.KeyHeads * _shape.ValueHeadDim;
        long tokens = keyLength / keyRow;
        if (tokens * keyRow != keyLength || tokens * valueRow != valueLength)
        {
            ThrowHelper.Argument(
                $"key has {keyLength} and value {valueLength} elements; a token has {keyRow} and {valueRow}.", "key");
        }

        long missing = 0;
        for (long sequence = first; sequence < first + sequences; ++sequence)
        {
            long length = _pages.Lengths[(int)sequence];
            if (tokens > Capacity - length)
            {
                ThrowHelper.Argument(
                    $"{tokens} tokens were given; sequence {sequence} holds {length} and has room for "
                    + $"{Capacity - length} more.",
                    "key");
            }

            missing += _pages.MissingPages(sequence, tokens);
        }

        return missing <= FreePages ? tokens : throw new InvalidOperationException(
            $"{Name}.Append needs {missing} pages more, of {_paging.PageSize} tokens; {FreePages} of {_paging.Pages} are"
            + " free. Truncate sequences that have ended, or make the cache with more pages.");
    }

    /// <summary>Lengthens the sequences; pages and room are there.</summary>
    private NewTokens Take(long first, long sequences, long tokens)
    {
        int count = checked((int)(sequences * tokens));
        if (_slots.Length < count)
        {
            _slots = new int[count];
        }

        for (int n = 0; n < sequences; ++n)
        {
            _pages.Append(first + n, _slots.AsSpan(n * (int)tokens, (int)tokens));
        }

        return new NewTokens(tokens, _slots.AsSpan(0, count), ofOneEntry: sequences == 1);
    }

    private void GiveBack(long first, long sequences, long tokens)
    {
        for (long sequence = first; sequence < first + sequences; ++sequence)
        {
            _pages.Truncate(sequence, _pages.Lengths[(int)sequence] - tokens);
        }
    }
}
