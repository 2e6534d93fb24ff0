// Evaluates the reference for a linear attention case, runs kernels and compares their results.
#include "support/lightning_truth.h"

#include <initializer_list>
#include <vector>

#include "support/coins.h"
#include "support/compare.h"
#include "support/tolerances.h"

namespace fattn::test {
namespace {

struct Expected {
    const char* name;
    const std::vector<double>* values;
    const Tensor* actual;
};

/// Below this size results are nothing: where decays leave less, f32 cannot hold its digits.
constexpr double kNothing = 1e-30;
/// The gradient of a quotient is the difference of two terms of about this size or more, which
/// cancel where one token has all the weight.
constexpr double kTermOfQuotient = 0.1;

testing::AssertionResult all_near(std::initializer_list<Expected> results, const LightningCase& c,
                                  double least_size) {
    for (const Expected& result : results) {
        if (!result.actual->present()) continue;
        const double allowed = linear_tolerance(c.spec().dtype, result.actual->layout().dtype);
        const testing::AssertionResult near = near_rms(result.name, *result.values, *result.actual,
                                                       allowed, describe(c.spec()), least_size);
        if (!near) return near;
    }
    return testing::AssertionSuccess();
}

constexpr int64 kLengths[] = {1,  2,  3,  5,   11,  12,  13,  16,  31,  32,  33,  48,  64,
                              95, 96, 97, 107, 108, 128, 191, 192, 193, 200, 288, 289, 300};
constexpr int64 kLongLengths[] = {1023, 1024, 1025, 1500, 2049, 3100};
constexpr int64 kHeadDims[] = {1,  2,  3,  5,  7,  8,  11, 12, 13, 15, 16,
                               17, 24, 31, 32, 33, 40, 47, 64, 65, 96, 128};
constexpr int64 kLargeHeadDims[] = {129, 192, 256, 511, 576};
constexpr MemoryOrder kOrders[] = {MemoryOrder::kHeadsOutside, MemoryOrder::kTokensOutside,
                                   MemoryOrder::kPacked, MemoryOrder::kPadded};
constexpr FeatureMap kMaps[] = {FeatureMap::kEluPlusOne, FeatureMap::kRelu, FeatureMap::kSoftmax,
                                FeatureMap::kTaylor2};

constexpr double kForwardWork = 4e6;
constexpr double kBackwardWork = 1.2e6;
/// So many results at least, so that a sum that happens to be small does not decide.
constexpr int64 kLeastResults = 512;

}  // namespace

LightningTruth lightning_truth(const LightningCase& c) {
    LightningTruth truth;
    truth.output = reference::lightning_forward(c.problem(), c.forward_args());
    if (c.spec().backward)
        truth.gradients = reference::lightning_backward(c.problem(), c.backward_args());
    return truth;
}

PlanHandle make_plan(const CpuDevice& device, const LightningCase& c) {
    const fattn_lightning_problem problem = c.c_problem();
    fattn_plan* plan = nullptr;
    EXPECT_TRUE(ok(fattn_lightning_plan(device.handle.get(), &problem, &plan)))
        << device.name << "; " << describe(c.spec());
    return PlanHandle(plan);
}

testing::AssertionResult run_forward(fattn_plan* plan, LightningCase& c, int threads) {
    c.reset_outputs();
    const fattn_lightning_forward_args args = c.c_forward();
    const fattn_run run = with_threads(threads);
    if (const testing::AssertionResult result = ok(fattn_lightning_forward(plan, &args, &run));
        !result)
        return testing::AssertionFailure() << result.message() << "; " << describe(c.spec());
    return gaps_untouched({{"o", &c.o}, {"final_state", &c.final_state}}, describe(c.spec()));
}

testing::AssertionResult run_backward(fattn_plan* plan, LightningCase& c, int threads) {
    c.reset_gradients();
    const fattn_lightning_backward_args args = c.c_backward();
    const fattn_run run = with_threads(threads);
    if (const testing::AssertionResult result = ok(fattn_lightning_backward(plan, &args, &run));
        !result)
        return testing::AssertionFailure() << result.message() << "; " << describe(c.spec());
    return gaps_untouched({{"d_q", &c.d_q},
                           {"d_k", &c.d_k},
                           {"d_v", &c.d_v},
                           {"d_initial_state", &c.d_initial_state}},
                          describe(c.spec()));
}

testing::AssertionResult forward_is_near(const LightningTruth& truth, const LightningCase& c) {
    return all_near(
        {{"o", &truth.output.o, &c.o}, {"final_state", &truth.output.final_state, &c.final_state}},
        c, kNothing);
}

testing::AssertionResult backward_is_near(const LightningTruth& truth, const LightningCase& c) {
    return all_near({{"d_q", &truth.gradients.d_q, &c.d_q},
                     {"d_k", &truth.gradients.d_k, &c.d_k},
                     {"d_v", &truth.gradients.d_v, &c.d_v},
                     {"d_initial_state", &truth.gradients.d_initial_state, &c.d_initial_state}},
                    c, c.spec().normalize ? kTermOfQuotient : kNothing);
}

void expect_near_truth(const CpuDevice& device, const LightningTruth& truth, LightningCase& c) {
    const PlanHandle plan = make_plan(device, c);
    if (plan == nullptr) return;
    const testing::AssertionResult ran = run_forward(plan.get(), c);
    EXPECT_TRUE(ran) << device.name;
    if (!ran) return;
    EXPECT_TRUE(forward_is_near(truth, c)) << device.name;
    if (!c.spec().backward) return;
    const testing::AssertionResult ran_back = run_backward(plan.get(), c);
    EXPECT_TRUE(ran_back) << device.name;
    if (!ran_back) return;
    EXPECT_TRUE(backward_is_near(truth, c)) << device.name;
}

void expect_near_truth(LightningCase& c) {
    const LightningTruth truth = lightning_truth(c);
    for (const CpuDevice& device : cpu_devices()) expect_near_truth(device, truth, c);
}

void expect_near_truth(const LightningSpec& spec) {
    LightningCase c(spec);
    expect_near_truth(c);
}

LightningSpec random_lightning_spec(uint64 seed, bool backward) {
    Coins coins(seed);
    LightningSpec s;
    do {
        s = LightningSpec{};
        s.seed = seed;
        s.dtype = coins.pick({DType::kF32, DType::kF16, DType::kBF16});
        s.f32_output = coins.chance(0.2);
        s.batch = coins.pick({1, 1, 2, 3});
        s.num_q_heads = coins.pick({1, 2, 3, 4, 6, 17});
        s.num_kv_heads = coins.chance(0.5) ? s.num_q_heads : coins.between(1, s.num_q_heads);
        s.len = coins.chance(0.1) ? coins.pick(kLongLengths) : coins.pick(kLengths);
        s.head_dim = coins.chance(0.05) ? coins.pick(kLargeHeadDims) : coins.pick(kHeadDims);
        s.head_dim_v = coins.chance(0.05)  ? coins.pick(kLargeHeadDims)
                       : coins.chance(0.5) ? s.head_dim
                                           : coins.pick(kHeadDims);
        if (coins.chance(0.4)) s.map = coins.pick(kMaps);
        // Of maps whose weights are positive: others may add up to nearly nothing.
        s.normalize =
            s.map != FeatureMap::kIdentity && s.map != FeatureMap::kRelu && coins.chance(0.5);
        s.causal = coins.chance(0.75);
        if (coins.chance(0.4)) s.scale = coins.pick({0.0F, -0.2F, 0.05F, 0.125F, 3.0F});
        if (coins.chance(0.3)) {
            for (int64 h = 0; h < s.num_q_heads; ++h)
                s.slopes.push_back(coins.pick({0.0F, 1e-3F, 0.3F, 2.0F, 20.0F, 1e4F}));
        }
        s.initial_state = coins.chance(0.5);
        s.backward = backward;
        s.d_final_state = backward && coins.chance(0.5);
        s.q_order = coins.pick(kOrders);
        s.k_order = coins.chance(0.5) ? s.q_order : coins.pick(kOrders);
        s.v_order = coins.chance(0.5) ? s.k_order : coins.pick(kOrders);
        s.o_order = coins.chance(0.5) ? s.q_order : coins.pick(kOrders);
        const int64 results =
            s.num_kv_heads * s.len * min_of<int64>(s.head_dim, s.head_dim_v) * s.batch;
        if (results < kLeastResults) s.batch *= ceil_div<int64>(kLeastResults, results);
    } while (s.work() > (backward ? kBackwardWork : kForwardWork) ||
             num_features(s.map, s.head_dim) > 3000);
    return s;
}

}  // namespace fattn::test
