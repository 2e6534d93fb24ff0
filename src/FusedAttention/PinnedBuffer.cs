// Page-locked host memory. Made by CudaDevice, copied from and to by DeviceBuffer.
using System;
using System.Runtime.InteropServices;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Host memory that a GPU copies from and to while the host does something else.</summary>
/// <typeparam name="T">Type of the elements.</typeparam>
/// <remarks>
/// Disposing waits for everything that the GPU was given before; spans taken from the buffer must not be used
/// afterwards, nor after another library has reset the device's context, which frees the memory too. Disposing twice is
/// fine. Page-locked memory is taken from the whole system: keep and reuse it. Reading and writing elements is not
/// synchronised.
/// </remarks>
public sealed unsafe class PinnedBuffer<T> : IDisposable
    where T : unmanaged
{
    private readonly CudaMemoryHandle _memory;

    internal PinnedBuffer(CudaDevice device, long length)
    {
        _memory = CudaMemoryHandle.Allocate(
            device, fattn_memory_kind.FATTN_MEMORY_PINNED, CudaMemoryHandle.BytesOf<T>(length),
            "CudaDevice.AllocatePinned");
        Length = length;
    }

    /// <summary>Number of elements.</summary>
    public long Length { get; }

    /// <summary>True after <see cref="Dispose"/>.</summary>
    public bool IsDisposed => _memory.IsClosed;

    /// <summary>The memory of the buffer.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    internal T* Pointer
    {
        get
        {
            if (_memory.IsClosed)
            {
                ThrowHelper.Disposed(nameof(PinnedBuffer<T>));
            }

            return (T*)_memory.Address;
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

    /// <summary>Frees the memory once no work uses it.</summary>
    public void Dispose() => _memory.Dispose();
}
