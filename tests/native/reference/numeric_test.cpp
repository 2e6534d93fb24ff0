// The reference's conversions of stored types, against their definitions.
#include "reference/numeric.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fattn::reference {
namespace {

TEST(Numeric, EverySixteenBitValueSurvivesLoadAndStore) {
    for (const DType dtype : {DType::kF16, DType::kBF16}) {
        for (uint32 bits = 0; bits <= 0xffff; ++bits) {
            const uint16 stored = static_cast<uint16>(bits);
            const double x = load(dtype, &stored, 0);
            if (std::isnan(x)) continue;
            EXPECT_EQ(round_to(dtype, x), x) << bits;
            uint16 again = 0;
            store(dtype, &again, 0, x);
            ASSERT_EQ(again, stored) << bits;
        }
    }
}

TEST(Numeric, RoundsToTheNearestOfTheTwoNeighboursAndTiesToEven) {
    for (const DType dtype : {DType::kF16, DType::kBF16}) {
        // Neighbours in value are neighbours in bits; stops before the infinity.
        for (uint16 bits = 0; bits < (dtype == DType::kF16 ? 0x7bff : 0x7f7f); ++bits) {
            const uint16 next_bits = static_cast<uint16>(bits + 1);
            const double low = load(dtype, &bits, 0);
            const double high = load(dtype, &next_bits, 0);
            const double middle = (low + high) / 2;
            const float below = std::nextafter(static_cast<float>(middle), 0.0F);
            const float above = std::nextafter(static_cast<float>(middle), HUGE_VALF);
            ASSERT_EQ(round_to(dtype, middle), bits % 2 == 0 ? low : high) << bits;
            ASSERT_EQ(round_to(dtype, below), static_cast<float>(low)) << bits;
            ASSERT_EQ(round_to(dtype, above), static_cast<float>(high)) << bits;
            ASSERT_EQ(round_to(dtype, -middle), -round_to(dtype, middle)) << bits;
        }
    }
}

TEST(Numeric, KnownValues) {
    uint16 bits = 0;
    store(DType::kF16, &bits, 0, 65504.0);
    EXPECT_EQ(bits, 0x7bff);
    store(DType::kF16, &bits, 0, 65520.0);
    EXPECT_EQ(bits, 0x7c00);
    store(DType::kF16, &bits, 0, 0x1p-24);
    EXPECT_EQ(bits, 0x0001);
    store(DType::kF16, &bits, 0, -1.0);
    EXPECT_EQ(bits, 0xbc00);
    store(DType::kBF16, &bits, 0, 1.0);
    EXPECT_EQ(bits, 0x3f80);
    store(DType::kBF16, &bits, 0, std::numeric_limits<double>::quiet_NaN());
    EXPECT_TRUE(std::isnan(load(DType::kBF16, &bits, 0)));
    EXPECT_EQ(unit_roundoff(DType::kF32), 0x1p-24);
    EXPECT_EQ(unit_roundoff(DType::kF16), 0x1p-11);
    EXPECT_EQ(unit_roundoff(DType::kBF16), 0x1p-8);
}

TEST(Numeric, BitsAreCountedFromTheLeastSignificant) {
    uint8 bytes[2] = {0, 0};
    store(DType::kBit, bytes, 3, 1);
    store(DType::kBit, bytes, 9, 1);
    EXPECT_EQ(bytes[0], 8);
    EXPECT_EQ(bytes[1], 2);
    EXPECT_EQ(load(DType::kBit, bytes, 3), 1);
    EXPECT_EQ(load(DType::kBit, bytes, 4), 0);
    store(DType::kBit, bytes, 3, 0);
    EXPECT_EQ(bytes[0], 0);
}

}  // namespace
}  // namespace fattn::reference
