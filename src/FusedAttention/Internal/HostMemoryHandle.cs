// Owns a block of host memory outside the garbage collector's heap. Held by HostBuffer.
using System.Runtime.InteropServices;

namespace FusedAttention.Internal;

/// <summary>An aligned block of host memory, zero at first.</summary>
internal sealed unsafe class HostMemoryHandle : SafeHandle
{
    /// <summary>Every block starts at a multiple of this many bytes: one cache line, one AVX-512 register.</summary>
    internal const int Alignment = 64;

    private readonly void* _allocated;

    // Large blocks of zeros are pages that the system gives when they are first touched: filling them here would touch all.
    internal HostMemoryHandle(nuint byteCount)
        : base(0, ownsHandle: true)
    {
        _allocated = NativeMemory.AllocZeroed(checked(byteCount + Alignment));
        SetHandle((nint)(((nuint)_allocated + (Alignment - 1)) & ~(nuint)(Alignment - 1)));
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>First byte of the block.</summary>
    internal void* Pointer => (void*)handle;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMemory.Free(_allocated);
        return true;
    }
}
