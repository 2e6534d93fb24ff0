// The vocabulary that core's templates ask of a value type V, for V = float; the vector types of
// the CPU targets offer the same names, so that one text serves a number and a vector.
//
// V also has + - * /, and V(float) for a constant in every lane. The float forms use no library,
// which makes them usable on devices and in run-time compiled code.
#pragma once

#include "core/types.h"

namespace fattn {

FATTN_HD constexpr uint32 bits_of_float(float x) { return __builtin_bit_cast(uint32, x); }
FATTN_HD constexpr float float_of_bits(uint32 bits) { return __builtin_bit_cast(float, bits); }

constexpr float kInfinity = __builtin_bit_cast(float, 0x7F800000u);
constexpr float kLog2E = 1.44269504088896340736F;
constexpr float kLn2 = 0.69314718055994530942F;

/// a * b + c with one rounding.
FATTN_HD inline float fma(float a, float b, float c) {
#if defined(__CUDACC__)
    return fmaf(a, b, c);
#else
    return __builtin_fmaf(a, b, c);
#endif
}

/// The larger of a and b; b when either is NaN.
FATTN_HD constexpr float max(float a, float b) { return a > b ? a : b; }
/// The smaller of a and b; b when either is NaN.
FATTN_HD constexpr float min(float a, float b) { return a < b ? a : b; }
FATTN_HD constexpr float abs(float x) { return float_of_bits(bits_of_float(x) & 0x7FFFFFFFu); }

/// magnitude with the sign of sign.
FATTN_HD constexpr float copysign(float magnitude, float sign) {
    return float_of_bits((bits_of_float(magnitude) & 0x7FFFFFFFu) |
                         (bits_of_float(sign) & 0x80000000u));
}

/// Nearest integer, ties to even, of |x| < 2^22; NaN stays NaN.
FATTN_HD constexpr float round(float x) {
    constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: no fraction bits are left beside it
    return x + kShift - kShift;
}

/// x * 2^n for integral n, rounded once; exact where the result is normal. x is NaN if n is.
FATTN_HD constexpr float ldexp(float x, float n) {
    // Two factors, because neither 2^-160 nor 2^200 is a float; NaN ends at the lower bound.
    const float bounded = min(240.0F, max(n, -240.0F));
    const int32 total = static_cast<int32>(bounded);
    const int32 half = total / 2;
    const float first = float_of_bits(static_cast<uint32>(half + 127) << 23);
    const float second = float_of_bits(static_cast<uint32>(total - half + 127) << 23);
    return x * first * second;
}

/// Exponent of a positive normal x: the integer e with 2^e <= x < 2^(e+1).
FATTN_HD constexpr float logb(float x) {
    return static_cast<float>(static_cast<int32>(bits_of_float(x) >> 23) - 127);
}

/// yes where a < b, no elsewhere (also when either is NaN).
FATTN_HD constexpr float select_less(float a, float b, float yes, float no) {
    return a < b ? yes : no;
}
/// yes where a == b, no elsewhere.
FATTN_HD constexpr float select_equal(float a, float b, float yes, float no) {
    return a == b ? yes : no;
}

}  // namespace fattn
