// The arithmetic, selections, reductions and shuffles of every Vec vocabulary against the plain
// meaning of each name.
#include <cmath>
#include <functional>
#include <numeric>

#include "core/convert.h"
#include "cpu/simd/vec_test_support.h"

namespace fattn::cpu {
namespace {

INSTANTIATE_TEST_SUITE_P(Vec, VecTest, testing::ValuesIn(vec_targets()), vec_target_name);

constexpr std::size_t kCount = 4096;

TEST_P(VecTest, ArithmeticRoundsOnce) {
    const std::vector<float> a = random_floats(kCount, -20, 20, 1);
    const std::vector<float> b = random_floats(kCount, -20, 20, 2);
    const std::vector<float> sums = apply(VecOp::kAdd, a, b);
    const std::vector<float> differences = apply(VecOp::kSubtract, a, b);
    const std::vector<float> products = apply(VecOp::kMultiply, a, b);
    const std::vector<float> quotients = apply(VecOp::kDivide, a, b);
    for (std::size_t i = 0; i < kCount; ++i) {
        EXPECT_EQ(sums[i], a[i] + b[i]);
        EXPECT_EQ(differences[i], a[i] - b[i]);
        EXPECT_EQ(products[i], a[i] * b[i]);
        EXPECT_EQ(quotients[i], a[i] / b[i]);
    }
}

/// One rounding everywhere but in the scalar target of processors that cannot; there two.
TEST_P(VecTest, MultiplyAddRoundsOnceOrAsASumOfAProduct) {
    const std::vector<float> a = random_floats(kCount, -3, 3, 3);
    const std::vector<float> b = random_floats(kCount, -3, 3, 4);
    const std::vector<float> c = random_floats(kCount, -3, 3, 5);
    const std::vector<float> fused = apply(VecOp::kFma, a, b, c);
    const std::vector<float> step = apply(VecOp::kDotF32, a, b, c);
    bool unfused = false;
    for (std::size_t i = 0; i < kCount; ++i) {
        const volatile float product = a[i] * b[i];
        if (fused[i] != std::fma(a[i], b[i], c[i])) {
            unfused = true;
            EXPECT_EQ(fused[i], product + c[i]);
        }
        EXPECT_EQ(step[i], fused[i]);
    }
    EXPECT_FALSE(unfused && GetParam().target != Target::kScalar);
}

TEST_P(VecTest, MaxAndMinTakeTheSecondOperandWhenOneIsNaN) {
    EXPECT_EQ(apply_to(VecOp::kMax, 1, 2), 2);
    EXPECT_EQ(apply_to(VecOp::kMax, 2, -kInf), 2);
    EXPECT_EQ(apply_to(VecOp::kMin, 1, 2), 1);
    EXPECT_EQ(apply_to(VecOp::kMin, 1, -kInf), -kInf);
    for (const VecOp op : {VecOp::kMax, VecOp::kMin}) {
        EXPECT_EQ(apply_to(op, kNaN, 3), 3);
        EXPECT_EQ(apply_to(op, kNaN, -kInf), -kInf);
        EXPECT_TRUE(std::isnan(apply_to(op, 3, kNaN)));
    }
}

TEST_P(VecTest, SignsAreBits) {
    for (const float x : {0.0F, 1.5F, 3e38F, 1e-45F, kInf}) {
        for (const float sign : {-1.0F, 1.0F, -0.0F, 0.0F, -kInf}) {
            EXPECT_EQ(apply_to(VecOp::kAbs, std::copysign(x, sign)), x);
            EXPECT_FALSE(std::signbit(apply_to(VecOp::kAbs, std::copysign(x, sign))));
            const float result = apply_to(VecOp::kCopysign, -x, sign);
            EXPECT_EQ(std::abs(result), x);
            EXPECT_EQ(std::signbit(result), std::signbit(sign));
        }
    }
    EXPECT_TRUE(std::isnan(apply_to(VecOp::kAbs, -kNaN)));
}

TEST_P(VecTest, FractionIsWhatTheFloorLeaves) {
    std::vector<float> x = random_floats(kCount, -30, 6, 6);
    for (int i = -126 * 4; i <= 127 * 4; ++i) x.push_back(static_cast<float>(i) / 4);
    const std::vector<float> fraction = apply(VecOp::kFraction, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
        // The subtraction of a tiny negative number rounds up or down.
        const double exact = static_cast<double>(x[i]) - std::floor(static_cast<double>(x[i]));
        EXPECT_NEAR(fraction[i], exact, exact == 0 ? 0 : 0x1p-24) << x[i];
        EXPECT_LE(fraction[i], 1);
        EXPECT_GE(fraction[i], 0);
    }
    EXPECT_EQ(apply_to(VecOp::kFraction, -kInf), 0);
    EXPECT_TRUE(std::isnan(apply_to(VecOp::kFraction, kNaN)));
}

TEST_P(VecTest, LdexpIsExactWhereNormalAndZeroBelowDenormals) {
    for (const float x : {1.0F, 1.75F, 1.4142135F, -1.25F}) {
        for (float n = -200; n < 128; n += 0.25F) {
            const double exact =
                std::ldexp(static_cast<double>(x), static_cast<int>(std::floor(n)));
            const float result = apply_to(VecOp::kLdexpFloor, x, n);
            if (std::abs(exact) >= std::numeric_limits<float>::min()) {
                EXPECT_EQ(static_cast<double>(result), exact) << x << " * 2^" << n;
            } else if (n < -150) {
                EXPECT_EQ(result, 0.0F) << x << " * 2^" << n;
            } else if (result != 0.0F) {
                EXPECT_EQ(result, static_cast<float>(exact)) << x << " * 2^" << n;
            }
        }
    }
    EXPECT_EQ(apply_to(VecOp::kLdexpFloor, 0, 127), 0);
    EXPECT_EQ(apply_to(VecOp::kLdexpFloor, 1, -kInf), 0);
    EXPECT_TRUE(std::isnan(apply_to(VecOp::kLdexpFloor, kNaN, 0)));
    EXPECT_TRUE(std::isnan(apply_to(VecOp::kLdexpFloor, kNaN, -200)));
    EXPECT_TRUE(std::isnan(apply_to(VecOp::kLdexpFloor, -kNaN, kNaN)));
}

TEST_P(VecTest, SelectionsTreatNaNAsUnequalAndNotLess) {
    const float values[] = {-kInf, -1, -0.0F, 0, 1, kInf, kNaN};
    for (const float a : values) {
        for (const float b : values) {
            EXPECT_EQ(apply_to(VecOp::kSelectLess, a, b, 7, 8), a < b ? 7 : 8) << a << ' ' << b;
            EXPECT_EQ(apply_to(VecOp::kSelectEqual, a, b, 7, 8), a == b ? 7 : 8) << a << ' ' << b;
        }
    }
}

TEST_P(VecTest, OperationsKeepLanesApart) {
    const std::size_t n = static_cast<std::size_t>(width());
    for (std::size_t hot = 0; hot < n; ++hot) {
        std::vector<float> a(n, 1.0F), b(n, 2.0F);
        a[hot] = 3.0F;
        const std::vector<float> largest = apply(VecOp::kMax, a, b);
        const std::vector<float> chosen = apply(VecOp::kSelectLess, a, b, a, b);
        for (std::size_t i = 0; i < n; ++i) {
            EXPECT_EQ(largest[i], i == hot ? 3.0F : 2.0F);
            EXPECT_EQ(chosen[i], i == hot ? 2.0F : 1.0F);
        }
    }
}

TEST_P(VecTest, ReductionsSeeEveryLane) {
    const std::size_t n = static_cast<std::size_t>(width());
    std::vector<float> powers(4 * n);
    for (std::size_t i = 0; i < powers.size(); ++i) {
        powers[i] = std::ldexp(1.0F, static_cast<int>(i % n)) * (i / n % 2 == 0 ? 1.0F : -1.0F);
    }
    const float all = std::ldexp(1.0F, width()) - 1.0F;
    EXPECT_EQ(table().reduce_add(powers.data()), all);
    float sums[5] = {0, 0, 0, 0, 77};
    table().store_sums(sums, powers.data());
    EXPECT_EQ(sums[0], all);
    EXPECT_EQ(sums[1], -all);
    EXPECT_EQ(sums[2], all);
    EXPECT_EQ(sums[3], -all);
    EXPECT_EQ(sums[4], 77);
    for (std::size_t hot = 0; hot < 4 * n; ++hot) {
        std::vector<float> a(4 * n, -5.0F);
        a[hot] = -2.0F;
        float maxima[5] = {0, 0, 0, 0, 77};
        table().store_maxima(maxima, a.data());
        for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(maxima[i], hot / n == i ? -2.0F : -5.0F);
        EXPECT_EQ(maxima[4], 77);
    }
    for (std::size_t hot = 0; hot < n; ++hot) {
        std::vector<float> a(n, -5.0F);
        EXPECT_FALSE(table().any_nan(a.data()));
        a[hot] = -2.0F;
        EXPECT_EQ(table().reduce_max(a.data()), -2.0F);
        a[hot] = kInf;
        EXPECT_FALSE(table().any_nan(a.data()));
        a[hot] = kNaN;
        EXPECT_TRUE(table().any_nan(a.data()));
    }
}

TEST_P(VecTest, IotaBroadcastAndBlend) {
    const std::size_t n = static_cast<std::size_t>(width());
    std::vector<float> lanes(n), out(n), other(n, -1.0F);
    table().iota(lanes.data());
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(lanes[i], static_cast<float>(i));
    const float one[] = {42.5F, 1.0F};
    table().broadcast(one, out.data());
    EXPECT_EQ(out, std::vector<float>(n, 42.5F));
    for (std::size_t first = 0; first <= n; ++first) {
        table().blend_first(lanes.data(), other.data(), static_cast<int64>(first), out.data());
        for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(out[i], i < first ? lanes[i] : -1.0F);
    }
}

TEST_P(VecTest, TransposeSwapsRowsAndLanes) {
    const std::size_t n = static_cast<std::size_t>(width());
    std::vector<float> square(n * n);
    std::iota(square.begin(), square.end(), 1.0F);
    table().transpose(square.data());
    for (std::size_t r = 0; r < n; ++r) {
        for (std::size_t c = 0; c < n; ++c) {
            EXPECT_EQ(square[r * n + c], static_cast<float>(1 + c * n + r)) << r << ' ' << c;
        }
    }
}

TEST_P(VecTest, MaskBitsAndBytesChooseTheirLanes) {
    const std::size_t n = static_cast<std::size_t>(width());
    const std::vector<float> yes(n, 1.0F), no(n, -1.0F);
    std::vector<float> out(n);
    std::mt19937 generator(7);
    for (int round = 0; round < 200; ++round) {
        const uint32 bits = round == 0 ? 0xFFFFFFFFu : static_cast<uint32>(generator());
        table().select_bits(bits, yes.data(), no.data(), out.data());
        for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(out[i], (bits >> i & 1u) != 0 ? 1.0F : -1.0F);
        std::vector<uint8> bytes(n);
        for (std::size_t i = 0; i < n; ++i) {
            bytes[i] = (bits >> i & 1u) != 0 ? static_cast<uint8>(1u << (i % 8)) : uint8{0};
        }
        table().select_bytes(bytes.data(), width(), yes.data(), no.data(), out.data());
        for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(out[i], bytes[i] != 0 ? 1.0F : -1.0F);
    }
}

/// Products of bf16 pairs are exact in f32; the dot step may round after each addition.
TEST_P(VecTest, DotOfPairsAddsBothProducts) {
    if (!table().bf16_dot) GTEST_SKIP() << "this target multiplies f32 only";
    const std::size_t n = static_cast<std::size_t>(width());
    const std::vector<float> low = random_floats(2 * n, -3, 3, 8);
    const std::vector<float> high = random_floats(2 * n, -3, 3, 9);
    const std::vector<float> acc = random_floats(n, -3, 3, 10);
    const std::vector<float> words = apply(VecOp::kPairBf16, low, high);
    const std::vector<float> a(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(n));
    const std::vector<float> b(words.begin() + static_cast<std::ptrdiff_t>(n), words.end());
    const std::vector<float> out = apply(VecOp::kDotBf16, a, b, acc);
    for (std::size_t i = 0; i < n; ++i) {
        const auto rounded = [](float x) { return static_cast<double>(to_float(to_bf16(x))); };
        const double first = rounded(low[i]) * rounded(low[n + i]);
        const double second = rounded(high[i]) * rounded(high[n + i]);
        const double scale = std::abs(first) + std::abs(second) + std::abs(acc[i]);
        EXPECT_NEAR(out[i], acc[i] + first + second, 2 * scale * 0x1p-24);
    }
}

}  // namespace
}  // namespace fattn::cpu
