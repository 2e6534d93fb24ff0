// The elementary functions of the row passes on every target: the error bounds that generic/math.h
// and core/numeric.h state, over sweeps of all floats, and their special values.
#include <cmath>
#include <cstdlib>

#include "core/float_ops.h"
#include "cpu/simd/vec_test_support.h"

namespace fattn::cpu {
namespace {

class VecMathTest : public VecTest {
  protected:
    struct Worst {
        double error = 0;
        float at = 0;
    };

    /// Worst error over the floats of [low, high], in units of the last place of the exact result;
    /// below the normal numbers in units of the smallest denormal. slack(x) is forgiven.
    template <class F, class G>
    Worst worst_over(VecOp op, float low, float high, const F& exact, const G& slack) const {
        std::vector<float> x;
        for (uint64 bits = 0; bits <= 0xFFFFFFFFu; bits += sweep_step()) {
            const float value = float_of_bits(static_cast<uint32>(bits));
            if (value >= low && value <= high) x.push_back(value);
        }
        EXPECT_GT(x.size(), 10000u);
        const std::vector<float> y = apply(op, x);
        Worst worst;
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double wanted = exact(static_cast<double>(x[i]));
            const int exponent = std::max(std::ilogb(wanted), -126);
            const double error =
                std::abs(static_cast<double>(y[i]) - wanted) / std::ldexp(1.0, exponent - 23);
            if (!(error - slack(x[i]) <= worst.error)) worst = {error - slack(x[i]), x[i]};
        }
        return worst;
    }

    /// Whether the target's multiply-add rounds once.
    bool fused() const {
        return apply_to(VecOp::kFma, 0x1.000002P0F, 0x1.000002P0F, -0x1.000004P0F) != 0;
    }

    static uint32 sweep_step() {
        const char* mode = std::getenv("FATTN_TEST_MODE");
        return mode != nullptr && std::string(mode) == "full" ? 61 : 4099;
    }
};

INSTANTIATE_TEST_SUITE_P(Vec, VecMathTest, testing::ValuesIn(vec_targets()), vec_target_name);

float no_slack(float) { return 0; }
double exact_exp2(double x) { return std::exp2(x); }
double exact_tanh(double x) { return std::tanh(x); }
double exact_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST_P(VecMathTest, Exp2IsWithinItsBound) {
    const Worst worst = worst_over(VecOp::kExp2, -126, 127, exact_exp2, no_slack);
    EXPECT_LE(worst.error, fused() ? 3 : 4) << "at " << worst.at;
    RecordProperty("worst_ulp", std::to_string(worst.error));
}

TEST_P(VecMathTest, Exp2IsExactAtIntegers) {
    std::vector<float> x;
    for (int n = -125; n <= 127; ++n) x.push_back(static_cast<float>(n));
    const std::vector<float> y = apply(VecOp::kExp2, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
        EXPECT_EQ(y[i], std::ldexp(1.0F, static_cast<int>(x[i])));
    }
}

TEST_P(VecMathTest, Exp2BelowTheNormalsIsRightOrZeroAndThenZero) {
    std::vector<float> x;
    for (int i = 0; i <= 200000; ++i) x.push_back(-126.0F - static_cast<float>(i) / 4096);
    const std::vector<float> y = apply(VecOp::kExp2, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double exact = std::exp2(static_cast<double>(x[i]));
        if (x[i] <= -150 || y[i] == 0) {
            EXPECT_EQ(y[i], 0) << x[i];
        } else {
            EXPECT_NEAR(y[i], exact, 0x1p-148) << x[i];
        }
    }
    for (const float hidden : {-150.0F, -200.0F, -1e4F, -3e38F, -kInf}) {
        EXPECT_EQ(apply_to(VecOp::kExp2, hidden), 0) << hidden;
        EXPECT_FALSE(std::signbit(apply_to(VecOp::kExp2, hidden)));
    }
}

TEST_P(VecMathTest, NaNStaysNaN) {
    for (const VecOp op : {VecOp::kExp2, VecOp::kTanh, VecOp::kSigmoid}) {
        EXPECT_TRUE(std::isnan(apply_to(op, kNaN)));
        EXPECT_TRUE(std::isnan(apply_to(op, -kNaN)));
    }
}

TEST_P(VecMathTest, TanhIsWithinItsBound) {
    const Worst worst = worst_over(VecOp::kTanh, -20, 20, exact_tanh, no_slack);
    EXPECT_LE(worst.error, 3) << "at " << worst.at;
    RecordProperty("worst_ulp", std::to_string(worst.error));
    for (const float sign : {1.0F, -1.0F}) {
        EXPECT_EQ(apply_to(VecOp::kTanh, sign * kInf), sign);
        EXPECT_EQ(apply_to(VecOp::kTanh, sign * 30), sign);
        EXPECT_EQ(apply_to(VecOp::kTanh, sign * 1e-30F), sign * 1e-30F);
        EXPECT_EQ(apply_to(VecOp::kTanh, sign * 0.0F), 0);
    }
}

TEST_P(VecMathTest, SigmoidIsWithinItsBound) {
    const bool once = fused();
    const auto slack = [once](float x) { return once ? 0 : std::max(0.0F, -x); };
    const Worst worst = worst_over(VecOp::kSigmoid, -87, 100, exact_sigmoid, slack);
    EXPECT_LE(worst.error, 3) << "at " << worst.at;
    RecordProperty("worst_ulp", std::to_string(worst.error));
    EXPECT_EQ(apply_to(VecOp::kSigmoid, 0), 0.5F);
    EXPECT_EQ(apply_to(VecOp::kSigmoid, kInf), 1);
    // A hidden score weighs nothing at all.
    EXPECT_EQ(apply_to(VecOp::kSigmoid, -kInf), 0);
    EXPECT_EQ(apply_to(VecOp::kSigmoid, -88), 0);
}

}  // namespace
}  // namespace fattn::cpu
