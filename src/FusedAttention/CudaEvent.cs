// A mark in a stream. Made by CudaDevice, used to order streams, to wait and to measure.
using System;
using System.Threading;
using System.Threading.Tasks;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>An event: a mark in a stream that can be waited for and timed.</summary>
/// <remarks>Thread-safe. An event that was never recorded counts as done.</remarks>
public sealed unsafe class CudaEvent : IDisposable
{
    internal CudaEvent(CudaDevice device, bool timing)
    {
        Device = device;
        using HandleScope scope = default;
        scope.Add(device.Handle);
        fattn_event* mark;
        uint flags = timing ? (uint)fattn_event_flags.FATTN_EVENT_TIMING : 0;
        NativeCall.Check(
            NativeMethods.fattn_event_create(device.Handle.Pointer, flags, &mark), "CudaDevice.CreateEvent");
        Handle = new EventHandle(mark);
    }

    /// <summary>The device it was made on.</summary>
    public CudaDevice Device { get; }

    /// <summary>The CUevent, for other libraries.</summary>
    /// <exception cref="ObjectDisposedException">The event was disposed.</exception>
    public nint Native
    {
        get
        {
            using HandleScope scope = default;
            scope.Add(Handle);
            void* native;
            NativeCall.Check(NativeMethods.fattn_event_native(Handle.Pointer, &native), "CudaEvent.Native");
            return (nint)native;
        }
    }

    /// <summary>True when the marked work is done.</summary>
    /// <exception cref="AttentionException">Earlier work ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The event was disposed.</exception>
    public bool IsDone
    {
        get
        {
            using HandleScope scope = default;
            scope.Add(Handle);
            int done;
            NativeCall.Check(NativeMethods.fattn_event_query(Handle.Pointer, &done), "CudaEvent.IsDone");
            return done != 0;
        }
    }

    /// <summary>The native event.</summary>
    internal EventHandle Handle { get; }

    /// <summary>Marks the work that is in a stream now; an earlier mark is forgotten.</summary>
    /// <param name="stream">A stream of the same device.</param>
    /// <exception cref="AttentionException">The stream is of another device.</exception>
    /// <exception cref="ObjectDisposedException">The event or the stream was disposed.</exception>
    public void Record(CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        using HandleScope scope = default;
        scope.Add(Handle);
        scope.Add(stream.Handle);
        NativeCall.Check(
            NativeMethods.fattn_event_record(Handle.Pointer, stream.Handle.Pointer), "CudaEvent.Record");
    }

    /// <summary>Waits until the marked work is done; the calling thread sleeps meanwhile.</summary>
    /// <exception cref="AttentionException">Earlier work ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The event was disposed.</exception>
    public void Synchronize()
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        NativeCall.Check(NativeMethods.fattn_event_synchronize(Handle.Pointer), "CudaEvent.Synchronize");
    }

    /// <summary>Waits until the marked work is done, without occupying a thread.</summary>
    /// <param name="cancellationToken">Ends the wait; the work goes on.</param>
    /// <exception cref="AttentionException">Earlier work ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The event was disposed.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <returns>A task that ends with the work, up to two milliseconds later.</returns>
    /// <remarks>
    /// One thread of the library asks for all waits of the process. The event may be disposed meanwhile; recording it
    /// anew makes the wait one for the new mark.
    /// </remarks>
    public ValueTask WaitAsync(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return IsDone ? default : new ValueTask(EventWaiter.WaitAsync(Handle, cancellationToken));
    }

    /// <summary>Time from another event's mark to this one's.</summary>
    /// <param name="start">The earlier event.</param>
    /// <exception cref="AttentionException">One of them was made without timing, never recorded, or is not
    /// done.</exception>
    /// <exception cref="ObjectDisposedException">An event was disposed.</exception>
    /// <returns>The time on the GPU.</returns>
    public TimeSpan ElapsedSince(CudaEvent start)
    {
        ArgumentNullException.ThrowIfNull(start);
        using HandleScope scope = default;
        scope.Add(Handle);
        scope.Add(start.Handle);
        float milliseconds;
        NativeCall.Check(
            NativeMethods.fattn_event_elapsed(start.Handle.Pointer, Handle.Pointer, &milliseconds),
            "CudaEvent.ElapsedSince");
        return TimeSpan.FromMilliseconds(milliseconds);
    }

    /// <summary>Releases the event; streams that wait for its mark still do. Disposing twice is fine.</summary>
    public void Dispose() => Handle.Dispose();
}
