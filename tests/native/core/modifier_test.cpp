// Score modifiers against their formulas in double, the soft-cap's slope against finite
// differences, lanes against numbers.
#include "core/modifier.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/lanes.h"

namespace fattn {
namespace {

constexpr double kLog2EExact = 1.44269504088896340736;

/// Bound for a score of a few float operations whose result may be small beside its parts.
double bound(double magnitude) { return 4 * 5.97e-8 * magnitude + 1e-37; }

TEST(Scale, IsTheDotInBaseTwo) {
    const Scale scale = scale_of(0.125F);
    for (double dot = -300; dot <= 300; dot += 0.7) {
        const double exact = 0.125 * static_cast<double>(static_cast<float>(dot)) * kLog2EExact;
        EXPECT_NEAR(scale(static_cast<float>(dot)), exact, bound(std::abs(exact)));
    }
}

TEST(SoftCap, IsCapTimesTanhInBaseTwo) {
    for (const float cap : {0.5F, 30.0F, 1000.0F}) {
        const SoftCap softcap = softcap_of(0.25F, cap);
        for (double dot = -3000; dot <= 3000; dot += 3.1) {
            const double natural =
                cap * std::tanh(0.25 * static_cast<double>(static_cast<float>(dot)) / cap);
            const double exact = natural * kLog2EExact;
            EXPECT_NEAR(softcap(static_cast<float>(dot)), exact, bound(std::abs(exact)));
        }
    }
}

TEST(SoftCap, SlopeIsTheDerivativeOfTheCappedScore) {
    constexpr double kScale = 0.25, kCap = 30;
    const SoftCap softcap = softcap_of(0.25F, 30.0F);
    for (double dot = -500; dot <= 500; dot += 1.3) {
        const auto x = static_cast<float>(dot);
        const auto both = softcap.with_slope(x);
        EXPECT_EQ(both.score, softcap(x));
        // d(cap tanh(u / cap)) / du at u = scale * dot, by central differences.
        const double u = kScale * static_cast<double>(x);
        const double h = 1e-4;
        const double slope =
            (kCap * std::tanh((u + h) / kCap) - kCap * std::tanh((u - h) / kCap)) / (2 * h);
        EXPECT_NEAR(both.slope, slope, 1e-6) << "at " << dot;
    }
}

TEST(SoftCap, SlopeKeepsItsDigitsNextToTheCap) {
    const SoftCap softcap = softcap_of(0.25F, 2.0F);
    for (double x = -40; x <= 40; x += 0.37) {
        const auto dot = static_cast<float>(x * 2 / 0.25);
        const double exact = 1 / std::pow(std::cosh(static_cast<double>(dot) * 0.25 / 2), 2);
        // Few roundings, and that of the exponent, which counts |x| times.
        const double bound = (4 + 2 * std::abs(x)) * 0x1p-23;
        EXPECT_NEAR(softcap.with_slope(dot).slope, exact, bound * exact) << "at " << x;
    }
}

TEST(SoftCap, HugeDotsReachTheCapWithSlopeZero) {
    const SoftCap softcap = softcap_of(1.0F, 50.0F);
    for (const float dot : {1e4F, 1e30F, kInfinity}) {
        EXPECT_EQ(softcap.with_slope(dot).score, 50.0F * kLog2E);
        EXPECT_EQ(softcap.with_slope(dot).slope, 0.0F);
        EXPECT_EQ(softcap.with_slope(-dot).score, -50.0F * kLog2E);
    }
}

TEST(AddBias, AddsInBaseTwoAndKeepsMinusInfinity) {
    EXPECT_NEAR(AddBias{}(3.0F, 2.5F), 3.0 + 2.5 * kLog2EExact, 1e-6);
    EXPECT_EQ(AddBias{}(3.0F, -kInfinity), -kInfinity);
    EXPECT_EQ(AddBias{}(7.0F, 0.0F), 7.0F);
}

TEST(Alibi, FallsWithTheDistanceOnBothSides) {
    const Alibi alibi = alibi_of(0.0625F);
    for (int distance = -100; distance <= 100; ++distance) {
        const double exact = 5.0 - 0.0625 * std::abs(distance) * kLog2EExact;
        EXPECT_NEAR(alibi(5.0F, static_cast<float>(distance)), exact, bound(16));
    }
}

TEST(Modifier, LanesAreWhatNumbersAre) {
    const SoftCap softcap = softcap_of(0.3F, 20.0F);
    const test::Lanes dot(-70.0F, -0.5F, 3.0F, 1e5F);
    const test::Lanes other(1.5F, -2.0F, 0.0F, 100.0F);
    const test::Lanes scaled = scale_of(0.3F)(dot);
    const auto capped = softcap.with_slope(dot);
    const test::Lanes biased = AddBias{}(dot, other);
    const test::Lanes sloped = alibi_of(0.7F)(dot, other);
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(scaled.lane[i], scale_of(0.3F)(dot.lane[i]));
        EXPECT_EQ(softcap(dot).lane[i], softcap(dot.lane[i]));
        EXPECT_EQ(capped.score.lane[i], softcap.with_slope(dot.lane[i]).score);
        EXPECT_EQ(capped.slope.lane[i], softcap.with_slope(dot.lane[i]).slope);
        EXPECT_EQ(biased.lane[i], AddBias{}(dot.lane[i], other.lane[i]));
        EXPECT_EQ(sloped.lane[i], alibi_of(0.7F)(dot.lane[i], other.lane[i]));
    }
}

}  // namespace
}  // namespace fattn
