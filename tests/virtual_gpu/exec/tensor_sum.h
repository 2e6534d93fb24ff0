// How tensor cores add: products of one step and the accumulator, aligned to the largest, cut,
// summed, cut. Used by mma and wgmma.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

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

// The power of two that brings the last place kept under an alignment to 1.
inline double scale_of(int32_t align, const Accumulation& how) {
    // Far below every f32 the alignment does not matter, and the scale must stay finite.
    const int64_t used = std::max(align, -400);
    return std::bit_cast<double>(static_cast<uint64_t>(1023 + 23 + int64_t{how.extra_bits} - used)
                                 << 52);
}

// The same sum where products, their alignment and 8 of them together fit 32 bits: factors of at
// most 12 significant bits, exponents far from the ends of an f32's, or zeros alone.
inline constexpr int32_t kNothing = -2000;  // the exponent of a product that is zero
inline constexpr int32_t kLeastAlign = -100, kMostAlign = 120;

// Eight columns at once, whatever vectors the machine has.
using Floats = float __attribute__((vector_size(32)));
using Ints = int32_t __attribute__((vector_size(32)));

inline void add_step(float* made, const float* left, const float (*b)[8], uint32_t first,
                     uint32_t end, const int32_t* align, const Accumulation& how) {
    constexpr uint32_t kTogether = 8;
    const auto load = [](const float* from) {
        Floats loaded;
        std::memcpy(&loaded, from, sizeof loaded);
        return loaded;
    };
    Ints powers;
    for (uint32_t n = 0; n < 8; ++n)
        powers[n] =
            127 + 23 + static_cast<int32_t>(how.extra_bits) - std::max(align[n], kLeastAlign);
    const auto scale = std::bit_cast<Floats>(powers << 23);
    const Ints start = __builtin_convertvector(load(made) * scale, Ints);
    double sum[8];
    for (uint32_t n = 0; n < 8; ++n) sum[n] = start[n];
    for (uint32_t from = first; from < end; from += kTogether) {
        const uint32_t to = std::min(from + kTogether, end);
        Ints part = {};
        for (uint32_t k = from; k < to; ++k)
            part += __builtin_convertvector(left[k] * load(b[k]) * scale, Ints);
        for (uint32_t n = 0; n < 8; ++n) sum[n] += part[n];
    }
    for (uint32_t n = 0; n < 8; ++n) made[n] = cut_to_f32(sum[n] / double{scale[n]});
}

// acc[row][column] += the sum over k of a[row][k] * b[k][column]; what columns have in common is
// worked out once, and loops over columns are the compiler's to make vectors of.
template <uint32_t kRows, uint32_t kColumns, uint32_t kMostDepth>
void accumulate(float (*acc)[kColumns], const float (*a)[kMostDepth], const float (*b)[kColumns],
                uint32_t depth, const Accumulation& how) {
    static_assert(kColumns == 8, "add_step adds eight columns");
    alignas(64) double right[kMostDepth][kColumns];
    alignas(64) int32_t right_exponent[kMostDepth][kColumns];
    int32_t right_worst[kMostDepth];
    for (uint32_t k = 0; k < depth; ++k) {
        right_worst[k] = 0;
        for (uint32_t n = 0; n < kColumns; ++n) {
            const int32_t exponent = exponent_of(b[k][n]);
            right[k][n] = b[k][n];
            right_exponent[k][n] = b[k][n] == 0 ? kNothing : exponent - 254;
            right_worst[k] = std::max(right_worst[k], exponent);
        }
    }
    for (uint32_t row = 0; row < kRows; ++row) {
        float* const made = acc[row];
        for (uint32_t first = 0; first < depth; first += how.step) {
            const uint32_t end = std::min(first + how.step, depth);
            // Of products alone, then with the accumulator.
            alignas(64) int32_t most[kColumns], align[kColumns];
            int32_t worst = 0;
            for (uint32_t n = 0; n < kColumns; ++n) {
                most[n] = kNothing;
                align[n] = exponent_of(made[n]) - 127;
                worst = std::max(worst, align[n] + 127);
            }
            for (uint32_t k = first; k < end; ++k) {
                const float left = a[row][k];
                const int32_t exponent = exponent_of(left);
                worst = std::max({worst, exponent, right_worst[k]});
                // The exponent of a product is the sum of its factors', before any carry.
                const int32_t counted = left == 0 ? kNothing : exponent;
                for (uint32_t n = 0; n < kColumns; ++n)
                    most[n] = std::max(most[n], counted + right_exponent[k][n]);
            }
            for (uint32_t n = 0; n < kColumns; ++n) align[n] = std::max(align[n], most[n]);
            if (worst == 255 || how.nearest) {
                // Columns are sums of their own: an infinity in one leaves the others as they are.
                for (uint32_t n = 0; n < kColumns; ++n) {
                    bool finite = std::isfinite(made[n]);
                    double exact = made[n];
                    for (uint32_t k = first; k < end; ++k) {
                        finite = finite && std::isfinite(a[row][k]) && std::isfinite(b[k][n]);
                        exact += double{a[row][k]} * right[k][n];
                    }
                    if (finite && !how.nearest) {
                        const double scale = scale_of(align[n], how);
                        double sum = std::trunc(made[n] * scale);
                        for (uint32_t k = first; k < end; ++k)
                            sum += std::trunc(double{a[row][k]} * right[k][n] * scale);
                        made[n] = cut_to_f32(sum / scale);
                        continue;
                    }
                    const auto rounded = static_cast<float>(exact);
                    made[n] = std::isnan(rounded) ? std::bit_cast<float>(0x7fffffffu) : rounded;
                }
                continue;
            }
            bool narrow = true;
            for (uint32_t n = 0; n < kColumns; ++n) {
                // Nothing but zeros, or well inside of what an f32 holds.
                const bool zero = made[n] == 0 && most[n] < kNothing / 2;
                narrow &= (align[n] >= kLeastAlign && align[n] <= kMostAlign) || zero;
            }
            if (narrow) {
                add_step(made, a[row], b, first, end, align, how);
                continue;
            }
            alignas(64) double scale[kColumns], sum[kColumns];
            for (uint32_t n = 0; n < kColumns; ++n) {
                scale[n] = scale_of(align[n], how);
                sum[n] = std::trunc(made[n] * scale[n]);
            }
            for (uint32_t k = first; k < end; ++k) {
                const double left = a[row][k];
                for (uint32_t n = 0; n < kColumns; ++n)
                    sum[n] += std::trunc(left * right[k][n] * scale[n]);
            }
            for (uint32_t n = 0; n < kColumns; ++n) made[n] = cut_to_f32(sum[n] / scale[n]);
        }
    }
}

}  // namespace fattn::vgpu
