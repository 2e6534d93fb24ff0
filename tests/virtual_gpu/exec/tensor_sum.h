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

inline constexpr uint32_t kSumRows = 16;
inline constexpr uint32_t kSumColumns = 8;
inline constexpr int32_t kNothing = -2000;  // the exponent of a product that is zero

// Eight columns at once, whatever vectors the machine has.
using Floats = float __attribute__((vector_size(32)));
using Ints = int32_t __attribute__((vector_size(32)));

template <class V, class T>
V load_vector(const T* from) {
    V loaded;
    std::memcpy(&loaded, from, sizeof loaded);
    return loaded;
}

// The biased exponent of an f32; those below the normal ones count as the smallest.
inline int32_t exponent_of(float value) {
    return std::max(static_cast<int32_t>(std::bit_cast<uint32_t>(value) >> 23 & 255), 1);
}

// Factors of products with what their exponents add to a product's, before any carry; `special`
// says that an infinity or a NaN is among them.
template <uint32_t kOuter, uint32_t kInner>
struct Factors {
    alignas(64) float values[kOuter][kInner];
    alignas(64) int32_t exponents[kOuter][kInner];
    bool special;

    // To be called when all values have been set.
    void find_exponents(int32_t bias) {
        int32_t most = 0;
        for (uint32_t i = 0; i < kOuter; ++i) {
            for (uint32_t j = 0; j < kInner; ++j) {
                const int32_t exponent = exponent_of(values[i][j]);
                most = std::max(most, exponent);
                exponents[i][j] = values[i][j] == 0 ? kNothing : exponent - bias;
            }
        }
        special = most == 255;
    }
};

template <uint32_t kDepth>
struct LeftFactors : Factors<kSumRows, kDepth> {
    void prepare() { this->find_exponents(0); }
};
template <uint32_t kDepth>
struct RightFactors : Factors<kDepth, kSumColumns> {
    void prepare() { this->find_exponents(254); }
};

// An f32 from a finite f64, toward zero.
inline float cut_to_f32(double value) {
    if (std::fabs(value) < 0x1p-126)
        return static_cast<float>(std::trunc(value * 0x1p149) * 0x1p-149);
    const auto bits = std::bit_cast<uint64_t>(value) & ~((uint64_t{1} << 29) - 1);
    return static_cast<float>(std::bit_cast<double>(bits));
}

// The power of two that brings the last place kept under an alignment to 1.
inline double scale_of(int32_t align, const Accumulation& how) {
    // Far below every f32 the alignment does not matter, and the scale must stay finite.
    const int64_t used = std::max(align, -400);
    return std::bit_cast<double>(static_cast<uint64_t>(1023 + 23 + int64_t{how.extra_bits} - used)
                                 << 52);
}

// One column of one row, whatever its values.
template <uint32_t kDepth>
float add_any(float made, const float* left, const int32_t* left_exponents,
              const RightFactors<kDepth>& b, uint32_t n, const Accumulation& how) {
    for (uint32_t first = 0; first < kDepth; first += how.step) {
        const uint32_t end = std::min(first + how.step, kDepth);
        bool finite = std::isfinite(made);
        double exact = made;
        int32_t align = exponent_of(made) - 127;
        for (uint32_t k = first; k < end; ++k) {
            finite = finite && std::isfinite(left[k]) && std::isfinite(b.values[k][n]);
            exact += double{left[k]} * double{b.values[k][n]};
            align = std::max(align, left_exponents[k] + b.exponents[k][n]);
        }
        if (!finite || how.nearest) {
            const auto rounded = static_cast<float>(exact);
            made = std::isnan(rounded) ? std::bit_cast<float>(0x7fffffffu) : rounded;
            continue;
        }
        const double scale = scale_of(align, how);
        double sum = std::trunc(made * scale);
        for (uint32_t k = first; k < end; ++k)
            sum += std::trunc(double{left[k]} * double{b.values[k][n]} * scale);
        made = cut_to_f32((sum + 0.0) / scale);  // integers have one zero
    }
    return made;
}

// The same sum for factors of at most 12 significant bits where alignments are far from the ends of
// an f32's exponents: 16 products cut to two bits below an f32's last place fit 32 bits together.
inline constexpr int32_t kLeastAlign = -100, kMostAlign = 120;
inline constexpr uint32_t kMostExtraBits = 2, kTogether = 16;

// Adds the lower or upper half of two vectors in f64, and cuts to what an f32 holds.
template <int kFirst>
auto cut_sums(Ints a, Ints b) {
    using HalfInts = int32_t __attribute__((vector_size(16)));
    using Doubles = double __attribute__((vector_size(32)));
    using Longs = int64_t __attribute__((vector_size(32)));
    using HalfFloats = float __attribute__((vector_size(16)));
    const HalfInts low = __builtin_shufflevector(a, a, kFirst, kFirst + 1, kFirst + 2, kFirst + 3);
    const HalfInts high = __builtin_shufflevector(b, b, kFirst, kFirst + 1, kFirst + 2, kFirst + 3);
    const Doubles sum =
        __builtin_convertvector(low, Doubles) + __builtin_convertvector(high, Doubles);
    const auto cut = std::bit_cast<Longs>(sum) & ~((int64_t{1} << 29) - 1);
    return __builtin_convertvector(std::bit_cast<Doubles>(cut), HalfFloats);
}

// One step of one row. What must not have been added this way is noted in `outside`.
template <uint32_t kDepth, uint32_t kStep>
void add_step(float* made, const float* left, const int32_t* left_exponents,
              const RightFactors<kDepth>& b, uint32_t first, uint32_t extra_bits, Ints& outside) {
    Ints most = Ints{} + kNothing;
    for (uint32_t k = 0; k < kStep; ++k) {
        const Ints exponent = load_vector<Ints>(b.exponents[first + k]) + left_exponents[first + k];
        most = exponent > most ? exponent : most;
    }
    const auto start = load_vector<Floats>(made);
    Ints own = std::bit_cast<Ints>(start) >> 23 & 255;
    outside |= own == 255;
    own = (own > 1 ? own : Ints{} + 1) - 127;
    Ints align = own > most ? own : most;
    // Nothing but zeros, or well inside of what an f32 holds.
    outside |=
        ((align < kLeastAlign) | (align > kMostAlign)) & ~((start == 0.0F) & (most < kNothing / 2));
    align = align > kLeastAlign ? align : Ints{} + kLeastAlign;
    const Ints power = 127 + 23 + static_cast<int32_t>(extra_bits) - align;
    const auto scale = std::bit_cast<Floats>(power << 23);
    const auto unscale = std::bit_cast<Floats>((254 - power) << 23);
    Ints sum = __builtin_convertvector(start * scale, Ints);
    Floats cut;
    for (uint32_t from = 0; from < kStep; from += kTogether) {
        Ints part = {};
        for (uint32_t k = first + from; k < first + std::min(from + kTogether, kStep); ++k) {
            part +=
                __builtin_convertvector(left[k] * load_vector<Floats>(b.values[k]) * scale, Ints);
        }
        if (from + kTogether < kStep) {
            // Two parts of 16 products do not fit together, but the first and the start do with
            // what the factors of such steps have: 8 bits each.
            sum += part;
            continue;
        }
        cut = __builtin_shufflevector(cut_sums<0>(sum, part), cut_sums<4>(sum, part), 0, 1, 2, 3, 4,
                                      5, 6, 7);
    }
    cut *= unscale;
    std::memcpy(made, &cut, sizeof cut);
}

// All rows; false when something must not be added this way, and then `acc` is as it was.
template <uint32_t kDepth, uint32_t kStep>
bool add_narrow(float (*acc)[kSumColumns], const LeftFactors<kDepth>& a,
                const RightFactors<kDepth>& b, uint32_t extra_bits) {
    alignas(64) float made[kSumRows][kSumColumns];
    std::memcpy(made, acc, sizeof made);
    Ints outside = {};
    for (uint32_t row = 0; row < kSumRows; ++row) {
        for (uint32_t first = 0; first < kDepth; first += kStep)
            add_step<kDepth, kStep>(made[row], a.values[row], a.exponents[row], b, first,
                                    extra_bits, outside);
    }
    uint64_t any[4];
    std::memcpy(any, &outside, sizeof any);
    if ((any[0] | any[1] | any[2] | any[3]) != 0) return false;
    std::memcpy(acc, made, sizeof made);
    return true;
}

// acc[row][column] += the sum over k of a[row][k] * b[k][column].
template <uint32_t kDepth>
void accumulate(float (*acc)[kSumColumns], const LeftFactors<kDepth>& a,
                const RightFactors<kDepth>& b, const Accumulation& how) {
    if (!a.special && !b.special && !how.nearest && how.extra_bits <= kMostExtraBits) {
        if (how.step >= kDepth && add_narrow<kDepth, kDepth>(acc, a, b, how.extra_bits)) return;
        if (how.step == kDepth / 2 && add_narrow<kDepth, kDepth / 2>(acc, a, b, how.extra_bits))
            return;
    }
    for (uint32_t row = 0; row < kSumRows; ++row) {
        for (uint32_t n = 0; n < kSumColumns; ++n)
            acc[row][n] = add_any(acc[row][n], a.values[row], a.exponents[row], b, n, how);
    }
}

}  // namespace fattn::vgpu
