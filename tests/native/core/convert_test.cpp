// The 16-bit conversions: every 16-bit value, and every decision between two neighbours, against
// exact arithmetic in double.
#include "core/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>

namespace fattn {
namespace {

constexpr uint32 kAllHalves = 0x10000;

/// Value of a 16-bit pattern with the given width of the fraction, from the definition of the
/// format.
double value_of(uint32 bits, int fraction_bits) {
    const int exponent_bits = 15 - fraction_bits;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    const auto fraction = static_cast<double>(bits & ((1u << fraction_bits) - 1));
    const double sign = (bits & 0x8000u) != 0 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1) return fraction == 0 ? sign * INFINITY : NAN;
    if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
    return sign * std::ldexp(1.0 + std::ldexp(fraction, -fraction_bits), exponent - bias);
}

double f16_value(uint32 bits) { return value_of(bits, 10); }
double bf16_value(uint32 bits) { return value_of(bits, 7); }
f16 f16_of(uint32 bits) { return {static_cast<uint16>(bits)}; }
bf16 bf16_of(uint32 bits) { return {static_cast<uint16>(bits)}; }

TEST(Convert, EveryF16HasItsValue) {
    for (uint32 bits = 0; bits < kAllHalves; ++bits) {
        const double exact = f16_value(bits);
        const float x = to_float(f16_of(bits));
        if (std::isnan(exact)) {
            ASSERT_TRUE(std::isnan(x)) << bits;
        } else {
            ASSERT_EQ(static_cast<double>(x), exact) << bits;
            ASSERT_EQ(std::signbit(x), (bits & 0x8000u) != 0) << bits;
        }
    }
}

TEST(Convert, EveryBf16HasItsValue) {
    for (uint32 bits = 0; bits < kAllHalves; ++bits) {
        const double exact = bf16_value(bits);
        const float x = to_float(bf16_of(bits));
        if (std::isnan(exact)) {
            ASSERT_TRUE(std::isnan(x)) << bits;
        } else {
            ASSERT_EQ(static_cast<double>(x), exact) << bits;
            ASSERT_EQ(std::signbit(x), (bits & 0x8000u) != 0) << bits;
        }
    }
}

TEST(Convert, EveryValueComesBack) {
    for (uint32 bits = 0; bits < kAllHalves; ++bits) {
        if (!std::isnan(f16_value(bits))) {
            ASSERT_EQ(to_f16(to_float(f16_of(bits))).bits, bits);
        }
        if (!std::isnan(bf16_value(bits))) {
            ASSERT_EQ(to_bf16(to_float(bf16_of(bits))).bits, bits);
        }
    }
}

/// Checks the floats around every neighbour pair [lower, lower + 1] of a positive half line: the
/// ends, the middle, and one float to either side of each. `infinity` is the first pattern that is
/// not finite.
template <class To, class Value>
void check_decisions(uint32 infinity, const To& to, const Value& value) {
    for (uint32 lower = 0; lower < infinity; ++lower) {
        const double low = value(lower);
        // Past the largest finite value the format would go on as if its exponent did.
        const double high = lower + 1 < infinity ? value(lower + 1) : 2 * low - value(lower - 1);
        const double middle = (low + high) / 2;
        for (const double at : {low, middle, high}) {
            const auto centre = static_cast<float>(at);
            ASSERT_TRUE(static_cast<double>(centre) == at || at > 3.4e38);
            for (const float x :
                 {std::nextafter(centre, 0.0F), centre, std::nextafter(centre, INFINITY)}) {
                const auto exact = static_cast<double>(x);
                if (exact < low || exact > high || (exact == 0 && lower > 0)) continue;
                const bool tie = exact == middle;
                const bool up = tie ? lower % 2 == 1 : exact > middle;
                const uint32 expected = up ? lower + 1 : lower;
                ASSERT_EQ(to(x), expected) << x;
                ASSERT_EQ(to(-x), expected | 0x8000u) << -x;
            }
        }
    }
}

TEST(Convert, ToF16RoundsToNearestEven) {
    check_decisions(
        0x7C00u, [](float x) { return uint32{to_f16(x).bits}; }, f16_value);
}

TEST(Convert, ToBf16RoundsToNearestEven) {
    check_decisions(
        0x7F80u, [](float x) { return uint32{to_bf16(x).bits}; }, bf16_value);
}

TEST(Convert, BeyondTheRangeIsInfinityAndNaNStaysNaN) {
    EXPECT_EQ(to_f16(65519.996F).bits, 0x7BFF);
    EXPECT_EQ(to_f16(65520.0F).bits, 0x7C00);
    EXPECT_EQ(to_f16(3e38F).bits, 0x7C00);
    EXPECT_EQ(to_f16(-kInfinity).bits, 0xFC00);
    EXPECT_EQ(to_bf16(3.4028235e38F).bits, 0x7F80);
    EXPECT_EQ(to_bf16(-kInfinity).bits, 0xFF80);
    for (uint32 payload = 1; payload < 0x800000u; payload += 127) {
        for (const uint32 sign : {0u, 0x80000000u}) {
            const float nan = float_of_bits(sign | 0x7F800000u | payload);
            const uint32 half = to_f16(nan).bits;
            const uint32 brain = to_bf16(nan).bits;
            ASSERT_EQ(half & 0xFE00u, sign >> 16 | 0x7E00u);
            ASSERT_EQ(brain & 0xFFC0u, sign >> 16 | 0x7FC0u);
        }
    }
}

#if defined(__FLT16_MANT_DIG__)
#if defined(__aarch64__)
using CompilerF16 = __fp16;  // GCC knows _Float16 there from version 13 on
#else
using CompilerF16 = _Float16;
#endif

TEST(Convert, ToF16AgreesWithTheCompilerOverASweep) {
    const char* mode = std::getenv("FATTN_TEST_MODE");
    const uint32 step = mode != nullptr && std::string(mode) == "full" ? 101 : 1021;
    for (uint64 bits = 0; bits <= 0xFFFFFFFFu; bits += step) {
        const float x = float_of_bits(static_cast<uint32>(bits));
        if (std::isnan(x)) continue;
        const auto expected = __builtin_bit_cast(uint16, static_cast<CompilerF16>(x));
        ASSERT_EQ(to_f16(x).bits, expected) << x;
    }
}
#endif

}  // namespace
}  // namespace fattn
