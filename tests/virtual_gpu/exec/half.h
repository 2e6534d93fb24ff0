// The small floating-point formats as values of f32 and f64, rounded in every direction. Used by
// conversions, halves and mma.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace fattn::vgpu {

enum class Round : uint8_t { kNearestEven, kZero, kDown, kUp, kNearestAway };

struct Format {
    int mantissa;      // explicit bits
    int min_exponent;  // of normal numbers
    double largest;
    bool has_infinity;
};

inline constexpr Format kF32Format = {23, -126, 3.4028234663852886e38, true};
inline constexpr Format kTf32Format = {10, -126, 3.4011621342146535e38, true};
inline constexpr Format kF16Format = {10, -14, 65504, true};
inline constexpr Format kBf16Format = {7, -126, 3.3895313892515355e38, true};
inline constexpr Format kE4m3Format = {3, -6, 448, false};
inline constexpr Format kE5m2Format = {2, -14, 57344, true};

inline double round_integral(double value, Round round) {
    switch (round) {
        case Round::kNearestEven:
            return std::nearbyint(value);
        case Round::kZero:
            return std::trunc(value);
        case Round::kDown:
            return std::floor(value);
        case Round::kUp:
            return std::ceil(value);
        case Round::kNearestAway:
            return std::round(value);
    }
    return value;
}

// The value of `format` that `value` rounds to; past the largest it is infinite, or the largest
// when `finite` or when the direction asks for it.
inline double round_to(double value, const Format& format, Round round, bool finite) {
    if (value == 0 || std::isnan(value)) return value;
    const double limit = finite ? format.largest : std::numeric_limits<double>::infinity();
    if (std::isinf(value)) return std::copysign(limit, value);
    int exponent = 0;
    std::frexp(value, &exponent);
    const int quantum = std::max(exponent - 1, format.min_exponent) - format.mantissa;
    const double rounded = std::ldexp(round_integral(std::ldexp(value, -quantum), round), quantum);
    if (std::fabs(rounded) <= format.largest)
        return rounded == 0 ? std::copysign(0.0, value) : rounded;
    const bool stays = round == Round::kZero || (round == Round::kDown && value > 0) ||
                       (round == Round::kUp && value < 0);
    return std::copysign(stays ? format.largest : limit, value);
}

// Without branches, fit for loops that the compiler makes wide: the exponent's bits moved into an
// f32's place are a value that a power of two brings to its size, and infinities keep theirs.
inline float f16_value(uint16_t bits) {
    const uint32_t magnitude = (bits & 0x7fffu) << 13, sign = (bits & 0x8000u) << 16;
    const float value = std::bit_cast<float>(magnitude) * 0x1p112F;
    const uint32_t special = magnitude >= 0x0f800000u ? 0x7f800000u : 0;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | special | sign);
}

// From a value that the format holds.
inline uint16_t f16_bits(double value) {
    if (std::isnan(value)) return 0x7fff;
    const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
    const double magnitude = std::fabs(value);
    if (std::isinf(value)) return sign | 0x7c00;
    if (magnitude < 0x1p-14)
        return static_cast<uint16_t>(sign | static_cast<uint16_t>(magnitude * 0x1p24));
    const auto bits = std::bit_cast<uint64_t>(magnitude);
    return static_cast<uint16_t>(sign | (((bits >> 52) - 1023 + 15) << 10) | (bits >> 42 & 1023));
}

inline uint16_t to_f16(double value, Round round = Round::kNearestEven) {
    return f16_bits(round_to(value, kF16Format, round, false));
}

inline float bf16_value(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
inline uint16_t bf16_bits(double value) {
    if (std::isnan(value)) return 0x7fff;
    return static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(value)) >> 16);
}
inline uint16_t to_bf16(double value, Round round = Round::kNearestEven) {
    return bf16_bits(round_to(value, kBf16Format, round, false));
}

// The common case, fit for loops that the compiler makes wide.
inline uint16_t bf16_nearest(float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fff : rounded);
}

inline float e4m3_value(uint8_t bits) {
    const uint32_t magnitude = bits & 0x7fu, sign = (bits & 0x80u) << 24;
    const float value = std::bit_cast<float>(magnitude << 20) * 0x1p120F;
    return std::bit_cast<float>(magnitude == 0x7f ? 0x7fc00000u
                                                  : std::bit_cast<uint32_t>(value) | sign);
}
inline float e5m2_value(uint8_t bits) { return f16_value(static_cast<uint16_t>(bits << 8)); }

// Conversions to 8 bits saturate to the largest finite value; NaN stays.
inline uint8_t to_e4m3(double value) {
    if (std::isnan(value)) return 0x7f;
    const double rounded = round_to(value, kE4m3Format, Round::kNearestEven, true);
    const auto sign = static_cast<uint8_t>(std::signbit(rounded) ? 0x80 : 0);
    const double magnitude = std::fabs(rounded);
    if (magnitude < 0x1p-6)
        return static_cast<uint8_t>(sign | static_cast<uint8_t>(magnitude * 0x1p9));
    const auto bits = std::bit_cast<uint64_t>(magnitude);
    return static_cast<uint8_t>(sign | (((bits >> 52) - 1023 + 7) << 3) | (bits >> 49 & 7));
}
inline uint8_t to_e5m2(double value) {
    if (std::isnan(value)) return 0x7f;
    return static_cast<uint8_t>(f16_bits(round_to(value, kE5m2Format, Round::kNearestEven, true)) >>
                                8);
}

inline float flush(float value) {
    return std::fabs(value) < 0x1p-126f ? std::copysign(0.0f, value) : value;
}

}  // namespace fattn::vgpu
