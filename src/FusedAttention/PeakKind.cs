// What AttentionDevice.MeasurePeak measures.
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>A limit of the machine that can be measured.</summary>
public enum PeakKind
{
    /// <summary>Multiply-adds in f32 on registers, in 1e9 floating-point operations per second.</summary>
    Float32 = (int)fattn_peak.FATTN_PEAK_F32,

    /// <summary>Multiply-adds of bfloat16 pairs (the f32 rate where there are none), in the same unit.</summary>
    BFloat16 = (int)fattn_peak.FATTN_PEAK_BF16,

    /// <summary>Reading memory that no cache holds, in 1e9 bytes per second.</summary>
    MemoryRead = (int)fattn_peak.FATTN_PEAK_READ,
}
