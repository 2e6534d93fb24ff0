// Conversions and elementary functions that the hardware has in one instruction; called by value
// types, products and epilogues.
#pragma once

#include "core/types.h"

namespace fattn::prim {

/// ex2.approx.ftz: 2^x, relative error at most 2^-22; results below 2^-126 are 0, as at -inf.
__device__ inline float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/// div.full: a / b, error at most 2 ULP.
__device__ inline float divide_full(float a, float b) {
    float y;
    asm("div.full.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
}

/// max.f32: the larger one; the other one where one is NaN.
__device__ inline float max_number(float a, float b) {
    float y;
    asm("max.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
}

/// cvt.rn.f16x2.f32: low in the lower half.
__device__ inline uint32 pack(f16, float low, float high) {
    uint32 y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

/// cvt.rn.bf16x2.f32: low in the lower half.
__device__ inline uint32 pack(bf16, float low, float high) {
    uint32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}

/// cvt.f32.f16: exact.
__device__ inline float unpack(f16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}

}  // namespace fattn::prim
