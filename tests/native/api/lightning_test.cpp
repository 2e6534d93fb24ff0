// Plans and runs of linear attention through the public interface: what is refused and how it is
// said, descriptions, workspaces, allocations, cancellation.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "api/handles.h"
#include "support/allocations.h"
#include "support/dense_case.h"
#include "support/lightning_case.h"

namespace fattn::test {
namespace {

using Problem = fattn_lightning_problem;
using LightningForwardArgs = fattn_lightning_forward_args;
using LightningBackwardArgs = fattn_lightning_backward_args;

/// Layouts of gradients would be looked at before what the others lack.
void drop_gradients(Problem& p) {
    p.flags &= ~static_cast<uint32_t>(FATTN_LIGHTNING_BACKWARD);
    p.d_o = p.d_q = p.d_k = p.d_v = fattn_layout{};
}

LightningSpec lightning_small_spec() {
    LightningSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 4;
    spec.num_kv_heads = 2;
    spec.len = 6;
    spec.head_dim = 8;
    spec.head_dim_v = 16;
    spec.backward = true;
    spec.initial_state = true;
    spec.d_final_state = true;
    return spec;
}

Plan make_lightning_plan(const LightningCase& c) {
    const Problem problem = c.c_problem();
    fattn_plan* plan = nullptr;
    EXPECT_EQ(fattn_lightning_plan(cpu_device().get(), &problem, &plan), FATTN_STATUS_OK)
        << fattn_last_error();
    return Plan(plan);
}

TEST(LightningPlan, RefusesWrongProblemsWithAReason) {
    struct Wrong {
        const char* text;
        std::function<void(Problem&)> spoil;
        fattn_status status = FATTN_STATUS_INVALID_ARGUMENT;
    };
    const Wrong wrong[] = {
        {"flags hold unknown bits (32); this library knows 31", [](Problem& p) { p.flags |= 32; },
         FATTN_STATUS_UNSUPPORTED},
        {"reserved is 1; allowed is 0", [](Problem& p) { p.reserved = 1; },
         FATTN_STATUS_UNSUPPORTED},
        {"scale is given, but flags lack FATTN_LIGHTNING_HAS_SCALE",
         [](Problem& p) { p.scale = 0.5F; }},
        {"scale is inf; it must be finite",
         [](Problem& p) {
             p.flags |= FATTN_LIGHTNING_HAS_SCALE;
             p.scale = INFINITY;
         }},
        {"the layout of a gradient is given, but flags lack FATTN_LIGHTNING_BACKWARD",
         [](Problem& p) { p.flags &= ~static_cast<uint32_t>(FATTN_LIGHTNING_BACKWARD); }},
        {"q.rank is 3; allowed is 4", [](Problem& p) { p.q.rank = 3; }},
        {"q.dtype is i32; allowed are f32, f16, bf16",
         [](Problem& p) { p.q.dtype = FATTN_DTYPE_I32; }},
        {"k.dtype is f16; it must be f32, the dtype of q",
         [](Problem& p) { p.k.dtype = FATTN_DTYPE_F16; }},
        {"k.shape[3] is 7; it must be 8, the head dim of q", [](Problem& p) { p.k.shape[3] = 7; }},
        {"k.shape[2] is 5; it must be 6, the tokens of q",
         [](Problem& p) {
             drop_gradients(p);
             p.k.shape[2] = p.v.shape[2] = 5;
         }},
        {"v.shape[1] is 1; it must be 2, the heads of k",
         [](Problem& p) {
             drop_gradients(p);
             p.v.shape[1] = 1;
         }},
        {"k.shape[1] (heads) is 5; allowed are 1 to 4, the heads of q",
         [](Problem& p) { p.k.shape[1] = 5; }},
        {"v.shape[3] (head dim) is 577; allowed are 1 to 576",
         [](Problem& p) { p.v.shape[3] = 577; }},
        {"feature_map is 5; allowed are the values 0 to 4 of fattn_feature_map",
         [](Problem& p) { p.feature_map = 5; }},
        {"q.shape[3] (head dim) is 129 with FATTN_FEATURE_MAP_TAYLOR2, whose state grows with its "
         "square; allowed are 1 to 128",
         [](Problem& p) {
             p.flags = 0;
             p.q = layout(1, 1, 2, 129);
             p.k = layout(1, 1, 2, 129);
             p.v = layout(1, 1, 2, 4);
             p.o = p.d_o = p.d_q = p.d_k = p.d_v = fattn_layout{};
             p.feature_map = FATTN_FEATURE_MAP_TAYLOR2;
         },
         FATTN_STATUS_UNSUPPORTED},
        {"o.shape[3] is 15; it must be 16, the head dim of v",
         [](Problem& p) { p.o.shape[3] = 15; }},
        {"pointer_alignment is 3; allowed are powers of two up to 4096, and 0 for one element",
         [](Problem& p) { p.pointer_alignment = 3; }},
        {"batch 64 and heads 2147483647 with states of 576 x 576 come to more than the allowed "
         "9007199254740991 elements",
         [](Problem& p) {
             p.flags = 0;
             // Nothing but heads: no tokens.
             p.q = layout(64, 2147483647, 0, 576);
             p.k = p.v = layout(64, 1, 0, 576);
             p.o = p.d_o = p.d_q = p.d_k = p.d_v = fattn_layout{};
         }},
    };
    const LightningCase c(lightning_small_spec());
    const Device device = cpu_device();
    const Problem right = c.c_problem();
    EXPECT_EQ(fattn_supports_lightning(device.get(), &right), FATTN_STATUS_OK);
    for (const Wrong& w : wrong) {
        Problem problem = right;
        w.spoil(problem);
        EXPECT_EQ(fattn_supports_lightning(device.get(), &problem), w.status) << w.text;
        EXPECT_STREQ(fattn_last_error(), w.text);
        fattn_plan* plan = nullptr;
        EXPECT_EQ(fattn_lightning_plan(device.get(), &problem, &plan), w.status) << w.text;
        EXPECT_EQ(plan, nullptr);
    }
    EXPECT_FAILS(fattn_supports_lightning(nullptr, &right), FATTN_STATUS_INVALID_ARGUMENT,
                 "device is NULL");
    EXPECT_FAILS(fattn_lightning_plan(device.get(), &right, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is NULL; a place for the handle is needed");
}

TEST(LightningPlan, RefusesWrongForwardRunsBeforeWriting) {
    struct Wrong {
        const char* text;
        std::function<void(LightningForwardArgs&)> spoil;
        fattn_status status = FATTN_STATUS_INVALID_ARGUMENT;
    };
    LightningCase c(lightning_small_spec());
    static float bad_slopes[4] = {0, 0, 0, 0};
    const Wrong wrong[] = {
        {"args->flags is 1; this library knows none", [](LightningForwardArgs& a) { a.flags = 1; },
         FATTN_STATUS_UNSUPPORTED},
        {"args->q is NULL; needed are [2, 4, 6, 8] of f32",
         [](LightningForwardArgs& a) { a.q = nullptr; }},
        {"args->o is NULL; needed are [2, 4, 6, 16] of f32",
         [](LightningForwardArgs& a) { a.o = nullptr; }},
        {"args->slopes is NULL; needed are 4 elements",
         [](LightningForwardArgs& a) { a.slopes = nullptr; }},
        {"args->slopes[2] is -0.5; it must be finite and at least 0",
         [](LightningForwardArgs& a) {
             bad_slopes[2] = -0.5F;
             a.slopes = bad_slopes;
         }},
        {"args->slopes[2] is inf; it must be finite and at least 0",
         [](LightningForwardArgs& a) {
             bad_slopes[2] = INFINITY;
             a.slopes = bad_slopes;
         }},
        {"args->initial_state is NULL; needed are 1024 elements",
         [](LightningForwardArgs& a) { a.initial_state = nullptr; }},
        {"args->final_state and args->initial_state overlap in memory; an output must not meet an "
         "input",
         [](LightningForwardArgs& a) { a.final_state = const_cast<float*>(a.initial_state); }},
    };
    const Plan plan = make_lightning_plan(c);
    for (const Wrong& w : wrong) {
        LightningForwardArgs args = c.c_forward();
        w.spoil(args);
        EXPECT_EQ(fattn_lightning_forward(plan.get(), &args, nullptr), w.status) << w.text;
        EXPECT_STREQ(fattn_last_error(), w.text);
    }
    EXPECT_TRUE(c.o.same_bytes(Tensor(c.o.layout())));
    EXPECT_TRUE(c.final_state.same_bytes(Tensor(c.final_state.layout())));
    const LightningForwardArgs args = c.c_forward();
    EXPECT_FAILS(fattn_lightning_step(plan.get(), &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "a step was asked for; the plan has 6 tokens, a step takes 1");
    EXPECT_FAILS(fattn_lightning_forward(nullptr, &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is NULL");
}

TEST(LightningPlan, RefusesWrongStepsAndBackwardRuns) {
    LightningSpec spec = lightning_small_spec();
    spec.len = 1;
    LightningCase c(spec);
    const Plan plan = make_lightning_plan(c);
    LightningForwardArgs args = c.c_forward();
    EXPECT_FAILS(fattn_lightning_step(plan.get(), &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "args->initial_state is given; a step reads and writes the state in final_state");
    args.initial_state = nullptr;
    args.final_state = nullptr;
    EXPECT_FAILS(fattn_lightning_step(plan.get(), &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "args->final_state is NULL; needed are 1024 elements");
    spec.causal = false;
    spec.backward = false;
    spec.initial_state = false;
    spec.d_final_state = false;
    LightningCase other(spec);
    const Plan two_sided = make_lightning_plan(other);
    const LightningForwardArgs other_args = other.c_forward();
    EXPECT_FAILS(fattn_lightning_step(two_sided.get(), &other_args, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "a step was asked for; the plan was made with FATTN_LIGHTNING_NON_CAUSAL, and a "
                 "step sees no later token");
    LightningBackwardArgs backward = c.c_backward();
    EXPECT_FAILS(
        fattn_lightning_backward(two_sided.get(), &backward, nullptr),
        FATTN_STATUS_INVALID_ARGUMENT,
        "a backward run was asked for; the plan was made without FATTN_LIGHTNING_BACKWARD");
    backward.d_o = nullptr;
    EXPECT_FAILS(fattn_lightning_backward(plan.get(), &backward, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "args->d_o is NULL; needed are [2, 4, 1, 16] of f32");
    spec.causal = true;
    spec.backward = true;
    LightningCase without(spec);
    const Plan no_state = make_lightning_plan(without);
    backward = without.c_backward();
    backward.d_initial_state = c.final_state.floats();
    EXPECT_FAILS(fattn_lightning_backward(no_state.get(), &backward, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "args->d_initial_state is given; the plan was made without "
                 "FATTN_LIGHTNING_HAS_INITIAL_STATE");
}

TEST(LightningPlan, IsOfItsFamilyAndHasNoSchedule) {
    LightningCase c(lightning_small_spec());
    const Plan plan = make_lightning_plan(c);
    fattn_plan_description description{};
    description.struct_size = sizeof description;
    ASSERT_EQ(fattn_plan_info(plan.get(), &description), FATTN_STATUS_OK);
    EXPECT_EQ(description.family, uint32_t{FATTN_FAMILY_LIGHTNING});
    // Of 8 heads: 21 pairs inside the chunk, and 6 tokens beside a state of 8 x 16.
    EXPECT_EQ(description.forward_flops, 8 * (2 * 21 * (8 + 16) + 4 * 6 * 8 * 16));
    EXPECT_EQ(description.backward_flops, 3 * description.forward_flops);
    EXPECT_GT(description.forward_workspace_bytes, 0U);
    fattn_schedule_stats stats{};
    stats.struct_size = sizeof stats;
    EXPECT_FAILS(fattn_plan_schedule_stats(plan.get(), &stats), FATTN_STATUS_UNSUPPORTED,
                 "a lightning plan has no schedule: every token is visited once, beside a state "
                 "that stands for all tokens before it");
    uint8_t tile = 0;
    EXPECT_EQ(fattn_plan_schedule_tiles(plan.get(), 0, 0, &tile, 1),
              uint32_t{FATTN_STATUS_UNSUPPORTED});
    const fattn_dense_forward_args dense{};
    EXPECT_FAILS(fattn_dense_forward(plan.get(), &dense, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is of family 2; a dense plan is needed (family 0)");
}

TEST(LightningPlan, WorkspaceDoesNotGrowWithTheLength) {
    for (const fattn_pass pass :
         {fattn_pass{FATTN_PASS_FORWARD}, fattn_pass{FATTN_PASS_BACKWARD}}) {
        uint64_t bytes[2] = {};
        for (const int64 len : {int64{20000}, int64{40000}}) {
            LightningSpec spec;
            spec.num_q_heads = spec.num_kv_heads = 2;
            spec.len = len;
            spec.head_dim = spec.head_dim_v = 16;
            spec.backward = true;
            const LightningCase c(spec);
            ASSERT_EQ(fattn_plan_workspace(make_lightning_plan(c).get(), pass, 2,
                                           &bytes[len / 40000], nullptr),
                      FATTN_STATUS_OK);
        }
        EXPECT_EQ(bytes[0], bytes[1]) << "pass " << pass;
    }
}

TEST(LightningPlan, RunsInTheWorkspaceThatItAsksFor) {
    for (const bool causal : {true, false}) {
        for (const bool normalize : {true, false}) {
            LightningSpec spec = lightning_small_spec();
            spec.len = 2500;  // several segments
            spec.causal = causal;
            spec.normalize = normalize;
            spec.map = normalize ? FeatureMap::kSoftmax : FeatureMap::kIdentity;
            LightningCase c(spec);
            const Plan plan = make_lightning_plan(c);
            for (const fattn_pass pass : {FATTN_PASS_FORWARD, FATTN_PASS_BACKWARD}) {
                uint64_t bytes = 0;
                ASSERT_EQ(fattn_plan_workspace(plan.get(), pass, 3, &bytes, nullptr),
                          FATTN_STATUS_OK);
                // A guard behind it shows whether more is used.
                std::vector<float> memory(bytes / sizeof(float) + 64, 7.0F);
                auto* aligned = memory.data();
                while (reinterpret_cast<std::uintptr_t>(aligned) % 64 != 0) ++aligned;
                fattn_run run{};
                run.struct_size = sizeof run;
                run.max_threads = 3;
                run.workspace = aligned;
                run.workspace_bytes = bytes;
                const LightningForwardArgs forward = c.c_forward();
                const LightningBackwardArgs backward = c.c_backward();
                ASSERT_EQ(pass == FATTN_PASS_FORWARD
                              ? fattn_lightning_forward(plan.get(), &forward, &run)
                              : fattn_lightning_backward(plan.get(), &backward, &run),
                          FATTN_STATUS_OK)
                    << fattn_last_error();
                for (const float* end = aligned + bytes / sizeof(float);
                     end < memory.data() + memory.size(); ++end) {
                    ASSERT_EQ(*end, 7.0F);
                }
            }
        }
    }
}

TEST(LightningPlan, RunsAllocateNothingOnceWarm) {
    LightningSpec spec = lightning_small_spec();
    spec.len = 2500;
    LightningCase c(spec);
    const Plan plan = make_lightning_plan(c);
    spec.len = 1;
    LightningCase token(spec);
    const Plan step = make_lightning_plan(token);
    const LightningForwardArgs forward = c.c_forward();
    const LightningBackwardArgs backward = c.c_backward();
    LightningForwardArgs step_args = token.c_forward();
    step_args.initial_state = nullptr;
    const auto run_all = [&] {
        return fattn_lightning_forward(plan.get(), &forward, nullptr) == FATTN_STATUS_OK &&
               fattn_lightning_backward(plan.get(), &backward, nullptr) == FATTN_STATUS_OK &&
               fattn_lightning_step(step.get(), &step_args, nullptr) == FATTN_STATUS_OK;
    };
    ASSERT_TRUE(run_all());
    const AllocationCount allocations;
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(run_all());
    EXPECT_EQ(allocations.so_far(), 0);
}

TEST(LightningPlan, AHeldCancelFlagEndsTheRun) {
    LightningCase c(lightning_small_spec());
    const Plan plan = make_lightning_plan(c);
    const int32_t cancel = 1;
    fattn_run run{};
    run.struct_size = sizeof run;
    run.cancel = &cancel;
    const LightningForwardArgs args = c.c_forward();
    EXPECT_EQ(fattn_lightning_forward(plan.get(), &args, &run), uint32_t{FATTN_STATUS_CANCELLED});
}

}  // namespace
}  // namespace fattn::test
