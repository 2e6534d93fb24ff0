// Elementary functions on Vec for the row passes, with their error bounds; included inside a CPU
// target by the tile loops.
#pragma once

#include "core/types.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

constexpr float kLog2E = 1.44269504088896340736F;
constexpr float kLn2 = 0.69314718055994530942F;
constexpr float kInfinity = __builtin_inff();

/// 2^x for x <= 127. Error at most 2 ULP for x >= -126; results below the smallest normal may be
/// flushed to zero; -inf gives exactly 0, 0 exactly 1, NaN stays NaN. Minimax polynomial of 2^f on
/// [0, 1) with p(0) = 1, degree 5.
FATTN_HD inline Vec exp2(Vec x) {
    const Vec f = fraction(x);
    Vec p = fma(Vec(0.0018671300495043397F), f, Vec(0.009017030708491802F));
    p = fma(p, f, Vec(0.05579991266131401F));
    p = fma(p, f, Vec(0.24016444385051727F));
    p = fma(p, f, Vec(0.6931512951850891F));
    p = fma(p, f, Vec(1.0F));
    return ldexp_floor(p, x);
}

/// 2^x of one number, the same bits as a lane of the vector form.
FATTN_HD inline float exp2(float x) {
    float lanes[kWidth];
    store(lanes, exp2(Vec(x)));
    return lanes[0];
}

/// 1 / (1 + e^-x), error at most 4 ULP.
FATTN_HD inline Vec sigmoid(Vec x) {
    return Vec(1.0F) / (Vec(1.0F) + exp2(min(Vec(127.0F), x * Vec(-kLog2E))));
}

/// tanh(x), error at most 4 ULP: an odd polynomial near 0, (1 - t) / (1 + t) with t = e^-2|x|
/// elsewhere.
FATTN_HD inline Vec tanh(Vec x) {
    const Vec z = x * x;
    Vec p = fma(Vec(-5.70498872745e-3F), z, Vec(2.06390887954e-2F));
    p = fma(p, z, Vec(-5.37397155531e-2F));
    p = fma(p, z, Vec(1.33314422036e-1F));
    p = fma(p, z, Vec(-3.33332819422e-1F));
    const Vec small = fma(p * z, x, x);
    const Vec a = abs(x);
    const Vec t = exp2(a * Vec(-2.0F * kLog2E));
    const Vec large = copysign((Vec(1.0F) - t) / (Vec(1.0F) + t), x);
    return select_less(a, Vec(0.625F), small, large);
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
