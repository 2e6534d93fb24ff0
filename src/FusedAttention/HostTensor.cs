// A tensor in native host memory. Used by callers whose tensors exceed what an array or span can hold.
using System;
using System.Runtime.CompilerServices;
using FusedAttention.Internal;

namespace FusedAttention;

/// <summary>Extents and strides over a <see cref="HostBuffer{T}"/>, all 64-bit.</summary>
/// <typeparam name="T">Type of the elements.</typeparam>
/// <remarks>A tensor made from extents owns its buffer; a view does not. Immutable but for its elements.</remarks>
public sealed unsafe class HostTensor<T> : IDisposable
    where T : unmanaged
{
    private readonly long[] _lengths;
    private readonly long[] _strides;
    private readonly bool _isOwner;

    /// <summary>Allocates a contiguous tensor of zeros.</summary>
    /// <param name="lengths">1 to 4 extents, the slowest dimension first.</param>
    /// <exception cref="ArgumentException">There are no extents, or more than 4, or a negative one, or their bytes
    /// exceed the address space.</exception>
    /// <exception cref="OverflowException">The elements are more than 63 bits count.</exception>
    /// <exception cref="OutOfMemoryException">The system has no such block.</exception>
    public HostTensor(params ReadOnlySpan<long> lengths)
    {
        CheckLengths(lengths);
        _lengths = lengths.ToArray();
        _strides = new long[lengths.Length];
        Buffer = new HostBuffer<T>(TensorDims.FillContiguous(_lengths, _strides));
        _isOwner = true;
    }

    private HostTensor(HostBuffer<T> buffer, long offset, long[] lengths, long[] strides)
    {
        Buffer = buffer;
        Offset = offset;
        _lengths = lengths;
        _strides = strides;
    }

    /// <summary>The memory.</summary>
    public HostBuffer<T> Buffer { get; }

    /// <summary>Element of the buffer where the tensor starts.</summary>
    public long Offset { get; }

    /// <summary>Extents, the slowest dimension first.</summary>
    public ReadOnlySpan<long> Lengths => _lengths;

    /// <summary>Distances between neighbours along each dimension, in elements.</summary>
    public ReadOnlySpan<long> Strides => _strides;

    /// <summary>Number of elements.</summary>
    public long Length
    {
        get
        {
            long product = 1;
            foreach (long length in _lengths)
            {
                product *= length;
            }

            return product;
        }
    }

    /// <summary>One element, by reference.</summary>
    /// <param name="indices">Its position along each dimension.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such element.</exception>
    /// <exception cref="ObjectDisposedException">The memory was disposed.</exception>
    public ref T this[params ReadOnlySpan<long> indices]
    {
        get
        {
            if (indices.Length != _lengths.Length)
            {
                throw new ArgumentOutOfRangeException(
                    nameof(indices), $"{indices.Length} indices were given for a tensor of rank {_lengths.Length}.");
            }

            long place = Offset;
            for (int i = 0; i < indices.Length; ++i)
            {
                if ((ulong)indices[i] >= (ulong)_lengths[i])
                {
                    throw new ArgumentOutOfRangeException(
                        nameof(indices),
                        $"Index {indices[i]} of dimension {i} must be at least 0 and less than {_lengths[i]}.");
                }

                place += indices[i] * _strides[i];
            }

            return ref Buffer.Pointer[place];
        }
    }

    /// <summary>A tensor over memory that somebody else owns.</summary>
    /// <param name="buffer">The memory; the view does not dispose it.</param>
    /// <param name="offset">Element of the buffer where the view starts.</param>
    /// <param name="lengths">1 to 4 extents.</param>
    /// <param name="strides">As many strides, in elements, none negative.</param>
    /// <exception cref="ArgumentException">An element of the view lies outside the buffer, or the ranks
    /// differ.</exception>
    /// <exception cref="OverflowException">The place of an element is more than 63 bits count.</exception>
    /// <returns>The view.</returns>
    public static HostTensor<T> View(
        HostBuffer<T> buffer, long offset, ReadOnlySpan<long> lengths, ReadOnlySpan<long> strides)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        CheckLengths(lengths);
        if (strides.Length != lengths.Length)
        {
            throw new ArgumentException(
                $"{strides.Length} strides were given for {lengths.Length} extents.", nameof(strides));
        }

        foreach (long stride in strides)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(stride, nameof(strides));
        }

        long needed = TensorSpec.Span(lengths, strides);
        if (needed > buffer.Length - offset)
        {
            throw new ArgumentException(
                $"The view {TensorDims.Format(lengths)} with strides {TensorDims.Format(strides)} at element {offset} "
                + $"needs {needed} elements; the buffer has {buffer.Length}.",
                nameof(lengths));
        }

        return new HostTensor<T>(buffer, offset, lengths.ToArray(), strides.ToArray());
    }

    /// <summary>The elements of a contiguous tensor as a span.</summary>
    /// <exception cref="InvalidOperationException">The tensor is not contiguous or longer than a span can
    /// be.</exception>
    /// <exception cref="ObjectDisposedException">The memory was disposed.</exception>
    public Span<T> AsSpan()
    {
        Span<long> contiguous = stackalloc long[_lengths.Length];
        long length = TensorDims.FillContiguous(_lengths, contiguous);
        return length <= int.MaxValue && contiguous.SequenceEqual(_strides)
            ? Buffer.AsSpan(Offset, (int)length)
            : throw new InvalidOperationException(
                $"The tensor {TensorDims.Format(_lengths)} with strides {TensorDims.Format(_strides)} is no span: a "
                + $"span is contiguous and holds at most {int.MaxValue} elements.");
    }

    /// <summary>Frees the memory when this tensor owns it.</summary>
    public void Dispose()
    {
        if (_isOwner)
        {
            Buffer.Dispose();
        }
    }

    internal TensorIn<T> AsInput() => new(
        in Unsafe.AsRef<byte>(Buffer.Pointer + Offset), Length, ElementTypeOf<T>.Value, Buffer.Owner,
        new TensorDims(_lengths, _strides));

    internal TensorOut<T> AsOutput() => new(
        ref Unsafe.AsRef<byte>(Buffer.Pointer + Offset), Length, ElementTypeOf<T>.Value, Buffer.Owner,
        new TensorDims(_lengths, _strides));

    private static void CheckLengths(ReadOnlySpan<long> lengths)
    {
        if (lengths.Length is 0 or > TensorDims.MaxRank)
        {
            throw new ArgumentException(
                $"{lengths.Length} extents were given; a tensor has 1 to {TensorDims.MaxRank}.", nameof(lengths));
        }

        foreach (long length in lengths)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(length, nameof(lengths));
        }
    }
}
