// Why a native call failed. Carried by AttentionException.
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Result of a call into the native library.</summary>
public enum AttentionStatus
{
    /// <summary>The call did what was asked.</summary>
    Ok = (int)fattn_status.FATTN_STATUS_OK,

    /// <summary>An argument is wrong; nothing was written.</summary>
    InvalidArgument = (int)fattn_status.FATTN_STATUS_INVALID_ARGUMENT,

    /// <summary>The request is well-formed, but this version or device cannot do it.</summary>
    Unsupported = (int)fattn_status.FATTN_STATUS_UNSUPPORTED,

    /// <summary>Memory could not be had.</summary>
    OutOfMemory = (int)fattn_status.FATTN_STATUS_OUT_OF_MEMORY,

    /// <summary>The call was cancelled; outputs are undefined.</summary>
    Cancelled = (int)fattn_status.FATTN_STATUS_CANCELLED,

    /// <summary>The device or its driver is absent.</summary>
    DeviceUnavailable = (int)fattn_status.FATTN_STATUS_DEVICE_UNAVAILABLE,

    /// <summary>The device reported a fault, possibly of an earlier call.</summary>
    DeviceFault = (int)fattn_status.FATTN_STATUS_DEVICE_FAULT,

    /// <summary>The workspace given is too small or misaligned.</summary>
    WorkspaceTooSmall = (int)fattn_status.FATTN_STATUS_WORKSPACE_TOO_SMALL,

    /// <summary>A defect of the library.</summary>
    Internal = (int)fattn_status.FATTN_STATUS_INTERNAL,
}
