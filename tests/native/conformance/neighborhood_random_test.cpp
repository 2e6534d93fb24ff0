// Random neighborhood problems over the product of all features, on every CPU target, against the
// double-precision reference; and the same bits for any thread count.
#include <gtest/gtest.h>

#include "support/compare.h"
#include "support/neighborhood_truth.h"
#include "support/random_neighborhood.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

constexpr int kNeighborhoodSampledProblems = 100;
constexpr int kNeighborhoodAllProblems = 5000;
constexpr int kNeighborhoodMostFailures = 20;

void neighborhood_run_random_problems(bool backward) {
    const Sampling seeds = sampling(kNeighborhoodSampledProblems, kNeighborhoodAllProblems);
    for (int n = 0; n < seeds.count; ++n) {
        expect_near_truth(
            random_neighborhood_spec(seeds.first_seed + static_cast<uint64>(n), backward));
        if (testing::Test::HasFatalFailure()) return;
        const testing::TestResult* result =
            testing::UnitTest::GetInstance()->current_test_info()->result();
        ASSERT_LT(result->total_part_count(), kNeighborhoodMostFailures)
            << "stopped after " << n + 1 << " problems";
    }
}

TEST(NeighborhoodConformance, RandomForwardProblemsAreNearTheReference) {
    neighborhood_run_random_problems(false);
}

TEST(NeighborhoodConformance, RandomBackwardProblemsAreNearTheReference) {
    neighborhood_run_random_problems(true);
}

struct NeighborhoodResults {
    Tensor o, lse, d_q, d_k, d_v, d_additional_k, d_additional_v;
};

NeighborhoodResults results_of(const NeighborhoodCase& c) {
    return {c.o, c.lse, c.d_q, c.d_k, c.d_v, c.d_additional_k, c.d_additional_v};
}

void neighborhood_expect_same_bits(const NeighborhoodResults& a, const NeighborhoodResults& b,
                                   const std::string& context) {
    EXPECT_TRUE(same_bits("o", a.o, b.o, context));
    EXPECT_TRUE(same_bits("lse", a.lse, b.lse, context));
    EXPECT_TRUE(same_bits("d_q", a.d_q, b.d_q, context));
    EXPECT_TRUE(same_bits("d_k", a.d_k, b.d_k, context));
    EXPECT_TRUE(same_bits("d_v", a.d_v, b.d_v, context));
    EXPECT_TRUE(same_bits("d_additional_k", a.d_additional_k, b.d_additional_k, context));
    EXPECT_TRUE(same_bits("d_additional_v", a.d_additional_v, b.d_additional_v, context));
}

/// Runs with 1 to 8 threads and once more with each; everything equals the first run.
void expect_independent_of_threads(const NeighborhoodSpec& spec) {
    for (const CpuDevice& device : cpu_devices()) {
        NeighborhoodCase c(spec);
        const PlanHandle plan = make_plan(device, c);
        ASSERT_NE(plan, nullptr);
        NeighborhoodResults first;
        for (int run = 0; run < 16; ++run) {
            const int threads = run % 8 + 1;
            ASSERT_TRUE(run_forward(plan.get(), c, threads)) << device.name;
            if (spec.backward) {
                ASSERT_TRUE(run_backward(plan.get(), c, threads)) << device.name;
            }
            if (run == 0) first = results_of(c);
            neighborhood_expect_same_bits(first, results_of(c),
                                          std::string(device.name) + " threads " +
                                              std::to_string(threads) + " " + describe(spec));
        }
    }
}

TEST(NeighborhoodDeterminism, BitsDoNotDependOnThreadsOrRuns) {
    for (const bool backward : {false, true}) {
        const Sampling seeds = sampling(10, 200);
        for (int n = 0; n < seeds.count; ++n)
            expect_independent_of_threads(
                random_neighborhood_spec(seeds.first_seed + static_cast<uint64>(n), backward));
    }
}

TEST(NeighborhoodDeterminism, LargeProblemsBitsDoNotDependOnThreads) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        NeighborhoodSpec spec;
        spec.dtype = dtype;
        spec.num_q_heads = 4;
        spec.num_kv_heads = 2;
        spec.axes = {{runs_little() ? 16 : 48, 1, 9, 1, false}, {40, 2, 7, 1, false}};
        spec.num_additional = 20;
        spec.head_dim = spec.head_dim_v = runs_little() ? 8 : 32;
        spec.backward = true;
        expect_independent_of_threads(spec);
    }
}

}  // namespace
}  // namespace fattn::test
