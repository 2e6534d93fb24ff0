// Owns one reference to a native event. Held by CudaEvent.
using System.Runtime.InteropServices;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>A reference-counted native event. The native event holds its device itself.</summary>
internal sealed unsafe class EventHandle : SafeHandle
{
    internal EventHandle(fattn_event* mark)
        : base(0, ownsHandle: true) => SetHandle((nint)mark);

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The native pointer; valid while the caller holds a reference.</summary>
    internal fattn_event* Pointer => (fattn_event*)handle;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMethods.fattn_event_release((fattn_event*)handle);
        return true;
    }
}
