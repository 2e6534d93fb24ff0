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
    uint32_t step;       // products that are added at once
    int32_t extra_bits;  // kept below the last place of an f32 while they are; fewer than 0: lost
    bool nearest;        // instead of all this: the exact sum of a step, rounded to nearest
    int32_t least_exponent = 1;  // of an accumulator that is not 0, as an f32 has it
};

inline constexpr uint32_t kSumRows = 16;
inline constexpr uint32_t kSumColumns = 8;
inline constexpr int32_t kNothing = -2000;  // the exponent of a product that is zero

// Eight columns at once, whatever vectors the machine has.
using Floats = float __attribute__((vector_size(32)));
using Ints = int32_t __attribute__((vector_size(32)));
using UnsignedInts = uint32_t __attribute__((vector_size(32)));
using Shorts = int16_t __attribute__((vector_size(32)));

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

// Factors and what each adds to the exponent of a product, before any carry; `special` says that an
// infinity or a NaN is among them.
template <uint32_t kOuter, uint32_t kInner>
struct Factors {
    alignas(64) float values[kOuter][kInner];
    alignas(64) int32_t exponents[kOuter][kInner];
    bool special;

  protected:
    // Numbers below the normal ones of their format count as if they were the smallest of these,
    // whose exponent, as an f32 has it, is `least`.
    void find_exponents(int32_t least) {
        static_assert(kOuter * kInner % 8 == 0, "eight are looked at together");
        Ints beyond = {};
        for (uint32_t i = 0; i < kOuter * kInner; i += 8) {
            const Ints bits = load_vector<Ints>(&values[0][0] + i) & 0x7fffffff;
            const Ints exponent = bits >> 23;
            beyond |= exponent == 255;
            const Ints counted = exponent > least ? exponent : Ints{} + least;
            const Ints made = bits == 0 ? Ints{} + kNothing : counted;
            std::memcpy(&exponents[0][0] + i, &made, sizeof made);
        }
        uint64_t any[4];
        std::memcpy(any, &beyond, sizeof any);
        special = (any[0] | any[1] | any[2] | any[3]) != 0;
    }
};

// Exponents of two rows are looked at together, in the halves of an integer. `prepare` is to be
// called when all values have been set.
template <uint32_t kDepth>
struct LeftFactors : Factors<kSumRows, kDepth> {
    alignas(64) int32_t pairs[kSumRows / 2][kDepth];

    void prepare(int32_t least) {
        this->find_exponents(least);
        for (uint32_t i = 0; i < kSumRows / 2; ++i) {
            for (uint32_t k = 0; k < kDepth; ++k)
                pairs[i][k] = (this->exponents[2 * i][k] & 0xffff) | this->exponents[2 * i + 1][k]
                                                                         << 16;
        }
    }
};
template <uint32_t kDepth>
struct RightFactors : Factors<kDepth, kSumColumns> {
    alignas(64) int32_t pairs[kDepth][kSumColumns];  // less 127: a product's is then a biased one

    void prepare(int32_t least) {
        this->find_exponents(least);
        for (uint32_t k = 0; k < kDepth; ++k) {
            for (uint32_t n = 0; n < kSumColumns; ++n) {
                const int32_t exponent = this->exponents[k][n] - 127;
                pairs[k][n] = (exponent & 0xffff) | exponent << 16;
            }
        }
    }
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
        if (made != 0) align = std::max(align, how.least_exponent - 127);
        for (uint32_t k = first; k < end; ++k) {
            finite = finite && std::isfinite(left[k]) && std::isfinite(b.values[k][n]);
            exact += double{left[k]} * double{b.values[k][n]};
            align = std::max(align, left_exponents[k] + b.exponents[k][n] - 254);
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
// an f32's exponents: 8 products, cut to two bits below an f32's last place, and the accumulator
// fit 31 bits together. More than 8 mostly do.
inline constexpr int32_t kLeastAlign = 127 - 100, kMostAlign = 127 + 120;  // biased
inline constexpr int32_t kMostExtraBits = 2;
inline constexpr uint32_t kTogether = 8;

// What must not have been added this way.
struct Outside {
    // Of all alignments but those of nothing but zeros, which are negative.
    UnsignedInts least = UnsignedInts{} + kLeastAlign;
    Ints most = {};
    Ints sums = {};  // negative where a sum does not fit

    bool any() const {
        bool found = false;
        for (uint32_t n = 0; n < kSumColumns; ++n)
            found |= least[n] < kLeastAlign || most[n] > kMostAlign || sums[n] < 0;
        return found;
    }
};

// One step of one row: how it is scaled, and its sum so far.
struct RowStep {
    Floats scale;
    Ints sum;
    Ints power;

    RowStep(const float* made, Ints most, int32_t extra_bits, Outside& outside) {
        const auto start = load_vector<Floats>(made);
        const Ints bits = std::bit_cast<Ints>(start) & 0x7fffffff;
        const Ints own = (bits >> 23) + ((bits == 0) & kNothing);
        const Ints align = own > most ? own : most;
        outside.most = align > outside.most ? align : outside.most;
        const auto place = std::bit_cast<UnsignedInts>(align);
        outside.least = place < outside.least ? place : outside.least;
        const Ints used = align > kLeastAlign ? align : Ints{} + kLeastAlign;
        power = (277 + extra_bits - used) << 23;
        scale = std::bit_cast<Floats>(power);
        sum = __builtin_convertvector(start * scale, Ints);
    }

    void add(Ints part, Outside& outside) {
        const Ints made = std::bit_cast<Ints>(std::bit_cast<UnsignedInts>(sum) +
                                              std::bit_cast<UnsignedInts>(part));
        outside.sums |= (sum ^ made) & (part ^ made);
        sum = made;
    }

    // Cut to the 24 bits of an f32: what was rounded away from zero goes back by one place.
    void store(float* made) const {
        const auto rounded = __builtin_convertvector(sum, Floats);
        const Ints back = __builtin_convertvector(rounded, Ints);
        const Ints past = (back > 0 ? back : -back) > (sum > 0 ? sum : -sum);
        const auto cut = std::bit_cast<Floats>(std::bit_cast<Ints>(rounded) + past);
        const auto unscale = std::bit_cast<Floats>((254 << 23) - power);
        const Floats result = cut * unscale;
        std::memcpy(made, &result, sizeof result);
    }
};

// Two rows, whose steps follow each other.
template <uint32_t kDepth, uint32_t kStep>
void add_rows(float (*made)[kSumColumns], const float (*left)[kDepth], const int32_t* left_pairs,
              const RightFactors<kDepth>& b, int32_t extra_bits, Outside& outside) {
    for (uint32_t first = 0; first < kDepth; first += kStep) {
        Shorts most = Shorts{} + static_cast<int16_t>(2 * kNothing);
        for (uint32_t k = first; k < first + kStep; ++k) {
            const Shorts exponent = std::bit_cast<Shorts>(load_vector<Ints>(b.pairs[k])) +
                                    std::bit_cast<Shorts>(Ints{} + left_pairs[k]);
            most = exponent > most ? exponent : most;
        }
        const auto both = std::bit_cast<Ints>(most);
        RowStep low(made[0], (both << 16) >> 16, extra_bits, outside);
        RowStep high(made[1], both >> 16, extra_bits, outside);
        for (uint32_t from = first; from < first + kStep; from += kTogether) {
            Ints of_low = {}, of_high = {};
            for (uint32_t k = from; k < std::min(from + kTogether, first + kStep); ++k) {
                const auto right = load_vector<Floats>(b.values[k]);
                of_low += __builtin_convertvector(left[0][k] * right * low.scale, Ints);
                of_high += __builtin_convertvector(left[1][k] * right * high.scale, Ints);
            }
            if (from == first) {
                low.sum += of_low;
                high.sum += of_high;
            } else {
                low.add(of_low, outside);
                high.add(of_high, outside);
            }
        }
        if (kStep > kTogether) {
            // Where the nearest f32 may have too many bits.
            constexpr int32_t kMost = 0x7fffff00;
            outside.sums |= (low.sum > kMost) | (low.sum < -kMost);
            outside.sums |= (high.sum > kMost) | (high.sum < -kMost);
        }
        low.store(made[0]);
        high.store(made[1]);
    }
}

// All rows; false when something must not be added this way, and then `acc` is as it was.
template <uint32_t kDepth, uint32_t kStep>
bool add_narrow(float (*acc)[kSumColumns], const LeftFactors<kDepth>& a,
                const RightFactors<kDepth>& b, int32_t extra_bits) {
    alignas(64) float made[kSumRows][kSumColumns];
    std::memcpy(made, acc, sizeof made);
    Outside outside;
    for (uint32_t row = 0; row < kSumRows; row += 2)
        add_rows<kDepth, kStep>(&made[row], &a.values[row], a.pairs[row / 2], b, extra_bits,
                                outside);
    if (outside.any()) return false;
    std::memcpy(acc, made, sizeof made);
    return true;
}

// acc[row][column] += the sum over k of a[row][k] * b[k][column].
template <uint32_t kDepth>
void accumulate(float (*acc)[kSumColumns], const LeftFactors<kDepth>& a,
                const RightFactors<kDepth>& b, const Accumulation& how) {
    const bool narrow = !how.nearest && how.extra_bits <= kMostExtraBits && how.least_exponent == 1;
    if (!a.special && !b.special && narrow) {
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
