// Keeps the owners of tensors alive while a native call uses their memory. Used by the plans.
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace FusedAttention.Internal;

/// <summary>References taken for one call, given back together.</summary>
internal ref struct HandleScope
{
    private Slots _handles;
    private int _count;

    /// <summary>Takes a reference; null is nothing to take.</summary>
    /// <exception cref="ObjectDisposedException">The owner was disposed.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Add(SafeHandle? handle)
    {
        if (handle is not null)
        {
            bool isHeld = false;
            handle.DangerousAddRef(ref isHeld);
            _handles[_count++] = handle;
        }
    }

    /// <summary>Gives all references back.</summary>
    public void Dispose()
    {
        for (int i = 0; i < _count; ++i)
        {
            _handles[i]!.DangerousRelease();
        }

        _count = 0;
    }

    [InlineArray(Capacity)]
    private struct Slots
    {
        internal const int Capacity = 24;
        private SafeHandle? _first;
    }
}
