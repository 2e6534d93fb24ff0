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

// acc[0..kColumns) += the sum over k of a[k] * b[k][column], kColumns wide so that the compiler can
// use vectors.
template <uint32_t kColumns>
void accumulate(float* acc, const float* a, const float (*b)[kColumns], uint32_t depth,
                const Accumulation& how) {
    for (uint32_t first = 0; first < depth; first += how.step) {
        const uint32_t count = std::min(how.step, depth - first);
        alignas(64) double terms[33][kColumns];
        alignas(64) uint64_t largest[kColumns];
        for (uint32_t n = 0; n < kColumns; ++n) {
            terms[0][n] = acc[n];
            largest[n] = std::bit_cast<uint64_t>(terms[0][n]) << 1;
        }
        for (uint32_t k = 0; k < count; ++k) {
            const double left = a[first + k];
            for (uint32_t n = 0; n < kColumns; ++n) {
                terms[k + 1][n] = left * b[first + k][n];
                largest[n] = std::max(largest[n], std::bit_cast<uint64_t>(terms[k + 1][n]) << 1);
            }
        }
        alignas(64) double scale[kColumns], sum[kColumns];
        bool finite = true;
        for (uint32_t n = 0; n < kColumns; ++n) {
            const uint64_t exponent = largest[n] >> 53;
            finite &= exponent != 0x7ff;
            // Far below every f32 the alignment does not matter, and the scale must stay finite.
            const uint64_t used = std::max<uint64_t>(exponent, 1023 - 400);
            scale[n] = std::bit_cast<double>((2046 - used + 23 + how.extra_bits) << 52);
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
