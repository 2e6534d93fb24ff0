// a * b + c in f32 with one rounding, where neither the processor nor the C library has it; used by
// exact_fma_windows.cpp.
//
// Source: Boldo & Melquiond 2008, "Emulation of FMA and correctly rounded sums: proved algorithms
// using rounding to odd", IEEE Transactions on Computers 57(4).
#pragma once

#include "core/types.h"

namespace fattn::cpu {

/// What fmaf gives in the default rounding, NaN for NaN; any bits of it.
inline float exact_fma(float a, float b, float c) {
    // Exact: twice 24 bits fit into 53, and no exponent of a product leaves a double.
    const double product = static_cast<double>(a) * static_cast<double>(b);
    const double addend = c;
    const double sum = product + addend;
    // What sum lacks, exactly (Knuth's two-sum); NaN beside infinities.
    const double taken = sum - product;
    const double lacks = (product - (sum - taken)) + (addend - taken);
    auto bits = __builtin_bit_cast(uint64, sum);
    // Rounded to odd, the sum tells the second rounding on which side of a tie it lies.
    const bool is_inexact = lacks < 0 || lacks > 0;
    if (is_inexact && (bits & 1) == 0) bits = (lacks > 0) == (sum > 0) ? bits + 1 : bits - 1;
    return static_cast<float>(__builtin_bit_cast(double, bits));
}

}  // namespace fattn::cpu
