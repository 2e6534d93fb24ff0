// The power of two on Vec, the one function of a row pass that is worth a form of its own per
// instruction set; the others come from core/numeric.h and use this one, which makes the error of
// tanh and sigmoid at most 3 ULP. Without a fused multiply-add (see vec_scalar.h) the sigmoid
// of a negative x loses another |x| ULP. Included inside a CPU target by the tile loops.
#pragma once

#include "core/numeric.h"
#include "core/types.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// 2^x for x <= 127. Error at most 2 ULP for x >= -126, 3 without a fused multiply-add; results
/// below the smallest normal may be flushed to zero; -inf gives exactly 0, 0 exactly 1, NaN stays
/// NaN. Minimax polynomial of 2^f on [0, 1) with p(0) = 1, degree 6: with degree 5 the weights
/// alone would use up what a row of few keys may be off by.
FATTN_HD inline Vec exp2(Vec x) {
    const Vec f = fraction(x);
    Vec p = fma(Vec(0.00021612914861179888F), f, Vec(0.0012467846972867846F));
    p = fma(p, f, Vec(0.009675451554358006F));
    p = fma(p, f, Vec(0.055485282093286514F));
    p = fma(p, f, Vec(0.2402293086051941F));
    p = fma(p, f, Vec(0.6931470632553101F));
    p = fma(p, f, Vec(1.0F));
    return ldexp_floor(p, x);
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
