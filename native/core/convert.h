// Conversions between float and the 16-bit formats in plain bit operations; the meaning every
// faster conversion of a target must reproduce, used where speed does not matter.
#pragma once

#include "core/float_ops.h"
#include "core/types.h"

namespace fattn {

/// Exact.
FATTN_HD constexpr float to_float(bf16 x) { return float_of_bits(uint32{x.bits} << 16); }

/// Exact; a signalling NaN becomes quiet.
FATTN_HD constexpr float to_float(f16 x) {
    const uint32 sign = (uint32{x.bits} & 0x8000u) << 16;
    const uint32 exponent = (x.bits >> 10) & 0x1Fu;
    const uint32 fraction = x.bits & 0x3FFu;
    if (exponent == 0) {
        constexpr float kSmallest = 5.9604644775390625e-8F;  // 2^-24
        return copysign(static_cast<float>(fraction) * kSmallest, float_of_bits(sign));
    }
    if (exponent == 31) {
        const uint32 quiet = fraction == 0 ? 0 : 0x400000u;
        return float_of_bits(sign | 0x7F800000u | quiet | fraction << 13);
    }
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/// Nearest, ties to even; past the largest finite value infinity; NaN keeps sign and leading
/// payload and becomes quiet.
FATTN_HD constexpr bf16 to_bf16(float x) {
    const uint32 bits = bits_of_float(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16>(bits >> 16 | 0x40u)};
    return {static_cast<uint16>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16)};
}

/// As to_bf16; denormal results are kept.
FATTN_HD constexpr f16 to_f16(float x) {
    const uint32 bits = bits_of_float(x);
    const uint32 sign = bits >> 16 & 0x8000u;
    const uint32 magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) {
        return {static_cast<uint16>(sign | 0x7E00u | (magnitude >> 13 & 0x3FFu))};
    }
    if (magnitude >= 0x477FF000u) return {static_cast<uint16>(sign | 0x7C00u)};
    if (magnitude < 0x38800000u) {
        // Beside 1/2 the last bit of a float is worth 2^-24, the smallest denormal: the sum rounds
        // as wanted.
        const uint32 sum = bits_of_float(float_of_bits(magnitude) + 0.5F);
        return {static_cast<uint16>(sign | (sum - 0x3F000000u))};
    }
    const uint32 rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
    return {static_cast<uint16>(sign | (rounded - (112u << 23)) >> 13)};
}

}  // namespace fattn
