// Instruction sets of the CPU kernels. Used by AttentionDevice.
using FusedAttention.Interop;

namespace FusedAttention;

/// <summary>Instruction set of the CPU kernels.</summary>
public enum CpuTarget
{
    /// <summary>The best one this processor can run.</summary>
    Best = (int)fattn_cpu_target.FATTN_CPU_TARGET_BEST,

    /// <summary>Portable code without vector instructions of its own.</summary>
    Scalar = (int)fattn_cpu_target.FATTN_CPU_TARGET_SCALAR,

    /// <summary>x86-64 with AVX2, FMA and F16C.</summary>
    Avx2 = (int)fattn_cpu_target.FATTN_CPU_TARGET_AVX2,

    /// <summary>x86-64 with AVX-512 F, BW, DQ and VL.</summary>
    Avx512 = (int)fattn_cpu_target.FATTN_CPU_TARGET_AVX512,

    /// <summary>AVX-512 with bfloat16 dot products.</summary>
    Avx512Bf16 = (int)fattn_cpu_target.FATTN_CPU_TARGET_AVX512_BF16,

    /// <summary>64-bit Arm with NEON.</summary>
    Neon = (int)fattn_cpu_target.FATTN_CPU_TARGET_NEON,
}
