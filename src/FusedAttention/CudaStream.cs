// A queue of work on a GPU. Made by CudaDevice, given to copies and to runs of plans.
using System;
using System.Diagnostics.CodeAnalysis;
using System.Threading;
using System.Threading.Tasks;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>A stream: work in it runs in the order in which it was queued, beside the work of other streams.</summary>
/// <remarks>
/// Thread-safe; work queued by several threads at once goes in some order. A stream may be disposed while work is in
/// it, which still finishes. Another stream waits for it through <see cref="Wait"/>.
/// </remarks>
[SuppressMessage("Naming", "CA1711", Justification = "CUDA calls it a stream; it is no sequence of bytes.")]
public sealed unsafe class CudaStream : IDisposable
{
    private readonly bool _isShared;

    private CudaStream(CudaDevice device, fattn_stream* stream, bool isShared)
    {
        Device = device;
        Handle = new StreamHandle(stream);
        _isShared = isShared;
        void* native;
        NativeCall.Check(NativeMethods.fattn_stream_native(stream, &native), "CudaStream");
        Native = (nint)native;
    }

    /// <summary>The device whose work it queues.</summary>
    public CudaDevice Device { get; }

    /// <summary>The CUstream, for other libraries; 0 for the default stream.</summary>
    public nint Native { get; }

    /// <summary>True when nothing is left to do.</summary>
    /// <exception cref="AttentionException">Earlier work ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The stream was disposed.</exception>
    public bool IsDone
    {
        get
        {
            using HandleScope scope = default;
            scope.Add(Handle);
            int done;
            NativeCall.Check(NativeMethods.fattn_stream_query(Handle.Pointer, &done), "CudaStream.IsDone");
            return done != 0;
        }
    }

    /// <summary>The native stream.</summary>
    internal StreamHandle Handle { get; }

    /// <summary>Waits until everything in the stream is done; the calling thread sleeps meanwhile.</summary>
    /// <exception cref="AttentionException">Earlier work ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The stream was disposed.</exception>
    public void Synchronize()
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        NativeCall.Check(NativeMethods.fattn_stream_synchronize(Handle.Pointer), "CudaStream.Synchronize");
    }

    /// <summary>Waits until everything that is in the stream now is done, without occupying a thread.</summary>
    /// <param name="cancellationToken">Ends the wait; the work goes on.</param>
    /// <exception cref="AttentionException">Earlier work ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The stream was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <returns>A task that ends with the work, up to two milliseconds later.</returns>
    /// <remarks>One thread of the library asks for all waits of the process.</remarks>
    public ValueTask WaitAsync(CancellationToken cancellationToken = default)
    {
        // The wait keeps the event.
        using CudaEvent mark = Device.CreateEvent();
        mark.Record(this);
        return mark.WaitAsync(cancellationToken);
    }

    /// <summary>Makes work that is queued from now on wait for an event's last mark.</summary>
    /// <param name="mark">An event of the same device.</param>
    /// <exception cref="AttentionException">The event is of another device.</exception>
    /// <exception cref="ObjectDisposedException">The stream or the event was disposed.</exception>
    public void Wait(CudaEvent mark)
    {
        ArgumentNullException.ThrowIfNull(mark);
        using HandleScope scope = default;
        scope.Add(Handle);
        scope.Add(mark.Handle);
        NativeCall.Check(NativeMethods.fattn_stream_wait(Handle.Pointer, mark.Handle.Pointer), "CudaStream.Wait");
    }

    /// <summary>Releases the stream; what is in it still runs. Disposing twice is fine.</summary>
    public void Dispose()
    {
        if (!_isShared)
        {
            Handle.Dispose();
        }
    }

    internal static CudaStream Create(CudaDevice device, int priority)
    {
        using HandleScope scope = default;
        scope.Add(device.Handle);
        fattn_stream* stream;
        NativeCall.Check(
            NativeMethods.fattn_stream_create(device.Handle.Pointer, priority, &stream), "CudaDevice.CreateStream");
        return new CudaStream(device, stream, isShared: false);
    }

    internal static CudaStream Borrow(CudaDevice device, nint native, bool isShared)
    {
        using HandleScope scope = default;
        scope.Add(device.Handle);
        fattn_stream* stream;
        NativeCall.Check(
            NativeMethods.fattn_stream_borrow(device.Handle.Pointer, (void*)native, &stream),
            "CudaDevice.BorrowStream");
        return new CudaStream(device, stream, isShared);
    }
}
