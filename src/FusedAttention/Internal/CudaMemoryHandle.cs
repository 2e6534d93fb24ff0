// Owns one reference to a block of device or pinned memory, or borrows an address. Held by DeviceBuffer and PinnedBuffer.
using System;
using System.Runtime.InteropServices;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>A block of memory that belongs to a device; its native handle holds the device.</summary>
internal sealed unsafe class CudaMemoryHandle : SafeHandle
{
    private readonly fattn_memory* _memory;

    private CudaMemoryHandle(fattn_memory* memory, nint address)
        : base(-1, ownsHandle: true)
    {
        _memory = memory;
        SetHandle(address);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == -1;

    /// <summary>True when the memory is somebody else's.</summary>
    internal bool IsBorrowed => _memory is null;

    /// <summary>First byte of the block; valid while the caller holds a reference.</summary>
    internal nint Address => handle;

    /// <summary>Allocates a block of undefined contents.</summary>
    internal static CudaMemoryHandle Allocate(
        CudaDevice device, fattn_memory_kind kind, long bytes, string operation)
    {
        using HandleScope scope = default;
        scope.Add(device.Handle);
        fattn_memory* memory;
        NativeCall.Check(
            NativeMethods.fattn_memory_allocate(device.Handle.Pointer, kind, (ulong)bytes, &memory), operation);
        void* address;
        NativeCall.Check(NativeMethods.fattn_memory_address(memory, &address, null), operation);
        return new CudaMemoryHandle(memory, (nint)address);
    }

    /// <summary>A block that is never freed here; throws unless it is memory of the device.</summary>
    internal static CudaMemoryHandle Borrow(CudaDevice device, nint address, long bytes, string operation)
    {
        using HandleScope scope = default;
        scope.Add(device.Handle);
        if (bytes > 0)
        {
            NativeCall.Check(
                NativeMethods.fattn_memory_check(device.Handle.Pointer, (void*)address, (ulong)bytes), operation);
        }

        return new CudaMemoryHandle(null, address);
    }

    /// <summary>Bytes of a number of elements.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Negative, or more bytes than an address counts.</exception>
    internal static long BytesOf<T>(long length)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, nint.MaxValue / sizeof(T));
        return length * sizeof(T);
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMethods.fattn_memory_release(_memory);
        return true;
    }
}
