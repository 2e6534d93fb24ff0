// Results of linear attention are a function of the problem alone: the same bits for any
// thread count, run and batch.
#include <gtest/gtest.h>

#include <string>

#include "support/compare.h"
#include "support/lightning_truth.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

struct LightningResults {
    Tensor o, final_state, d_q, d_k, d_v, d_initial_state;
};

LightningResults results_of(const LightningCase& c) {
    return {c.o, c.final_state, c.d_q, c.d_k, c.d_v, c.d_initial_state};
}

void lightning_expect_same_bits(const LightningResults& a, const LightningResults& b,
                                const std::string& context) {
    EXPECT_TRUE(same_bits("o", a.o, b.o, context));
    EXPECT_TRUE(same_bits("final_state", a.final_state, b.final_state, context));
    EXPECT_TRUE(same_bits("d_q", a.d_q, b.d_q, context));
    EXPECT_TRUE(same_bits("d_k", a.d_k, b.d_k, context));
    EXPECT_TRUE(same_bits("d_v", a.d_v, b.d_v, context));
    EXPECT_TRUE(same_bits("d_initial_state", a.d_initial_state, b.d_initial_state, context));
}

/// Runs with 1 to 5 threads and once more with each; everything equals the first run.
void expect_independent_of_threads(const LightningSpec& spec) {
    for (const CpuDevice& device : cpu_devices()) {
        LightningCase c(spec);
        const PlanHandle plan = make_plan(device, c);
        ASSERT_NE(plan, nullptr);
        LightningResults first;
        for (int run = 0; run < 10; ++run) {
            const int threads = run % 5 + 1;
            ASSERT_TRUE(run_forward(plan.get(), c, threads)) << device.name;
            if (spec.backward) {
                ASSERT_TRUE(run_backward(plan.get(), c, threads)) << device.name;
            }
            if (run == 0) first = results_of(c);
            lightning_expect_same_bits(first, results_of(c),
                                       std::string(device.name) + " threads " +
                                           std::to_string(threads) + " " + describe(spec));
        }
    }
}

TEST(LightningDeterminism, BitsDoNotDependOnThreadsOrRuns) {
    const Sampling seeds = sampling(12, 200);
    for (int n = 0; n < seeds.count; ++n)
        expect_independent_of_threads(
            random_lightning_spec(seeds.first_seed + static_cast<uint64>(n), n % 2 == 0));
}

TEST(LightningDeterminism, LargeBitsOfSegmentsDoNotDependOnThreads) {
    CasePicker picker(1, 3);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const bool causal : {true, false}) {
            if (!picker.next()) continue;
            LightningSpec spec;
            spec.num_q_heads = 2;
            spec.num_kv_heads = 1;
            spec.len = runs_little() ? 2100 : 5000;  // several segments
            spec.head_dim = 24;
            spec.head_dim_v = 40;
            spec.dtype = dtype;
            spec.causal = causal;
            spec.backward = true;
            spec.initial_state = true;
            expect_independent_of_threads(spec);
        }
    }
}

TEST(LightningDeterminism, BitsOfWholeSequencesDoNotDependOnTheBatch) {
    LightningSpec spec;
    spec.batch = 3;
    spec.num_q_heads = 16;  // enough that sequences are not cut
    spec.num_kv_heads = 16;
    spec.len = 150;
    spec.head_dim = 16;
    spec.head_dim_v = 16;
    for (const CpuDevice& device : cpu_devices()) {
        LightningCase together(spec);
        const PlanHandle plan = make_plan(device, together);
        ASSERT_TRUE(run_forward(plan.get(), together));
        LightningSpec alone_spec = spec;
        alone_spec.batch = 1;
        for (int64 b = 0; b < spec.batch; ++b) {
            LightningCase alone(alone_spec);
            copy_entry(together.q, b, alone.q, 0);
            copy_entry(together.k, b, alone.k, 0);
            copy_entry(together.v, b, alone.v, 0);
            alone.slopes = together.slopes;
            const PlanHandle alone_plan = make_plan(device, alone);
            ASSERT_TRUE(run_forward(alone_plan.get(), alone));
            Tensor expected(alone.o.layout());
            copy_entry(together.o, b, expected, 0);
            EXPECT_TRUE(same_bits("o", expected, alone.o, device.name));
        }
    }
}

}  // namespace
}  // namespace fattn::test
