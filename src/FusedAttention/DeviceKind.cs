// Kinds of devices. Used by DeviceDescription.
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Kind of a device.</summary>
public enum DeviceKind
{
    /// <summary>The host processor.</summary>
    Cpu = (int)fattn_device_kind.FATTN_DEVICE_KIND_CPU,

    /// <summary>An NVIDIA GPU.</summary>
    Cuda = (int)fattn_device_kind.FATTN_DEVICE_KIND_CUDA,
}
