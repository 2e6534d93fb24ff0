// Runs of lightning plans on the virtual GPU through the C interface: results and gradients against
// the double-precision reference, steps against the whole, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <utility>
#include <variant>
#include <vector>

#include "cuda/host/lightning_runs.h"
#include "cuda/host/sparse_on_device.h"
#include "support/lightning_truth.h"
#include "support/sampling.h"

namespace fattn::cuda {
namespace {

using test::LightningCase;
using test::LightningSpec;
using test::PlanHandle;

class LightningOnCuda : public DensePlanOnCuda {
  protected:
    PlanHandle lightning_plan(const LightningCase& c) {
        const fattn_lightning_problem problem = c.c_problem();
        fattn_plan* plan = nullptr;
        EXPECT_TRUE(test::ok(fattn_lightning_plan(handle.get(), &problem, &plan)))
            << describe(c.spec());
        return PlanHandle(plan);
    }

    template <class Args>
    static void put_inputs(RunOnDevice<Args>* on, LightningCase& c) {
        put_forward_inputs(on, c);
        on->args.slopes = on->floats(c.slopes);
        if (on->args.initial_state != nullptr) {
            on->args.initial_state = on->floats(c.initial_state);
        }
    }

    void forward(fattn_plan* plan, LightningCase& c) {
        c.reset_outputs();
        RunOnDevice on(device, plan, FATTN_PASS_FORWARD, c.c_forward());
        put_inputs(&on, c);
        on.args.o = on.memory.put(c.o);
        on.args.final_state = on.floats(c.final_state);
        ASSERT_TRUE(test::ok(fattn_lightning_forward(plan, &on.args, &on.run)))
            << describe(c.spec());
        on.memory.get(on.args.o, c.o);
        on.memory.get(on.args.final_state, c.final_state);
    }

    void backward(fattn_plan* plan, LightningCase& c) {
        c.reset_gradients();
        RunOnDevice on(device, plan, FATTN_PASS_BACKWARD, c.c_backward());
        put_inputs(&on, c);
        on.args.d_o = on.memory.put(c.d_o);
        if (on.args.d_final_state != nullptr) on.args.d_final_state = on.floats(c.d_final_state);
        on.args.d_q = on.memory.put(c.d_q);
        on.args.d_k = on.memory.put(c.d_k);
        on.args.d_v = on.memory.put(c.d_v);
        if (on.args.d_initial_state != nullptr) {
            on.args.d_initial_state = on.floats(c.d_initial_state);
        }
        ASSERT_TRUE(test::ok(fattn_lightning_backward(plan, &on.args, &on.run)))
            << describe(c.spec());
        get_backward(&on, c);
        on.memory.get(on.args.d_initial_state, c.d_initial_state);
    }

    void expect_near(const LightningSpec& spec) {
        LightningCase c(spec);
        const PlanHandle plan = lightning_plan(c);
        ASSERT_NE(plan, nullptr);
        forward(plan.get(), c);
        if (spec.backward) backward(plan.get(), c);
        test::TruthInTwoSteps<test::LightningTruth> truth(
            [&](test::Effort effort) { return lightning_truth(c, effort); });
        EXPECT_TRUE(truth.check([&](const test::LightningTruth& of_c) { return is_near(of_c, c); }))
            << describe(spec);
    }
};

/// Root mean square of errors over that of what is right.
double relative_error(const std::vector<double>& truth, const test::Tensor& result) {
    const std::vector<double> values = result.values();
    double errors = 0, squares = 0;
    for (std::size_t n = 0; n < truth.size(); ++n) {
        errors += (values[n] - truth[n]) * (values[n] - truth[n]);
        squares += truth[n] * truth[n];
    }
    return squares == 0 ? errors : std::sqrt(errors / squares);
}

/// Multiply-adds that the sums of a problem make, with all that fills tiles up: what the virtual
/// GPU's time grows with.
double work_on_device(const LightningProblem& p) {
    LightningForwardArgs forward{};
    LightningBackwardArgs backward{};
    float wanted = 0.0F;
    forward.o = backward.d_q = backward.d_k = backward.d_v = &wanted;
    std::vector<LightningLaunch> launches = lightning_forward_launches(p, forward, nullptr);
    if (p.backward) {
        for (LightningLaunch& launch : lightning_backward_launches(p, backward, nullptr)) {
            launches.push_back(std::move(launch));
        }
    }
    const LightningKey key = lightning_key(p);
    const double chunk = key.chunk();
    double work = 0;
    for (const LightningLaunch& launch : launches) {
        const auto* sum = std::get_if<LightningParams>(&launch.params);
        if (sum == nullptr) continue;
        const int64 heads = sum->per_kv_head ? p.num_q_heads : 1;
        const int64 chunks = ceil_div<int64>(p.len, key.chunk()) * launch.num_blocks * heads;
        work += static_cast<double>(chunks) * chunk * chunk * (3 * key.head_dim + chunk);
    }
    return work;
}

/// How many rounds of random problems a test makes.
test::Sampling rounds() { return test::sampling(1, 20); }

/// Random problems that the virtual GPU computes in some tenths of a second.
class RandomSpecs {
  public:
    explicit RandomSpecs(bool backward) : backward_(backward), seed_(rounds().first_seed) {}

    /// The next one that is as wanted; wanted() may change it.
    template <class Wanted>
    LightningSpec next(const Wanted& wanted) {
        constexpr double kMostWork = 1e7;
        for (;; ++seed_) {
            LightningSpec spec = test::random_lightning_spec(seed_, backward_);
            if (!wanted(&spec) || spec.work() > 1e6) continue;
            if (max_of(spec.head_dim, spec.head_dim_v) > 256) continue;
            if (work_on_device(LightningCase(spec).problem()) > kMostWork) continue;
            ++seed_;
            return spec;
        }
    }

  private:
    bool backward_;
    uint64 seed_;
};

/// Factors of f16 are rounded to f16 as those of bf16 are to bf16, and their rule holds: the CPU
/// computes f16 in f32 and is held to more.
TEST_F(LightningOnCuda, RandomProblemsOfF16KeepTheRuleOf16Bits) {
    constexpr double kRuleOf16Bits = 5e-3;
    RandomSpecs specs(false);
    for (int n = 0; n < 3 * rounds().count; ++n) {
        const LightningSpec spec = specs.next([](LightningSpec* s) {
            s->dtype = DType::kF16;
            return s->map == FeatureMap::kIdentity;
        });
        LightningCase c(spec);
        const PlanHandle plan = lightning_plan(c);
        ASSERT_NE(plan, nullptr);
        forward(plan.get(), c);
        const test::LightningTruth truth = lightning_truth(c);
        EXPECT_LT(relative_error(truth.output.o, c.o), kRuleOf16Bits) << describe(spec);
        EXPECT_LT(relative_error(truth.output.final_state, c.final_state), kRuleOf16Bits)
            << describe(spec);
    }
}

TEST_F(LightningOnCuda, RandomProblemsAreNearTheReference) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const bool backward : {false, true}) {
            RandomSpecs specs(backward);
            for (int n = 0; n < 2 * rounds().count; ++n) {
                const bool causal = n % 2 == 1;
                expect_near(specs.next([=](LightningSpec* s) {
                    return s->map == FeatureMap::kIdentity && s->dtype == dtype &&
                           s->causal == causal && s->f32_output == !causal;
                }));
            }
        }
    }
}

TEST_F(LightningOnCuda, RandomFeaturesAreNearTheReference) {
    for (const FeatureMap map :
         {FeatureMap::kEluPlusOne, FeatureMap::kRelu, FeatureMap::kSoftmax, FeatureMap::kTaylor2}) {
        RandomSpecs specs(true);
        for (int n = 0; n < 2 * rounds().count; ++n) {
            const bool normalize = n % 2 == 1;
            if (normalize && map == FeatureMap::kRelu) continue;
            expect_near(specs.next([=](LightningSpec* s) {
                return s->map == map && s->normalize == normalize &&
                       (normalize || s->dtype == DType::kBF16);
            }));
        }
    }
}

TEST_F(LightningOnCuda, TokensOfFewHeadsAreSumsOfSegments) {
    LightningSpec spec;
    spec.dtype = DType::kBF16;
    spec.len = 530;
    spec.head_dim = 24;
    spec.head_dim_v = 40;
    spec.slopes = {0.01F};
    spec.initial_state = true;
    spec.d_final_state = true;
    spec.backward = true;
    LightningProblem problem = LightningCase(spec).problem();
    EXPECT_TRUE(lightning_has_row_kernels(problem));
    problem.len = 511;
    EXPECT_FALSE(lightning_has_row_kernels(problem));
    expect_near(spec);
    spec.backward = spec.d_final_state = false;
    spec.causal = false;
    expect_near(spec);
}

// Two chunks hold an infinity: it reaches its column of the tokens that see it, and nothing else.
TEST_F(LightningOnCuda, InfiniteValuesReachOnlyTokensThatSeeThem) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        LightningSpec spec;
        spec.dtype = dtype;
        spec.len = 150;
        spec.head_dim = spec.head_dim_v = 64;
        spec.slopes = {0.02F};
        LightningCase finite(spec), c(spec);
        const PlanHandle plan = lightning_plan(c);
        ASSERT_NE(plan, nullptr);
        forward(plan.get(), finite);
        c.v.set(0, 0, 10, 3, INFINITY);
        c.v.set(0, 0, 100, 7, -INFINITY);
        forward(plan.get(), c);
        for (int64 i = 0; i < spec.len; ++i) {
            for (int64 d = 0; d < spec.head_dim_v; ++d) {
                const bool reached = (d == 3 && i >= 10) || (d == 7 && i >= 100);
                const double got = c.o.at(0, 0, i, d);
                if (reached) {
                    ASSERT_FALSE(std::isfinite(got)) << i << " " << d << " " << describe(spec);
                } else {
                    ASSERT_EQ(got, finite.o.at(0, 0, i, d)) << i << " " << d << describe(spec);
                }
            }
        }
    }
}

TEST_F(LightningOnCuda, FeaturesThatNoKeyHoldsAreSummedInPieces) {
    LightningSpec spec;
    spec.map = FeatureMap::kTaylor2;
    spec.len = 20;
    spec.head_dim = 24;  // 325 features
    spec.head_dim_v = 8;
    spec.initial_state = true;
    spec.backward = true;
    expect_near(spec);
}

TEST_F(LightningOnCuda, StepsGiveTheStatesAndResultsOfTheWhole) {
    LightningSpec spec;
    spec.len = 3;
    spec.num_q_heads = 2;
    spec.head_dim = 40;
    spec.head_dim_v = 24;
    LightningCase whole(spec);
    const PlanHandle plan = lightning_plan(whole);
    ASSERT_NE(plan, nullptr);
    forward(plan.get(), whole);
    spec.len = 1;
    LightningCase token(spec);
    const PlanHandle step = lightning_plan(token);
    ASSERT_NE(step, nullptr);
    token.slopes = whole.slopes;
    for (int64 h = 0; h < 2; ++h)
        for (int64 a = 0; a < 40; ++a)
            for (int64 b = 0; b < 24; ++b) token.final_state.set(0, h, a, b, 0);
    for (int64 t = 0; t < 3; ++t) {
        for (int64 h = 0; h < 2; ++h) {
            for (int64 d = 0; d < 40; ++d) {
                token.q.set(0, h, 0, d, whole.q.at(0, h, t, d));
                if (h == 0) token.k.set(0, 0, 0, d, whole.k.at(0, 0, t, d));
            }
            if (h > 0) continue;
            for (int64 d = 0; d < 24; ++d) token.v.set(0, 0, 0, d, whole.v.at(0, 0, t, d));
        }
        RunOnDevice on(device, step.get(), FATTN_PASS_FORWARD, token.c_forward());
        put_inputs(&on, token);
        on.args.o = on.memory.put(token.o);
        on.args.final_state = on.floats(token.final_state);
        ASSERT_TRUE(test::ok(fattn_lightning_step(step.get(), &on.args, &on.run)));
        on.memory.get(on.args.o, token.o);
        on.memory.get(on.args.final_state, token.final_state);
        for (int64 h = 0; h < 2; ++h)
            for (int64 d = 0; d < 24; ++d)
                EXPECT_NEAR(token.o.at(0, h, 0, d), whole.o.at(0, h, t, d), 1e-4);
    }
    for (int64 h = 0; h < 2; ++h)
        for (int64 a = 0; a < 40; ++a)
            for (int64 b = 0; b < 24; ++b)
                EXPECT_NEAR(token.final_state.at(0, h, a, b), whole.final_state.at(0, h, a, b),
                            1e-5);
}

TEST_F(LightningOnCuda, WhatHasNoKernelIsRefusedByName) {
    LightningSpec spec;
    spec.head_dim_v = 257;
    const fattn_lightning_problem large = LightningCase(spec).c_problem();
    fattn_plan* plan = nullptr;
    EXPECT_EQ(fattn_lightning_plan(handle.get(), &large, &plan), FATTN_STATUS_UNSUPPORTED);
    EXPECT_NE(std::strstr(fattn_last_error(), "the larger head dim is 257"), nullptr)
        << fattn_last_error();
}

}  // namespace
}  // namespace fattn::cuda
