// Owns a block of host memory outside the garbage collector's heap. Held by HostBuffer.
using System;
using System.Runtime.InteropServices;

namespace FusedAttention.Internal;

/// <summary>An aligned block of host memory.</summary>
internal sealed unsafe class HostMemoryHandle : SafeHandle
{
    /// <summary>Every block starts at a multiple of this many bytes: one cache line, one AVX-512 register.</summary>
    internal const int Alignment = 64;

    internal HostMemoryHandle(nuint byteCount)
        : base(0, ownsHandle: true) => SetHandle((nint)NativeMemory.AlignedAlloc(Math.Max(byteCount, 1), Alignment));

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>First byte of the block.</summary>
    internal void* Pointer => (void*)handle;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }
}
