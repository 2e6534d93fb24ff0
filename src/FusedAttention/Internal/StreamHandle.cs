// Owns one reference to a native stream. Held by CudaStream.
using System.Runtime.InteropServices;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>A reference-counted native stream. The native stream holds its device itself.</summary>
internal sealed unsafe class StreamHandle : SafeHandle
{
    internal StreamHandle(fattn_stream* stream)
        : base(0, ownsHandle: true) => SetHandle((nint)stream);

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The native pointer; valid while the caller holds a reference.</summary>
    internal fattn_stream* Pointer => (fattn_stream*)handle;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMethods.fattn_stream_release((fattn_stream*)handle);
        return true;
    }
}
