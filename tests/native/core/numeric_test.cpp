// The elementary functions against the C library in double precision over sweeps of all floats,
// their special values, and lanes against numbers.
#include "core/numeric.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "support/lanes.h"

namespace fattn {
namespace {

const float kNaN = float_of_bits(0x7FC00000u);

/// Distance in units of the last place of a float near `exact`; denormals have the spacing 2^-149.
double ulps(float result, double exact) {
    const int exponent = exact == 0 ? -126 : std::max(std::ilogb(exact), -126);
    return std::abs(static_cast<double>(result) - exact) / std::ldexp(1.0, exponent - 23);
}

/// Steps of a sweep over bit patterns; all steps are odd, so that no bit of the fraction stays
/// constant.
uint32 sweep_step() {
    const char* mode = std::getenv("FATTN_TEST_MODE");
    return mode != nullptr && std::string(mode) == "full" ? 7 : 2039;
}

struct Worst {
    double error = 0;
    float at = 0;
};

/// Worst error of f against exact over the floats of [low, high].
template <class F, class G>
Worst worst_over(float low, float high, const F& f, const G& exact) {
    Worst worst;
    for (uint64 bits = 0; bits <= 0xFFFFFFFFu; bits += sweep_step()) {
        const float x = float_of_bits(static_cast<uint32>(bits));
        if (!(x >= low && x <= high)) continue;
        const double error = ulps(f(x), exact(static_cast<double>(x)));
        if (!(error <= worst.error)) worst = {error, x};
    }
    return worst;
}

TEST(Numeric, Exp2IsWithinOneUlp) {
    const Worst worst = worst_over(
        -149.0F, 127.99F, [](float x) { return exp2(x); }, [](double x) { return std::exp2(x); });
    EXPECT_LE(worst.error, 1.0) << "at " << worst.at;
    RecordProperty("worst_ulp", std::to_string(worst.error));
}

TEST(Numeric, Log2IsWithinThreeUlp) {
    const Worst worst = worst_over(
        1e-45F, 3.4e38F, [](float x) { return log2(x); }, [](double x) { return std::log2(x); });
    EXPECT_LE(worst.error, 3.0) << "at " << worst.at;
    RecordProperty("worst_ulp", std::to_string(worst.error));
}

TEST(Numeric, TanhIsWithinTwoUlp) {
    const Worst worst = worst_over(
        -kInfinity, kInfinity, [](float x) { return tanh(x); },
        [](double x) { return std::tanh(x); });
    EXPECT_LE(worst.error, 2.0) << "at " << worst.at;
    RecordProperty("worst_ulp", std::to_string(worst.error));
}

TEST(Numeric, SigmoidIsWithinThreeUlp) {
    const Worst worst = worst_over(
        -87.0F, kInfinity, [](float x) { return sigmoid(x); },
        [](double x) { return 1.0 / (1.0 + std::exp(-x)); });
    EXPECT_LE(worst.error, 3.0) << "at " << worst.at;
    RecordProperty("worst_ulp", std::to_string(worst.error));
}

TEST(Numeric, Exp2OfIntegersIsExact) {
    for (int n = -149; n <= 127; ++n) {
        EXPECT_EQ(exp2(static_cast<float>(n)), std::ldexp(1.0F, n)) << n;
    }
}

TEST(Numeric, SpecialValuesAreExact) {
    EXPECT_EQ(exp2(-kInfinity), 0.0F);
    EXPECT_EQ(exp2(-160.0F), 0.0F);
    EXPECT_EQ(exp2(-3e38F), 0.0F);
    EXPECT_EQ(exp2(0.0F), 1.0F);
    EXPECT_EQ(exp2(128.0F), kInfinity);
    EXPECT_EQ(exp2(kInfinity), kInfinity);
    EXPECT_TRUE(std::isnan(exp2(kNaN)));

    EXPECT_EQ(log2(0.0F), -kInfinity);
    EXPECT_EQ(log2(-0.0F), -kInfinity);
    EXPECT_EQ(log2(1.0F), 0.0F);
    EXPECT_EQ(log2(8.0F), 3.0F);
    EXPECT_EQ(log2(kInfinity), kInfinity);
    EXPECT_TRUE(std::isnan(log2(-1.0F)));
    EXPECT_TRUE(std::isnan(log2(-kInfinity)));
    EXPECT_TRUE(std::isnan(log2(kNaN)));

    EXPECT_EQ(tanh(kInfinity), 1.0F);
    EXPECT_EQ(tanh(-kInfinity), -1.0F);
    EXPECT_EQ(bits_of_float(tanh(-0.0F)), bits_of_float(-0.0F));
    EXPECT_TRUE(std::isnan(tanh(kNaN)));

    EXPECT_EQ(sigmoid(0.0F), 0.5F);
    EXPECT_EQ(sigmoid(-kInfinity), 0.0F);
    EXPECT_EQ(sigmoid(-100.0F), 0.0F);
    EXPECT_EQ(sigmoid(kInfinity), 1.0F);
    EXPECT_TRUE(std::isnan(sigmoid(kNaN)));
}

TEST(Numeric, TanhIsOdd) {
    for (uint32 bits = 0; bits < 0x7F800000u; bits += 65521) {
        const float x = float_of_bits(bits);
        ASSERT_EQ(tanh(-x), -tanh(x)) << x;
    }
}

TEST(Numeric, LanesAreWhatNumbersAre) {
    for (uint64 bits = 0; bits <= 0xFFFFFFFFu; bits += 1000003) {
        float x[4];
        for (uint32 i = 0; i < 4; ++i) {
            x[i] = float_of_bits(static_cast<uint32>(bits) + i * 0x20000001u);
        }
        const test::Lanes v(x[0], x[1], x[2], x[3]);
        const test::Lanes results[] = {exp2(v), log2(v), tanh(v), sigmoid(v)};
        for (int i = 0; i < 4; ++i) {
            const float expected[] = {exp2(x[i]), log2(x[i]), tanh(x[i]), sigmoid(x[i])};
            for (int f = 0; f < 4; ++f) {
                const bool both_nan = std::isnan(expected[f]) && std::isnan(results[f].lane[i]);
                ASSERT_TRUE(both_nan || expected[f] == results[f].lane[i]) << f << " of " << x[i];
            }
        }
    }
}

TEST(FloatOps, MaxAndMinKeepTheSecondOperandBesideNaN) {
    EXPECT_EQ(max(kNaN, 1.0F), 1.0F);
    EXPECT_TRUE(std::isnan(max(1.0F, kNaN)));
    EXPECT_EQ(min(kNaN, 1.0F), 1.0F);
    EXPECT_TRUE(std::isnan(min(1.0F, kNaN)));
    EXPECT_EQ(max(-1.0F, 2.0F), 2.0F);
    EXPECT_EQ(min(-1.0F, 2.0F), -1.0F);
}

TEST(FloatOps, RoundIsToNearestEven) {
    for (float x = -4096.0F; x <= 4096.0F; x += 0.125F) EXPECT_EQ(round(x), std::nearbyint(x)) << x;
    EXPECT_TRUE(std::isnan(round(kNaN)));
}

TEST(FloatOps, LdexpRoundsOnce) {
    for (const float x : {1.0F, 1.5F, 1.0000001F, 0.70710678F, 1.9999999F}) {
        for (int n = -200; n <= 200; ++n) {
            EXPECT_EQ(ldexp(x, static_cast<float>(n)), std::ldexp(x, n)) << x << " 2^" << n;
        }
    }
}

TEST(FloatOps, LogbIsTheExponent) {
    for (int n = -126; n <= 127; ++n) {
        EXPECT_EQ(logb(std::ldexp(1.0F, n)), static_cast<float>(n));
        EXPECT_EQ(logb(std::ldexp(1.9999999F, n)), static_cast<float>(n));
    }
}

}  // namespace
}  // namespace fattn
