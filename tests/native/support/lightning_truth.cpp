// Evaluates the reference for a linear attention case, runs kernels and compares their results.
#include "support/lightning_truth.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "support/coins.h"
#include "support/compare.h"
#include "support/tolerances.h"
#include "support/unwatched.h"

namespace fattn::test {
namespace {

/// Below this size results are nothing: where decays leave less, f32 cannot hold its digits.
constexpr double kNothing = 1e-30;

/// What a thorough truth may take: other problems, and multiply-adds of their references.
constexpr int kMostReplicas = 500;
constexpr double kReplicaWork = 5e8;

/// One result of a case: what it should be, what it is, how large such results are.
struct Result {
    const char* name;
    const std::vector<double>& expected;
    const Tensor& actual;
    const LinearSize& size;
};

std::vector<Result> forward_results(const reference::LightningOutput& expected,
                                    const LightningCase& c, const LightningSizes& sizes) {
    return {{"o", expected.o, c.o, sizes.o},
            {"final_state", expected.final_state, c.final_state, sizes.final_state}};
}

std::vector<Result> backward_results(const reference::LightningGradients& expected,
                                     const LightningCase& c, const LightningSizes& sizes) {
    std::vector<Result> results = {{"d_q", expected.d_q, c.d_q, sizes.d_q},
                                   {"d_k", expected.d_k, c.d_k, sizes.d_k},
                                   {"d_v", expected.d_v, c.d_v, sizes.d_v}};
    if (c.d_initial_state.present())
        results.push_back({"d_initial_state", expected.d_initial_state, c.d_initial_state,
                           sizes.d_initial_state});
    return results;
}

double allowed_share(const LightningCase& c, const Result& result) {
    return linear_tolerance(c.spec().dtype, result.actual.layout().dtype);
}

testing::AssertionResult all_near(const std::vector<Result>& results, const LightningTruth& truth,
                                  const LightningCase& c) {
    for (const Result& result : results) {
        double allowed = allowed_share(c, result);
        double least_size = kNothing;
        if (truth.effort == Effort::kThorough) {
            const double num = result.size.num_equal();
            if (num < PlainError::kEnough) allowed *= excess_of_few(num);
            least_size = std::max(kNothing, result.size.root_mean_square());
        }
        const testing::AssertionResult near = near_rms(result.name, result.expected, result.actual,
                                                       allowed, describe(c.spec()), least_size);
        if (!near) return near;
    }
    return testing::AssertionSuccess();
}

/// Squares of errors, summed over problems.
struct SquaredErrors {
    double sum = 0;
    int64 count = 0;

    void add(const Result& result) {
        const std::vector<double> got = result.actual.values();
        for (std::size_t n = 0; n < got.size(); ++n) {
            if (!std::isfinite(result.expected[n])) continue;
            sum += (got[n] - result.expected[n]) * (got[n] - result.expected[n]);
            ++count;
        }
    }
    double root_mean_square() const {
        return std::sqrt(sum / static_cast<double>(std::max<int64>(count, 1)));
    }
};

void evaluate(const LightningCase& c, reference::LightningOutput& output,
              reference::LightningGradients& gradients) {
    const Unwatched unwatched;
    output = reference::lightning_forward(c.problem(), c.forward_args());
    if (c.spec().backward)
        gradients = reference::lightning_backward(c.problem(), c.backward_args());
}

void add_gradient_sizes(const LightningCase& c, const reference::LightningGradients& gradients,
                        LightningSizes& sizes) {
    const Unwatched unwatched;
    if (!c.spec().normalize) {
        sizes.d_q.add(gradients.d_q);
        sizes.d_k.add(gradients.d_k);
        sizes.d_v.add(gradients.d_v);
        sizes.d_initial_state.add(gradients.d_initial_state);
        return;
    }
    using reference::QuotientTerms;
    LightningBackwardArgs args = c.backward_args();
    const reference::LightningGradients terms =
        reference::lightning_backward(c.problem(), args, QuotientTerms::kNumerator);
    args.d_final_state = nullptr;
    const reference::LightningGradients others =
        reference::lightning_backward(c.problem(), args, QuotientTerms::kDenominator);
    sizes.d_q.add(terms.d_q, others.d_q);
    sizes.d_k.add(terms.d_k, others.d_k);
    sizes.d_v.add(terms.d_v, others.d_v);
    sizes.d_initial_state.add(terms.d_initial_state, others.d_initial_state);
}

void add_sizes(const LightningCase& c, const reference::LightningOutput& output,
               const reference::LightningGradients& gradients, LightningSizes& sizes) {
    const Unwatched unwatched;
    sizes.o.add(output.o);
    sizes.final_state.add(output.final_state);
    if (c.spec().backward) add_gradient_sizes(c, gradients, sizes);
}

bool rest_on_enough(const LightningSizes& sizes) {
    for (const LinearSize* size :
         {&sizes.o, &sizes.final_state, &sizes.d_q, &sizes.d_k, &sizes.d_v, &sizes.d_initial_state})
        if (size->count() > 0 && size->count() < PlainError::kEnough) return false;
    return true;
}

void add_replicas(const LightningCase& c, LightningTruth& truth) {
    LightningSpec spec = c.spec();
    const double work = spec.work() * (spec.backward ? 5 : 1);
    for (int n = 0; n < kMostReplicas && !rest_on_enough(truth.sizes); ++n) {
        if ((n + 1) * work > kReplicaWork) break;
        spec.seed += 0x100000000;
        LightningReplica replica{std::make_unique<LightningCase>(spec), {}, {}};
        replica.c->slopes = c.slopes;  // they say how many tokens count
        evaluate(*replica.c, replica.output, replica.gradients);
        add_sizes(*replica.c, replica.output, replica.gradients, truth.sizes);
        truth.replicas.push_back(std::move(replica));
    }
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

LightningTruth lightning_truth(const LightningCase& c, Effort effort) {
    LightningTruth truth;
    truth.effort = effort;
    evaluate(c, truth.output, truth.gradients);
    if (effort == Effort::kQuick) return truth;
    add_sizes(c, truth.output, truth.gradients, truth.sizes);
    add_replicas(c, truth);
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
    return all_near(forward_results(truth.output, c, truth.sizes), truth, c);
}

testing::AssertionResult backward_is_near(const LightningTruth& truth, const LightningCase& c) {
    return all_near(backward_results(truth.gradients, c, truth.sizes), truth, c);
}

testing::AssertionResult is_near(const LightningTruth& truth, const LightningCase& c) {
    const testing::AssertionResult forward = forward_is_near(truth, c);
    return forward && c.spec().backward ? backward_is_near(truth, c) : forward;
}

testing::AssertionResult keeps_the_rule(fattn_plan* plan, const LightningTruth& truth,
                                        const LightningCase& c) {
    const auto results_of = [&](const reference::LightningOutput& output,
                                const reference::LightningGradients& gradients,
                                const LightningCase& of) {
        std::vector<Result> results = forward_results(output, of, truth.sizes);
        if (of.spec().backward)
            for (const Result& result : backward_results(gradients, of, truth.sizes))
                results.push_back(result);
        return results;
    };
    const std::vector<Result> own = results_of(truth.output, truth.gradients, c);
    std::vector<SquaredErrors> errors(own.size());
    for (std::size_t n = 0; n < own.size(); ++n) errors[n].add(own[n]);
    for (const LightningReplica& replica : truth.replicas) {
        testing::AssertionResult ran = run_forward(plan, *replica.c);
        if (ran && c.spec().backward) ran = run_backward(plan, *replica.c);
        if (!ran) return ran;
        const std::vector<Result> results =
            results_of(replica.output, replica.gradients, *replica.c);
        for (std::size_t n = 0; n < results.size(); ++n) errors[n].add(results[n]);
    }
    for (std::size_t n = 0; n < own.size(); ++n) {
        const double bound =
            allowed_share(c, own[n]) * std::max(kNothing, own[n].size.root_mean_square());
        if (!(errors[n].root_mean_square() <= bound))
            return testing::AssertionFailure()
                   << own[n].name << ": RMS error " << errors[n].root_mean_square() << " of "
                   << errors[n].count << " results beyond " << bound << "; " << describe(c.spec());
    }
    return testing::AssertionSuccess();
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
    TruthInTwoSteps<LightningTruth> truth(
        [&](Effort effort) { return lightning_truth(c, effort); });
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        if (plan == nullptr) return;
        testing::AssertionResult ran = run_forward(plan.get(), c);
        if (ran && c.spec().backward) ran = run_backward(plan.get(), c);
        EXPECT_TRUE(ran) << device.name;
        if (!ran) return;
        EXPECT_TRUE(truth.check([&](const LightningTruth& of_c) {
            const testing::AssertionResult near = is_near(of_c, c);
            return near && of_c.effort == Effort::kThorough ? keeps_the_rule(plan.get(), of_c, c)
                                                            : near;
        })) << device.name;
    }
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
