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
/// flushed to zero; -inf gives exactly 0, NaN stays NaN. Degree-5 minimax polynomial of 2^f on
/// [-1/2, 1/2] with p(0) = 1.
FATTN_HD inline Vec exp2(Vec x) {
    x = max(Vec(-200.0F), x);
    const Vec n = round(x);
    const Vec f = x - n;
    Vec p = fma(Vec(0.0013276472454890609F), f, Vec(0.009675540961325169F));
    p = fma(p, f, Vec(0.05550713092088699F));
    p = fma(p, f, Vec(0.24022120237350464F));
    p = fma(p, f, Vec(0.6931469440460205F));
    p = fma(p, f, Vec(1.0F));
    return ldexp(p, n);
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
