// A GPU: where plans run, and what makes memory, streams and events for them. Opened by callers.
using System;
using System.Collections.Concurrent;
using System.Threading;
using FusedAttention.Internal;
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>An NVIDIA GPU, in the context it shares with other CUDA libraries of the process.</summary>
/// <remarks>
/// Thread-safe. Plans, buffers, streams and events keep what they need of their device, so that everything may be
/// disposed in any order, also while work is in flight: memory is freed once the GPU has done what it was given before.
/// After a fault (<see cref="AttentionStatus.DeviceFault"/>) or the loss of the GPU every call on it throws an
/// <see cref="AttentionException"/>; disposing still works.
/// </remarks>
public sealed unsafe class CudaDevice : AttentionDevice
{
    private static readonly ConcurrentDictionary<int, CudaDevice> Shared = new();
    private readonly StagingPool _staging;
    private CudaStream? _defaultStream;

    private CudaDevice(fattn_device* device, bool isShared)
        : base(device, isShared)
    {
        _staging = new StagingPool(this);
    }

    /// <summary>GPUs that the driver shows; 0 without a driver. <see cref="NativeRuntime.Probe"/> tells why.</summary>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    public static int Count => CudaReport.Read().Devices;

    /// <summary>The CUcontext that the device works in, for other libraries.</summary>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public nint Context
    {
        get
        {
            using HandleScope scope = default;
            scope.Add(Handle);
            void* context;
            NativeCall.Check(NativeMethods.fattn_device_context(Handle.Pointer, &context), "CudaDevice.Context");
            return (nint)context;
        }
    }

    /// <summary>The legacy default stream, which most CUDA programs use when they do not say.</summary>
    /// <remarks>Lives as long as the device; disposing it does nothing.</remarks>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public CudaStream DefaultStream
    {
        get
        {
            ThrowIfDisposed();
            CudaStream? stream = Volatile.Read(ref _defaultStream);
            if (stream is not null)
            {
                return stream;
            }

            stream = CudaStream.Borrow(this, 0, isShared: true);
            return Interlocked.CompareExchange(ref _defaultStream, stream, null) ?? stream;
        }
    }

    /// <summary>Memory that runs over spans pass through.</summary>
    internal StagingPool Staging => _staging;

    /// <summary>Opens a GPU in its primary context, which the CUDA runtime and PyTorch use too.</summary>
    /// <param name="index">Its number, from 0 to <see cref="Count"/>, excluded.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is negative.</exception>
    /// <exception cref="AttentionException">There is no driver or no such GPU, or it is too old.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <returns>A device of its own, to be disposed by the caller.</returns>
    public static CudaDevice Open(int index = 0) => Open(index, isShared: false);

    /// <summary>Opens the GPU of a context that another library made.</summary>
    /// <param name="context">
    /// Its CUcontext (ManagedCuda: <c>CudaContext.Context.Pointer</c>; ILGPU: <c>CudaAccelerator.NativePtr</c>); 0: the
    /// calling thread's current one. It must live as long as the device and everything made with it.
    /// </param>
    /// <exception cref="AttentionException">It is no context, there is no driver, or the GPU is too old.</exception>
    /// <exception cref="NativeLibraryLoadException">The native library cannot be used.</exception>
    /// <returns>A device of its own, to be disposed by the caller.</returns>
    public static CudaDevice Attach(nint context)
    {
        NativeRuntime.EnsureLoaded();
        fattn_device* device;
        NativeCall.Check(NativeMethods.fattn_device_attach((void*)context, &device), "CudaDevice.Attach");
        return new CudaDevice(device, isShared: false);
    }

    /// <summary>Allocates device memory of undefined contents.</summary>
    /// <typeparam name="T">Type of the elements.</typeparam>
    /// <param name="length">Number of elements.</param>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative or too large.</exception>
    /// <exception cref="AttentionException">The GPU has no such block
    /// (<see cref="AttentionStatus.OutOfMemory"/>).</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>The buffer.</returns>
    public DeviceBuffer<T> Allocate<T>(long length)
        where T : unmanaged => DeviceBuffer<T>.Allocate(this, length);

    /// <summary>Allocates device memory and copies elements into it; returns when they are there.</summary>
    /// <typeparam name="T">Type of the elements.</typeparam>
    /// <param name="source">The elements.</param>
    /// <exception cref="AttentionException">The GPU has no such block.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>The buffer.</returns>
    public DeviceBuffer<T> Upload<T>(ReadOnlySpan<T> source)
        where T : unmanaged
    {
        DeviceBuffer<T> buffer = Allocate<T>(source.Length);
        try
        {
            buffer.CopyFrom(source);
            return buffer;
        }
        catch
        {
            buffer.Dispose();
            throw;
        }
    }

    /// <summary>Allocates page-locked host memory, from and to which copies run beside other work.</summary>
    /// <typeparam name="T">Type of the elements.</typeparam>
    /// <param name="length">Number of elements.</param>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative or too large.</exception>
    /// <exception cref="AttentionException">The system has no such block.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>The buffer.</returns>
    public PinnedBuffer<T> AllocatePinned<T>(long length)
        where T : unmanaged => new(this, length);

    /// <summary>Takes device memory that another library allocated; it is never freed here.</summary>
    /// <typeparam name="T">Type of the elements.</typeparam>
    /// <param name="pointer">
    /// Its address (ManagedCuda: <c>CudaDeviceVariable.DevicePointer.Pointer</c>; ILGPU: <c>MemoryBuffer.NativePtr</c>;
    /// TorchSharp: the tensor's data pointer; ONNX Runtime: <c>OrtValue</c>'s tensor data of a CUDA allocation).
    /// </param>
    /// <param name="length">Number of elements.</param>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative or too large.</exception>
    /// <exception cref="AttentionException">The memory is not this device's, or of another context, or
    /// shorter.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>The buffer; the memory must outlive it.</returns>
    public DeviceBuffer<T> Borrow<T>(nint pointer, long length)
        where T : unmanaged => DeviceBuffer<T>.Borrow(this, pointer, length);

    /// <summary>Makes a stream, which does not wait for the default stream.</summary>
    /// <param name="priority">Lower numbers run first; the driver clamps them.</param>
    /// <exception cref="AttentionException">The driver refuses.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>The stream.</returns>
    public CudaStream CreateStream(int priority = 0) => CudaStream.Create(this, priority);

    /// <summary>Takes a stream that another library made in this device's context; it is never destroyed here.</summary>
    /// <param name="native">
    /// Its CUstream or cudaStream_t (ManagedCuda: <c>CudaStream.Stream.Pointer</c>; ILGPU: <c>CudaStream.StreamPtr</c>);
    /// 0: the default stream. It must outlive the result.
    /// </param>
    /// <exception cref="AttentionException">The stream belongs to another context.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>The stream.</returns>
    public CudaStream BorrowStream(nint native) => CudaStream.Borrow(this, native, isShared: false);

    /// <summary>Makes an event.</summary>
    /// <param name="timing">Whether it measures time; it then costs a little more.</param>
    /// <exception cref="AttentionException">The driver refuses.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>The event.</returns>
    public CudaEvent CreateEvent(bool timing = false) => new(this, timing);

    /// <summary>Waits for everything that was queued on the GPU, by any library in its context.</summary>
    /// <exception cref="AttentionException">Earlier work ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    public void Synchronize()
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        NativeCall.Check(NativeMethods.fattn_device_synchronize(Handle.Pointer), "CudaDevice.Synchronize");
    }

    /// <summary>Free and total memory of the GPU.</summary>
    /// <exception cref="AttentionException">Earlier work ended in a fault.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    /// <returns>Both, at this moment.</returns>
    public CudaMemoryInfo GetMemoryInfo()
    {
        using HandleScope scope = default;
        scope.Add(Handle);
        ulong free, total;
        NativeCall.Check(
            NativeMethods.fattn_device_memory(Handle.Pointer, &free, &total), "CudaDevice.GetMemoryInfo");
        return new CudaMemoryInfo((long)free, (long)total);
    }

    /// <summary>The device of this number that all callers share.</summary>
    internal static CudaDevice OpenShared(int index)
    {
        if (Shared.TryGetValue(index, out CudaDevice? found))
        {
            return found;
        }

        CudaDevice opened = Open(index, isShared: true);
        CudaDevice kept = Shared.GetOrAdd(index, opened);
        if (!ReferenceEquals(kept, opened))
        {
            opened.Handle.Dispose();
        }

        return kept;
    }

    /// <inheritdoc/>
    private protected override void TrimManaged() => _staging.Clear();

    /// <inheritdoc/>
    private protected override void DisposeManaged()
    {
        _staging.Clear();
        _defaultStream?.Handle.Dispose();
    }

    private static CudaDevice Open(int index, bool isShared)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        NativeRuntime.EnsureLoaded();
        fattn_device* device;
        NativeCall.Check(
            NativeMethods.fattn_device_open(fattn_device_kind.FATTN_DEVICE_KIND_CUDA, index, null, &device),
            "CudaDevice.Open");
        return new CudaDevice(device, isShared);
    }
}
