// Memory of a GPU. Made by CudaDevice, used as the tensors of runs there.
using System;
using System.Runtime.InteropServices;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>A block of device memory with a 64-bit length, own or borrowed from another library.</summary>
/// <typeparam name="T">Type of the elements.</typeparam>
/// <remarks>
/// Disposing an own buffer waits for everything that the GPU was given before and then frees the memory, so that work in
/// flight never loses it; a borrowed one is left to its owner. Disposing twice is fine. The garbage collector frees what
/// nobody disposed. Copies check their extents; reading and writing elements is ordered by streams. Thread-safe but for
/// the order of its elements.
/// </remarks>
public sealed unsafe class DeviceBuffer<T> : IDisposable
    where T : unmanaged
{
    private readonly CudaMemoryHandle _memory;

    private DeviceBuffer(CudaDevice device, CudaMemoryHandle memory, long length)
    {
        Device = device;
        _memory = memory;
        Length = length;
    }

    /// <summary>The device that has the memory.</summary>
    public CudaDevice Device { get; }

    /// <summary>Number of elements.</summary>
    public long Length { get; }

    /// <summary>True when the memory is another library's.</summary>
    public bool IsBorrowed => _memory.IsBorrowed;

    /// <summary>True after <see cref="Dispose"/>.</summary>
    public bool IsDisposed => _memory.IsClosed;

    /// <summary>Address in device memory, for other libraries; 0 for an empty buffer.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    public nint Pointer
    {
        get
        {
            if (_memory.IsClosed)
            {
                ThrowHelper.Disposed(nameof(DeviceBuffer<T>));
            }

            return _memory.Address;
        }
    }

    /// <summary>Owner of the memory.</summary>
    internal SafeHandle Owner => _memory;

    /// <summary>The address of the memory, as an argument of a kernel.</summary>
    /// <param name="buffer">The buffer; null gives a null pointer.</param>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    public static implicit operator KernelArgument(DeviceBuffer<T>? buffer) => KernelArgument.Of<T>(buffer);

    /// <summary>Part of the buffer.</summary>
    /// <param name="start">First element.</param>
    /// <param name="length">Number of elements.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the buffer.</exception>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    /// <returns>The part; it keeps the memory during runs, not otherwise.</returns>
    public DeviceTensor<T> Slice(long start, long length) => ((DeviceTensor<T>)this).Slice(start, length);

    /// <summary>Copies elements from host memory and returns when they are here.</summary>
    /// <param name="source">As many elements as the buffer has.</param>
    /// <param name="stream">The copy waits for the work in it; null: the default stream.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    /// <exception cref="AttentionException">Earlier work ended in a fault, or the stream is of another
    /// device.</exception>
    /// <exception cref="ObjectDisposedException">The buffer or the stream was disposed.</exception>
    /// <remarks>Memory that is not page-locked passes through the driver's own buffers.</remarks>
    public void CopyFrom(ReadOnlySpan<T> source, CudaStream? stream = null)
    {
        RequireLength(source.Length, nameof(source));
        stream ??= Device.DefaultStream;
        fixed (T* from = source)
        {
            Copy(fattn_copy.FATTN_COPY_TO_DEVICE, (void*)Pointer, from, stream, null, "DeviceBuffer.CopyFrom");
            stream.Synchronize();
        }
    }

    /// <summary>Copies the elements to host memory and returns when they are there.</summary>
    /// <param name="destination">Room for as many elements as the buffer has.</param>
    /// <param name="stream">The copy waits for the work in it; null: the default stream.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    /// <exception cref="AttentionException">Earlier work ended in a fault, or the stream is of another
    /// device.</exception>
    /// <exception cref="ObjectDisposedException">The buffer or the stream was disposed.</exception>
    public void CopyTo(Span<T> destination, CudaStream? stream = null)
    {
        RequireLength(destination.Length, nameof(destination));
        stream ??= Device.DefaultStream;
        fixed (T* to = destination)
        {
            Copy(fattn_copy.FATTN_COPY_TO_HOST, to, (void*)Pointer, stream, null, "DeviceBuffer.CopyTo");
            stream.Synchronize();
        }
    }

    /// <summary>Queues a copy from pinned memory.</summary>
    /// <param name="source">As many elements as the buffer has; not to be changed before the stream comes there.</param>
    /// <param name="stream">Where it is queued.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    /// <exception cref="AttentionException">The stream is of another device.</exception>
    /// <exception cref="ObjectDisposedException">A buffer or the stream was disposed.</exception>
    public void CopyFrom(PinnedBuffer<T> source, CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(source);
        RequireLength(source.Length, nameof(source));
        Copy(
            fattn_copy.FATTN_COPY_TO_DEVICE, (void*)Pointer, source.Pointer, stream, source.Owner,
            "DeviceBuffer.CopyFrom");
    }

    /// <summary>Queues a copy to pinned memory.</summary>
    /// <param name="destination">Room for as many elements as the buffer has; not to be read before the stream comes
    /// there.</param>
    /// <param name="stream">Where it is queued.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    /// <exception cref="AttentionException">The stream is of another device.</exception>
    /// <exception cref="ObjectDisposedException">A buffer or the stream was disposed.</exception>
    public void CopyTo(PinnedBuffer<T> destination, CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(destination);
        RequireLength(destination.Length, nameof(destination));
        Copy(
            fattn_copy.FATTN_COPY_TO_HOST, destination.Pointer, (void*)Pointer, stream, destination.Owner,
            "DeviceBuffer.CopyTo");
    }

    /// <summary>Queues a copy from memory of the same device.</summary>
    /// <param name="source">As many elements as the buffer has.</param>
    /// <param name="stream">Where it is queued.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    /// <exception cref="AttentionException">The memory or the stream is of another device.</exception>
    /// <exception cref="ObjectDisposedException">A buffer or the stream was disposed.</exception>
    public void CopyFrom(DeviceTensor<T> source, CudaStream stream)
    {
        RequireLength(source.Length, nameof(source));
        Copy(
            fattn_copy.FATTN_COPY_ON_DEVICE, (void*)Pointer, (void*)source.Address, stream, source.Owner,
            "DeviceBuffer.CopyFrom");
    }

    /// <summary>Queues filling the buffer with zeros.</summary>
    /// <param name="stream">Where it is queued.</param>
    /// <exception cref="AttentionException">The stream is of another device.</exception>
    /// <exception cref="ObjectDisposedException">The buffer or the stream was disposed.</exception>
    public void Clear(CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        using HandleScope scope = default;
        scope.Add(_memory);
        scope.Add(stream.Handle);
        NativeCall.Check(
            NativeMethods.fattn_stream_fill(
                stream.Handle.Pointer, (void*)_memory.Address, 0, (ulong)(Length * sizeof(T))),
            "DeviceBuffer.Clear");
    }

    /// <summary>The elements in an array of their own, once the work of the stream is done.</summary>
    /// <param name="stream">What to wait for; null: the default stream.</param>
    /// <exception cref="AttentionException">Earlier work ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The buffer or the stream was disposed.</exception>
    /// <returns>The elements.</returns>
    public T[] ToArray(CudaStream? stream = null)
    {
        var elements = new T[Length];
        CopyTo(elements, stream);
        return elements;
    }

    /// <summary>Frees an own buffer once no work uses it.</summary>
    public void Dispose() => _memory.Dispose();

    internal static DeviceBuffer<T> Allocate(CudaDevice device, long length) => new(
        device,
        CudaMemoryHandle.Allocate(
            device, fattn_memory_kind.FATTN_MEMORY_DEVICE, CudaMemoryHandle.BytesOf<T>(length), "CudaDevice.Allocate"),
        length);

    internal static DeviceBuffer<T> Borrow(CudaDevice device, nint pointer, long length) => new(
        device,
        CudaMemoryHandle.Borrow(device, pointer, CudaMemoryHandle.BytesOf<T>(length), "CudaDevice.Borrow"), length);

    private void Copy(
        fattn_copy kind, void* to, void* from, CudaStream stream, SafeHandle? other, string operation)
    {
        ArgumentNullException.ThrowIfNull(stream);
        using HandleScope scope = default;
        scope.Add(_memory);
        scope.Add(stream.Handle);
        scope.Add(other);
        NativeCall.Check(
            NativeMethods.fattn_stream_copy(stream.Handle.Pointer, kind, to, from, (ulong)(Length * sizeof(T))),
            operation);
    }

    private void RequireLength(long length, string parameter)
    {
        if (length != Length)
        {
            ThrowHelper.Argument($"{length} elements were given; the buffer has {Length}.", parameter);
        }
    }
}
