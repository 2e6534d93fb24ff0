// Owns one reference to a native device. Held by AttentionDevice.
using System.Runtime.InteropServices;
using FusedAttention.Interop;

namespace FusedAttention.Internal;

/// <summary>A reference-counted native device.</summary>
internal sealed unsafe class DeviceHandle : SafeHandle
{
    internal DeviceHandle(fattn_device* device)
        : base(0, ownsHandle: true) => SetHandle((nint)device);

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>The native pointer; valid while the caller holds a reference.</summary>
    internal fattn_device* Pointer => (fattn_device*)handle;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMethods.fattn_device_release((fattn_device*)handle);
        return true;
    }
}
