// How tensor cores add: products of one step and the accumulator, aligned to the largest, cut,
// summed, cut. Used by mma and wgmma.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "exec/half.h"

namespace fattn::vgpu {

struct Accumulation {
    uint32_t step;        // products that are added at once
    uint32_t extra_bits;  // kept below the last place of an f32 while they are
    bool nearest;         // instead of all this: the exact sum of a step, rounded to nearest
};

// An f32 from a finite f64, toward zero.
inline float cut_to_f32(double value) {
    if (std::fabs(value) < 0x1p-126)
        return static_cast<float>(std::trunc(value * 0x1p149) * 0x1p-149);
    const auto bits = std::bit_cast<uint64_t>(value) & ~((uint64_t{1} << 29) - 1);
    return static_cast<float>(std::bit_cast<double>(bits));
}

// The biased exponent of an f32; those below the normal ones count as the smallest.
inline int32_t exponent_of(float value) {
    return std::max(static_cast<int32_t>(std::bit_cast<uint32_t>(value) >> 23 & 255), 1);
}

// acc[0..kColumns) += the sum over k of a[k] * b[k][column], kColumns wide so that the compiler can
// use vectors.
template <uint32_t kColumns>
void accumulate(float* acc, const float* a, const float (*b)[kColumns], uint32_t depth,
                const Accumulation& how) {
    for (uint32_t first = 0; first < depth; first += how.step) {
        const uint32_t count = std::min(how.step, depth - first);
        alignas(64) double terms[33][kColumns];
        alignas(64) int32_t align[kColumns];
        int32_t worst = 0;
        for (uint32_t n = 0; n < kColumns; ++n) {
            const int32_t exponent = exponent_of(acc[n]);
            terms[0][n] = acc[n];
            align[n] = exponent - 127;
            worst = std::max(worst, exponent);
        }
        for (uint32_t k = 0; k < count; ++k) {
            const float left = a[first + k];
            const int32_t left_exponent = left == 0 ? -1000 : exponent_of(left);
            worst = std::max(worst, left_exponent);
            for (uint32_t n = 0; n < kColumns; ++n) {
                const float right = b[first + k][n];
                const int32_t exponent = exponent_of(right);
                terms[k + 1][n] = double{left} * right;
                // The exponent of a product is the sum of its factors', before any carry; one of 0
                // counts for nothing.
                align[n] = std::max(align[n], right == 0 ? -1000 : left_exponent + exponent - 254);
                worst = std::max(worst, exponent);
            }
        }
        const bool finite = worst < 255;
        alignas(64) double scale[kColumns], sum[kColumns];
        for (uint32_t n = 0; n < kColumns; ++n) {
            // Far below every f32 the alignment does not matter, and the scale must stay finite.
            const int64_t used = std::max(align[n], -400);
            scale[n] = std::bit_cast<double>(
                static_cast<uint64_t>(1023 + 23 + int64_t{how.extra_bits} - used) << 52);
            sum[n] = 0;
        }
        if (!finite || how.nearest) {
            for (uint32_t n = 0; n < kColumns; ++n) {
                double exact = terms[0][n];
                for (uint32_t k = 1; k <= count; ++k) exact += terms[k][n];
                const auto rounded = static_cast<float>(exact);
                acc[n] = std::isnan(rounded) ? std::bit_cast<float>(0x7fffffffu) : rounded;
            }
            continue;
        }
        for (uint32_t k = 0; k <= count; ++k) {
            for (uint32_t n = 0; n < kColumns; ++n) sum[n] += std::trunc(terms[k][n] * scale[n]);
        }
        for (uint32_t n = 0; n < kColumns; ++n) acc[n] = cut_to_f32(sum[n] / scale[n]);
    }
}

}  // namespace fattn::vgpu
