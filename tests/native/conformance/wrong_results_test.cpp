// Results that are wrong on purpose: the thorough truths, which have the last word on what is
// wrong, still find them so.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "support/lightning_truth.h"
#include "support/neighborhood_truth.h"
#include "support/permuted_block_truth.h"
#include "support/random_neighborhood.h"
#include "support/s2_case.h"

namespace fattn::test {
namespace {

/// The value farthest from zero, moved by an amount.
void move_largest(Tensor& tensor, double amount) {
    const std::vector<double> values = tensor.values();
    const TensorLayout& layout = tensor.layout();
    std::size_t largest = 0;
    for (std::size_t n = 0; n < values.size(); ++n)
        if (std::abs(values[n]) > std::abs(values[largest])) largest = n;
    int64 rest = static_cast<int64>(largest);
    int64 at[4];
    for (int n = 3; n >= 0; --n) {
        at[n] = rest % layout.shape[n];
        rest /= layout.shape[n];
    }
    tensor.set(at[0], at[1], at[2], at[3], values[largest] + amount);
}

/// A row of one head of the first batch entry, set to 0.
void clear_row(Tensor& tensor, int64 head, int64 token) {
    for (int64 d = 0; d < tensor.layout().shape[3]; ++d) tensor.set(0, head, token, d, 0);
}

/// Runs a case after spoil() changed its inputs, which are as they were afterwards.
template <class Case>
void run_spoilt(fattn_plan* plan, Case& c, Tensor Case::*input,
                const std::function<void(Tensor&)>& spoil, bool backward) {
    const Tensor whole = c.*input;
    spoil(c.*input);
    ASSERT_TRUE(run_forward(plan, c));
    if (backward) {
        ASSERT_TRUE(run_backward(plan, c));
    }
    c.*input = whole;
}

/// Problems of few results, which the rule for many says little about.
LightningSpec few_results(DType dtype) {
    LightningSpec spec;
    spec.dtype = dtype;
    spec.batch = 2;
    spec.num_q_heads = spec.num_kv_heads = 3;
    spec.len = 289;
    spec.head_dim = spec.head_dim_v = 2;
    spec.slopes = {0.0F, 0.01F, 0.02F};
    spec.initial_state = true;
    spec.backward = true;
    return spec;
}

class WrongLightning : public testing::TestWithParam<DType> {
  protected:
    void SetUp() override {
        device_ = &cpu_devices().back();
        plan_ = make_plan(*device_, c_);
        ASSERT_NE(plan_, nullptr);
    }
    void run() {
        ASSERT_TRUE(run_forward(plan_.get(), c_));
        ASSERT_TRUE(run_backward(plan_.get(), c_));
    }

    LightningCase c_{few_results(GetParam())};
    const LightningTruth truth_ = lightning_truth(c_, Effort::kThorough);
    const CpuDevice* device_ = nullptr;
    PlanHandle plan_;
};

TEST_P(WrongLightning, RightResultsAreRight) {
    run();
    EXPECT_TRUE(is_near(truth_, c_));
    EXPECT_TRUE(keeps_the_rule(plan_.get(), truth_, c_));
}

TEST_P(WrongLightning, OneResultOfFewIsOffByThreeBounds) {
    run();
    const double share = linear_tolerance(GetParam(), DType::kF32);
    const LinearSize& size = truth_.sizes.d_initial_state;
    // One error of n counts as its n-th part of the mean square.
    const double n = static_cast<double>(c_.d_initial_state.values().size());
    const double bound =
        share * excess_of_few(size.num_equal()) * size.root_mean_square() * std::sqrt(n);
    move_largest(c_.d_initial_state, 3 * bound);
    EXPECT_TRUE(forward_is_near(truth_, c_));
    EXPECT_FALSE(backward_is_near(truth_, c_));
}

TEST_P(WrongLightning, AKeyIsDropped) {
    run_spoilt<LightningCase>(
        plan_.get(), c_, &LightningCase::k, [](Tensor& k) { clear_row(k, 0, 100); }, true);
    EXPECT_FALSE(forward_is_near(truth_, c_));
    EXPECT_FALSE(backward_is_near(truth_, c_));
}

TEST_P(WrongLightning, ASlopeIsATenthTooLarge) {
    run_spoilt<LightningCase>(
        plan_.get(), c_, &LightningCase::slopes,
        [](Tensor& slopes) { slopes.set(0, 0, 0, 2, 0.022); }, true);
    EXPECT_FALSE(forward_is_near(truth_, c_));
    EXPECT_FALSE(backward_is_near(truth_, c_));
}

/// What is wrong by too little for a few results is so over many.
TEST_P(WrongLightning, EveryResultIsALittleTooLarge) {
    run();
    const double share = linear_tolerance(GetParam(), DType::kF32);
    LightningTruth truth = lightning_truth(c_, Effort::kThorough);
    const auto stretch = [&](std::vector<double>& values) {
        for (double& x : values) x *= 1 + 1.5 * share;
    };
    stretch(truth.gradients.d_initial_state);
    for (LightningReplica& replica : truth.replicas) stretch(replica.gradients.d_initial_state);
    EXPECT_FALSE(keeps_the_rule(plan_.get(), truth, c_));
}

INSTANTIATE_TEST_SUITE_P(DTypes, WrongLightning, testing::Values(DType::kF32, DType::kBF16));

/// Windows of one key, where a plain evaluation is often exact; windows of nine.
NeighborhoodSpec narrow_windows(int32 window, double magnitude) {
    NeighborhoodSpec spec;
    spec.dtype = DType::kBF16;
    spec.f32_output = true;
    spec.num_q_heads = spec.num_kv_heads = 2;
    spec.axes = {{40, 1, window, 1, false}};
    spec.head_dim = spec.head_dim_v = 16;
    spec.magnitude = magnitude;
    spec.backward = true;
    return spec;
}

class WrongNeighborhood : public testing::TestWithParam<std::pair<int, double>> {
  protected:
    void SetUp() override {
        plan_ = make_plan(cpu_devices().back(), c_);
        ASSERT_NE(plan_, nullptr);
        ASSERT_TRUE(run_forward(plan_.get(), c_));
        ASSERT_TRUE(run_backward(plan_.get(), c_));
    }
    double allowed(Quantity quantity, const PlainError& plain) const {
        return tolerance(quantity, DType::kBF16, DType::kF32, plain);
    }

    /// Takes long, and is the same for every test of a window.
    static const NeighborhoodTruth& truth_of(const ParamType& window, const NeighborhoodCase& c) {
        static std::map<ParamType, NeighborhoodTruth> known;
        const auto found = known.find(window);
        if (found != known.end()) return found->second;
        return known.emplace(window, neighborhood_truth(c, Effort::kThorough)).first->second;
    }

    NeighborhoodCase c_{narrow_windows(GetParam().first, GetParam().second)};
    const NeighborhoodTruth& truth_ = truth_of(GetParam(), c_);
    PlanHandle plan_;
};

TEST_P(WrongNeighborhood, RightResultsAreRight) { EXPECT_TRUE(is_near(truth_, c_)); }

TEST_P(WrongNeighborhood, BoundsAreNoLooserThanTheTypes) {
    const double largest = truth_.o.largest_result();
    EXPECT_LT(allowed(Quantity::kOutput, truth_.o), 4 * largest / 256);
    EXPECT_LT(allowed(Quantity::kGradient, truth_.d_v), 4 * truth_.d_v.largest_result() / 256);
}

TEST_P(WrongNeighborhood, OneResultIsOffByThreeBounds) {
    const Tensor right = c_.o;
    move_largest(c_.o, 3 * allowed(Quantity::kOutput, truth_.o));
    EXPECT_FALSE(forward_is_near(truth_, c_));
    c_.o = right;
    move_largest(c_.d_v, 3 * allowed(Quantity::kGradient, truth_.d_v));
    EXPECT_FALSE(backward_is_near(truth_, c_));
}

TEST_P(WrongNeighborhood, AValueIsDropped) {
    run_spoilt<NeighborhoodCase>(
        plan_.get(), c_, &NeighborhoodCase::v, [](Tensor& v) { clear_row(v, 1, 20); }, true);
    EXPECT_FALSE(forward_is_near(truth_, c_));
}

TEST_P(WrongNeighborhood, AWindowIsMovedByOneKey) {
    Tensor& v = c_.v;
    Tensor moved = v;
    for (int64 j = 0; j < 40; ++j)
        for (int64 d = 0; d < 16; ++d) moved.set(0, 0, j, d, v.at(0, 0, (j + 1) % 40, d));
    run_spoilt<NeighborhoodCase>(
        plan_.get(), c_, &NeighborhoodCase::v, [&](Tensor& tensor) { tensor = moved; }, true);
    EXPECT_FALSE(forward_is_near(truth_, c_));
}

INSTANTIATE_TEST_SUITE_P(Windows, WrongNeighborhood,
                         testing::Values(std::pair(1, 1.0), std::pair(1, 100.0), std::pair(9, 1.0),
                                         std::pair(9, 100.0)));

TEST(WrongPermutedBlock, AKeptBlockIsDropped) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        PermutedBlockSpec spec;
        spec.dtype = dtype;
        spec.num_q_heads = 2;
        spec.q_len = spec.kv_len = 130;
        spec.head_dim = spec.head_dim_v = 16;
        spec.block = 8;
        spec.segment = 16;
        spec.backward = true;
        PermutedBlockCase c(spec);
        c.draw_selection(0.5);
        const PermutedBlockTruth truth = permuted_block_truth(c, Effort::kThorough);
        const PlanHandle plan = make_plan(cpu_devices().back(), c);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_forward(plan.get(), c));
        ASSERT_TRUE(run_backward(plan.get(), c));
        EXPECT_TRUE(is_near(truth, c));
        const Tensor right = c.d_k;
        move_largest(c.d_k, 3 * tolerance(Quantity::kGradient, dtype, dtype, truth.d_k));
        EXPECT_FALSE(is_near(truth, c));
        c.d_k = right;
        // The last row of blocks sees all that it keeps.
        for (std::size_t n = c.block_mask.size(); n-- > 0;) {
            if (c.block_mask[n] == 0) continue;
            c.block_mask[n] = 0;
            break;
        }
        ASSERT_TRUE(run_forward(plan.get(), c));
        EXPECT_FALSE(is_near(truth, c));
    }
}

TEST(WrongS2, ALocalBlockIsDropped) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        S2Spec spec;
        spec.dense.dtype = dtype;
        spec.dense.num_q_heads = 2;
        spec.dense.q_len = spec.dense.kv_len = 100;
        spec.dense.head_dim = spec.dense.head_dim_v = 16;
        spec.local_blocks = 3;
        const S2Case c(spec);
        const DenseTruth truth = s2_truth(c, Effort::kThorough);
        spec.local_blocks = 2;
        S2Case narrower(spec);
        const PlanHandle plan = make_plan(cpu_devices().back(), narrower);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_forward(plan.get(), narrower));
        EXPECT_FALSE(forward_is_near(truth, narrower.dense));
        EXPECT_TRUE(forward_is_near(s2_truth(narrower, Effort::kThorough), narrower.dense));
    }
}

}  // namespace
}  // namespace fattn::test
