// Runs of lightning plans on the virtual GPU through the C interface: results and gradients against
// the double-precision reference, steps against the whole, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "cuda/host/sparse_on_device.h"
#include "support/lightning_truth.h"

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

/// Factors of f16 are rounded to f16 as those of bf16 are to bf16, and their rule holds: the CPU
/// computes f16 in f32 and is held to more.
TEST_F(LightningOnCuda, RandomProblemsOfF16KeepTheRuleOf16Bits) {
    constexpr double kRuleOf16Bits = 5e-3;
    int num_problems = 0;
    for (uint64 seed = 1; num_problems < 6; ++seed) {
        LightningSpec spec = test::random_lightning_spec(seed, false);
        if (spec.map != FeatureMap::kIdentity || spec.normalize || spec.work() > 5e5) continue;
        if (spec.head_dim > 256 || spec.head_dim_v > 256) continue;
        spec.dtype = DType::kF16;
        ++num_problems;
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
    constexpr double kMostLightningWork = 1e6;
    int num_problems = 0;
    for (uint64 seed = 1; num_problems < 8; ++seed) {
        const LightningSpec spec = test::random_lightning_spec(seed, seed % 2 == 0);
        if (spec.map != FeatureMap::kIdentity || spec.normalize) continue;
        if (spec.dtype == DType::kF16) continue;
        if (spec.work() > kMostLightningWork || spec.head_dim > 256 || spec.head_dim_v > 256) {
            continue;
        }
        if (spec.backward && spec.f32_output && spec.dtype != DType::kF32) continue;
        ++num_problems;
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        expect_near(spec);
    }
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
    spec.map = FeatureMap::kRelu;
    const fattn_lightning_problem mapped = LightningCase(spec).c_problem();
    fattn_plan* plan = nullptr;
    EXPECT_EQ(fattn_lightning_plan(handle.get(), &mapped, &plan), FATTN_STATUS_UNSUPPORTED);
    EXPECT_NE(std::strstr(fattn_last_error(), "feature_map is given"), nullptr)
        << fattn_last_error();
    spec.map = FeatureMap::kIdentity;
    spec.normalize = true;
    const fattn_lightning_problem divided = LightningCase(spec).c_problem();
    EXPECT_EQ(fattn_lightning_plan(handle.get(), &divided, &plan), FATTN_STATUS_UNSUPPORTED);
    EXPECT_NE(std::strstr(fattn_last_error(), "FATTN_LIGHTNING_NORMALIZE is given"), nullptr)
        << fattn_last_error();
}

}  // namespace
}  // namespace fattn::cuda
