// A float whose powers of two and quotients are the hardware's fast ones: the value type that
// kernels of 16-bit tensors give to core's templates.
//
// Weights are rounded to 16 bits after it. Kernels of f32 tensors use float itself.
#pragma once

#include "core/float_ops.h"
#include "core/numeric.h"
#include "core/types.h"
#include "cuda/device/prim/arithmetic.h"

namespace fattn::cuda {

// Beside those of Approx, for kernels that are written for either type.
using fattn::exp2;
using fattn::fma;

struct Approx {
    float x;

    Approx() = default;
    __device__ explicit constexpr Approx(float value) : x(value) {}
};

/// What a value holds.
__device__ inline float plain(Approx a) { return a.x; }
__device__ inline float plain(float a) { return a; }

__device__ inline Approx operator+(Approx a, Approx b) { return Approx(a.x + b.x); }
__device__ inline Approx operator-(Approx a, Approx b) { return Approx(a.x - b.x); }
__device__ inline Approx operator*(Approx a, Approx b) { return Approx(a.x * b.x); }
/// Error at most 2 ULP.
__device__ inline Approx operator/(Approx a, Approx b) {
    return Approx(prim::divide_full(a.x, b.x));
}

__device__ inline Approx fma(Approx a, Approx b, Approx c) {
    return Approx(fattn::fma(a.x, b.x, c.x));
}
__device__ inline Approx max(Approx a, Approx b) { return Approx(fattn::max(a.x, b.x)); }
__device__ inline Approx min(Approx a, Approx b) { return Approx(fattn::min(a.x, b.x)); }
__device__ inline Approx abs(Approx a) { return Approx(fattn::abs(a.x)); }
__device__ inline Approx copysign(Approx magnitude, Approx sign) {
    return Approx(fattn::copysign(magnitude.x, sign.x));
}
__device__ inline Approx select_less(Approx a, Approx b, Approx yes, Approx no) {
    return Approx(fattn::select_less(a.x, b.x, yes.x, no.x));
}
__device__ inline Approx select_equal(Approx a, Approx b, Approx yes, Approx no) {
    return Approx(fattn::select_equal(a.x, b.x, yes.x, no.x));
}

/// 2^x, relative error at most 2^-22; 0 below -126.
__device__ inline Approx exp2(Approx a) { return Approx(prim::exp2_approx(a.x)); }

}  // namespace fattn::cuda
