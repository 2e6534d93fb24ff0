// Native host memory for tensors that an array or span cannot hold. Used by callers and by HostTensor.
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using FusedAttention.Internal;

namespace FusedAttention;

/// <summary>
/// A block of host memory with a 64-bit length, outside the garbage collector's heap, 64-byte aligned.
/// </summary>
/// <typeparam name="T">Type of the elements.</typeparam>
/// <remarks>
/// Disposing frees the memory as soon as no operation uses it; spans and references taken from the buffer must not be
/// used afterwards. Disposing twice is fine. Reading and writing elements is not synchronised.
/// </remarks>
public sealed unsafe class HostBuffer<T> : IDisposable
    where T : unmanaged
{
    private readonly HostMemoryHandle _memory;

    /// <summary>Allocates the memory, filled with zeros.</summary>
    /// <param name="length">Number of elements.</param>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative or its bytes exceed the address
    /// space.</exception>
    /// <exception cref="OutOfMemoryException">The system has no such block.</exception>
    public HostBuffer(long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, nint.MaxValue / sizeof(T));
        Length = length;
        _memory = new HostMemoryHandle((nuint)length * (nuint)sizeof(T));
    }

    /// <summary>Number of elements.</summary>
    public long Length { get; }

    /// <summary>True after <see cref="Dispose"/>.</summary>
    public bool IsDisposed => _memory.IsClosed;

    /// <summary>One element, by reference.</summary>
    /// <param name="index">Its position, from 0.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such element.</exception>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    public ref T this[long index]
    {
        get
        {
            if ((ulong)index >= (ulong)Length)
            {
                throw new ArgumentOutOfRangeException(
                    nameof(index), index, $"The index must be at least 0 and less than the length {Length}.");
            }

            return ref Pointer[index];
        }
    }

    /// <summary>The memory of the buffer.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    internal T* Pointer
    {
        get
        {
            if (_memory.IsClosed)
            {
                ThrowHelper.Disposed(nameof(HostBuffer<T>));
            }

            return (T*)_memory.Pointer;
        }
    }

    /// <summary>Owner of the memory.</summary>
    internal SafeHandle Owner => _memory;

    /// <summary>The whole buffer as a span.</summary>
    /// <exception cref="InvalidOperationException">The buffer is longer than a span can be.</exception>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    public Span<T> AsSpan()
    {
        int length = SpanBounds.Whole(Length);
        return new Span<T>(Pointer, length);
    }

    /// <summary>Part of the buffer as a span.</summary>
    /// <param name="start">First element.</param>
    /// <param name="length">Number of elements.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the buffer.</exception>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    public Span<T> AsSpan(long start, int length)
    {
        SpanBounds.CheckPart(start, length, Length);
        return new Span<T>(Pointer + start, length);
    }

    /// <summary>Fills the buffer with zeros.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    public void Clear() => NativeMemory.Clear(Pointer, (nuint)Length * (nuint)sizeof(T));

    /// <summary>Frees the memory.</summary>
    public void Dispose() => _memory.Dispose();

    internal TensorIn<T> AsInput() => new(
        in Unsafe.AsRef<byte>(Pointer), Length, ElementTypeOf<T>.Value, _memory, default);

    internal TensorOut<T> AsOutput() => new(
        ref Unsafe.AsRef<byte>(Pointer), Length, ElementTypeOf<T>.Value, _memory, default);
}
