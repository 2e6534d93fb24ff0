// Dense results are a function of the problem alone: the same bits for any thread count, run and
// batch.
#include <gtest/gtest.h>

#include <string>

#include "support/compare.h"
#include "support/device.h"
#include "support/random_dense.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

struct Results {
    Tensor o, lse, d_q, d_k, d_v, d_bias, d_sink_logits;
};

Results results_of(const DenseCase& c) {
    return {c.o, c.lse, c.d_q, c.d_k, c.d_v, c.d_bias, c.d_sink_logits};
}

void expect_same_bits(const Results& a, const Results& b, const std::string& context) {
    EXPECT_TRUE(same_bits("o", a.o, b.o, context));
    EXPECT_TRUE(same_bits("lse", a.lse, b.lse, context));
    EXPECT_TRUE(same_bits("d_q", a.d_q, b.d_q, context));
    EXPECT_TRUE(same_bits("d_k", a.d_k, b.d_k, context));
    EXPECT_TRUE(same_bits("d_v", a.d_v, b.d_v, context));
    EXPECT_TRUE(same_bits("d_bias", a.d_bias, b.d_bias, context));
    EXPECT_TRUE(same_bits("d_sink_logits", a.d_sink_logits, b.d_sink_logits, context));
}

/// Runs with 1 to 8 threads, or a few of these numbers, and once more with each; everything equals
/// the first run.
void expect_independent_of_threads(const DenseSpec& spec) {
    for (const CpuDevice& device : cpu_devices()) {
        DenseCase c(spec);
        const PlanHandle plan = make_plan(device, c);
        ASSERT_NE(plan, nullptr);
        Results first;
        for (int run = 0; run < (runs_little() ? 6 : 16); ++run) {
            const int threads = runs_little() ? run % 3 * 3 + 1 : run % 8 + 1;
            ASSERT_TRUE(run_forward(plan.get(), c, threads)) << device.name;
            if (spec.backward) {
                ASSERT_TRUE(run_backward(plan.get(), c, threads)) << device.name;
            }
            if (run == 0) first = results_of(c);
            expect_same_bits(first, results_of(c),
                             std::string(device.name) + " threads " + std::to_string(threads) +
                                 " " + describe(spec));
        }
    }
}

void expect_random_problems_independent_of_threads(bool backward) {
    const Sampling seeds = sampling(12, 200);
    for (int n = 0; n < seeds.count; ++n)
        expect_independent_of_threads(
            random_dense_spec(seeds.first_seed + static_cast<uint64>(n), backward));
}

TEST(DenseDeterminism, ForwardBitsDoNotDependOnThreadsOrRuns) {
    expect_random_problems_independent_of_threads(false);
}

TEST(DenseDeterminism, BackwardBitsDoNotDependOnThreadsOrRuns) {
    expect_random_problems_independent_of_threads(true);
}

/// Large enough that rows, keys and heads are all cut among tasks; where programs are slow, just
/// so.
DenseSpec large() {
    DenseSpec spec;
    spec.num_q_heads = 4;
    spec.num_k_heads = 2;
    spec.num_v_heads = 2;
    spec.q_len = runs_little() ? 260 : 700;
    spec.kv_len = runs_little() ? 300 : 1100;
    spec.head_dim = spec.head_dim_v = runs_little() ? 8 : 32;
    spec.causal = true;
    return spec;
}

TEST(DenseDeterminism, LargeForwardBitsDoNotDependOnThreads) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        DenseSpec spec = large();
        spec.dtype = dtype;
        expect_independent_of_threads(spec);
    }
}

TEST(DenseDeterminism, LargeBackwardBitsDoNotDependOnThreads) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        DenseSpec spec = large();
        spec.dtype = dtype;
        spec.backward = true;
        spec.kv_len = runs_little() ? 2200 : 4200;  // several chunks of keys
        spec.q_len = runs_little() ? 20 : 100;
        expect_independent_of_threads(spec);
    }
}

TEST(DenseDeterminism, DecodeBitsDoNotDependOnThreads) {
    DenseSpec spec = large();
    spec.batch = 2;
    spec.q_len = 1;
    spec.kv_len = 3000;
    expect_independent_of_threads(spec);
}

/// The forward of a batch entry is the same bits alone and beside others.
TEST(DenseDeterminism, ForwardBitsDoNotDependOnTheBatch) {
    for (const int64 q_len : {1, 3, 130}) {
        DenseSpec spec = large();
        spec.batch = 3;
        spec.q_len = q_len;
        spec.sink = true;
        for (const CpuDevice& device : cpu_devices()) {
            DenseCase together(spec);
            const PlanHandle plan = make_plan(device, together);
            ASSERT_NE(plan, nullptr);
            ASSERT_TRUE(run_forward(plan.get(), together));
            DenseSpec one = spec;
            one.batch = 1;
            for (int64 b = 0; b < spec.batch; ++b) {
                DenseCase alone(one);
                copy_entry(together.q, b, alone.q, 0);
                copy_entry(together.k, b, alone.k, 0);
                copy_entry(together.v, b, alone.v, 0);
                copy_entry(together.sink_logits, 0, alone.sink_logits, 0);
                const PlanHandle plan_of_one = make_plan(device, alone);
                ASSERT_NE(plan_of_one, nullptr);
                ASSERT_TRUE(run_forward(plan_of_one.get(), alone));
                Tensor o(alone.o.layout()), lse(alone.lse.layout());
                copy_entry(together.o, b, o, 0);
                copy_entry(together.lse, b, lse, 0);
                const std::string context =
                    std::string(device.name) + " entry " + std::to_string(b) + " " + describe(spec);
                EXPECT_TRUE(same_bits("o", o, alone.o, context));
                EXPECT_TRUE(same_bits("lse", lse, alone.lse, context));
            }
        }
    }
}

/// A packed sequence is the same bits alone and beside others.
TEST(DenseDeterminism, ForwardBitsDoNotDependOnThePack) {
    DenseSpec spec = large();
    spec.batch = 4;
    spec.q_lens = {70, 1, 0, 33};
    spec.kv_lens = {90, 600, 5, 33};
    for (const CpuDevice& device : cpu_devices()) {
        DenseCase together(spec);
        const PlanHandle plan = make_plan(device, together);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_forward(plan.get(), together));
        for (std::size_t n = 0; n < spec.q_lens.size(); ++n) {
            DenseSpec one = spec;
            one.batch = 1;
            one.q_lens = {spec.q_lens[n]};
            one.kv_lens = {spec.kv_lens[n]};
            DenseCase alone(one);
            const int64 q_begin = together.cu_seqlens_q[n];
            const int64 k_begin = together.cu_seqlens_k[n];
            copy_tokens(together.q, 0, q_begin, alone.q, 0);
            copy_tokens(together.k, 0, k_begin, alone.k, 0);
            copy_tokens(together.v, 0, k_begin, alone.v, 0);
            const PlanHandle plan_of_one = make_plan(device, alone);
            ASSERT_NE(plan_of_one, nullptr);
            ASSERT_TRUE(run_forward(plan_of_one.get(), alone));
            Tensor o(alone.o.layout()), lse(alone.lse.layout());
            copy_tokens(together.o, 0, q_begin, o, 0);
            copy_tokens(together.lse, 0, q_begin, lse, 0);
            const std::string context =
                std::string(device.name) + " sequence " + std::to_string(n) + " " + describe(spec);
            EXPECT_TRUE(same_bits("o", o, alone.o, context));
            EXPECT_TRUE(same_bits("lse", lse, alone.lse, context));
        }
    }
}

}  // namespace
}  // namespace fattn::test
