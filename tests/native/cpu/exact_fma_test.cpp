// The fused multiply-add made of doubles: that of the C library, bit by bit, and values that two
// roundings get wrong.
#include "cpu/exact_fma.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/float_ops.h"

namespace fattn::cpu {
namespace {

uint32 random_bits(std::mt19937& random) { return static_cast<uint32>(random()); }

void expect_fused(float a, float b, float c) {
    const float expected = std::fma(a, b, c);
    const float found = exact_fma(a, b, c);
    const bool same =
        std::isnan(expected) ? std::isnan(found) : bits_of_float(found) == bits_of_float(expected);
    ASSERT_TRUE(same) << a << " * " << b << " + " << c << " is " << expected << ", found " << found;
}

TEST(ExactFma, AnyBits) {
    std::mt19937 random(1);
    for (int n = 0; n < 1'000'000; ++n) {
        expect_fused(float_of_bits(random_bits(random)), float_of_bits(random_bits(random)),
                     float_of_bits(random_bits(random)));
    }
}

TEST(ExactFma, SumsNearTies) {
    // Products whose last bits fall where the addend's rounding ends, of either sign, subnormal
    // results included.
    std::mt19937 random(2);
    for (int n = 0; n < 1'000'000; ++n) {
        const float a = float_of_bits(
            0x3F800000U | (random_bits(random) & 0x7FFFFFU & (0U - (random_bits(random) & 0xFFU))));
        const float b = float_of_bits(0x3F800000U | (random_bits(random) & 0x7FFFFFU));
        const int exponent = static_cast<int>(random_bits(random) % 300U) - 160;
        const int apart = static_cast<int>(random_bits(random) % 80U) - 40;
        const float c =
            std::ldexp(float_of_bits(0x3F800000U | (random_bits(random) & 0x7U)), exponent + apart);
        const float sign = (random_bits(random) & 1U) != 0 ? 1.0F : -1.0F;
        expect_fused(a * sign, std::ldexp(b, exponent), c);
        // Almost nothing is left of the product.
        expect_fused(a * sign, b, -a * sign * b);
    }
}

TEST(ExactFma, EndsOfTheRange) {
    const float infinity = INFINITY;
    const float values[] = {0.0F,       -0.0F,    1.0F,      -1.0F,         0x1p-149F,
                            -0x1p-149F, 0x1p-75F, 0x1p-74F,  0x1p-126F,     0x1p-24F,
                            0x1p63F,    0x1p64F,  0x1p127F,  0x1.fffffep0F, 3.4e38F,
                            -3.4e38F,   infinity, -infinity, NAN,           0x1.fffffep127F};
    for (const float a : values) {
        for (const float b : values) {
            for (const float c : values) expect_fused(a, b, c);
        }
    }
}

TEST(ExactFma, OneRoundingWhereTwoDiffer) {
    // Just below the middle of two floats by 2^-70, which a double does not see.
    const float up = 1.0F + 0x1p-23F;
    const float down = (1.0F - 0x1p-23F) * 0x1p-24F;
    EXPECT_EQ(exact_fma(up, down, up), up);
    EXPECT_EQ(exact_fma(-up, down, -up), -up);
    EXPECT_EQ(static_cast<float>(static_cast<double>(up) * static_cast<double>(down) +
                                 static_cast<double>(up)),
              1.0F + 0x1p-22F);
    EXPECT_EQ(exact_fma(0x1.8p-75F, 0x1.8p-75F, 0x1p-149F), 0x1p-148F);
}

}  // namespace
}  // namespace fattn::cpu
