// Permuted block-sparse attention through the C interface on every CPU target: selections that the
// reference allows, runs near it for the library's own and for random selections, laws, corners and
// determinism.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "support/compare.h"
#include "support/permuted_block_truth.h"
#include "support/sampling.h"
#include "support/selection_checks.h"

namespace fattn::test {
namespace {

constexpr int kPermutedSampledProblems = 60;
constexpr int kPermutedAllProblems = 1500;

void permuted_run_random_problems(bool backward) {
    const Sampling seeds = sampling(kPermutedSampledProblems, kPermutedAllProblems);
    for (int n = 0; n < seeds.count; ++n) {
        const uint64 seed = seeds.first_seed + static_cast<uint64>(n);
        PermutedBlockCase c(random_permuted_block_spec(seed, backward));
        c.draw_selection(0.1 * static_cast<double>(seed % 11));
        if (seed % 7 == 0) c.permutation.clear();
        if (seed % 13 == 0) c.block_mask.clear();
        TruthInTwoSteps<PermutedBlockTruth> truth = truth_in_two_steps(c);
        for (const CpuDevice& device : cpu_devices()) expect_near_truth(device, truth, c);
        ASSERT_FALSE(testing::Test::HasFailure()) << "stopped at seed " << seed;
    }
}

TEST(PermutedBlockConformance, RandomForwardProblemsAreNearTheReference) {
    permuted_run_random_problems(false);
}

TEST(PermutedBlockConformance, RandomBackwardProblemsAreNearTheReference) {
    permuted_run_random_problems(true);
}

TEST(PermutedBlockConformance, OwnSelectionsAreAllowedAndRunNearTheReference) {
    const Sampling seeds = sampling(kPermutedSampledProblems / 2, kPermutedAllProblems);
    for (int n = 0; n < seeds.count; ++n) {
        const uint64 seed = seeds.first_seed + 5000 + static_cast<uint64>(n);
        PermutedBlockCase c(random_permuted_block_spec(seed, seed % 2 == 0));
        for (const CpuDevice& device : cpu_devices()) {
            const PlanHandle plan = make_plan(device, c);
            ASSERT_NE(plan, nullptr);
            ASSERT_TRUE(run_select(plan.get(), c)) << device.name;
            ASSERT_TRUE(permutation_is_right(c.problem(), c.q.data(), c.k.data(), c.permutation))
                << device.name << " " << describe(c.spec());
            ASSERT_TRUE(
                mask_is_right(c.problem(), c.q.data(), c.k.data(), c.permutation, c.block_mask))
                << device.name << " " << describe(c.spec());
            TruthInTwoSteps<PermutedBlockTruth> truth = truth_in_two_steps(c);
            expect_near_truth(device, truth, c);
        }
        ASSERT_FALSE(testing::Test::HasFailure()) << "stopped at seed " << seed;
    }
}

PermutedBlockSpec medium() {
    PermutedBlockSpec spec;
    spec.num_q_heads = 4;
    spec.num_k_heads = spec.num_v_heads = 2;
    spec.q_len = spec.kv_len = 700;
    spec.head_dim = spec.head_dim_v = 32;
    spec.block = 64;
    spec.segment = 128;
    spec.backward = true;
    spec.d_lse = true;
    return spec;
}

TEST(PermutedBlockLaws, EveryBlockKeptIsDenseCausalAttention) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        PermutedBlockSpec spec = medium();
        if (runs_little()) spec.q_len = spec.kv_len = 300;
        spec.dtype = dtype;
        PermutedBlockCase c(spec);
        c.draw_selection(1.0);
        // The truth is that of dense attention: computed without permutation and mask.
        PermutedBlockCase all(c.spec());
        const reference::DenseOutput dense =
            reference::permuted_block_forward(all.problem(), all.forward_args());
        TruthInTwoSteps<PermutedBlockTruth> truth([&](Effort effort) {
            PermutedBlockTruth of_c = permuted_block_truth(c, effort);
            of_c.output = dense;
            return of_c;
        });
        for (const CpuDevice& device : cpu_devices()) expect_near_truth(device, truth, c);
    }
}

TEST(PermutedBlockLaws, CoverageOneKeepsEverythingThatMayBeSeen) {
    PermutedBlockSpec spec = medium();
    spec.backward = spec.d_lse = false;
    spec.coverage = 1;
    PermutedBlockCase c(spec);
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_select(plan.get(), c));
        ASSERT_TRUE(run_forward(plan.get(), c));
        const Tensor selected = c.o;
        c.permutation.clear();
        c.block_mask.clear();
        const PermutedBlockTruth truth = permuted_block_truth(c);
        EXPECT_TRUE(near("o", truth.output.o, selected,
                         tolerance(Quantity::kOutput, DType::kF32, DType::kF32, truth.o),
                         describe(spec)));
    }
}

TEST(PermutedBlockLaws, BitsOfLaterSegmentsHaveNoEffect) {
    PermutedBlockCase c(medium());
    c.draw_selection(0.5);
    const PermutedBlockProblem p = c.problem();
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_forward(plan.get(), c));
        ASSERT_TRUE(run_backward(plan.get(), c));
        const Tensor o = c.o, d_k = c.d_k;
        for (std::size_t n = 0; n < c.block_mask.size(); ++n) {
            const int64 kb = static_cast<int64>(n) % p.num_key_blocks();
            const int64 qb = static_cast<int64>(n) / p.num_key_blocks() % p.num_query_blocks();
            if (p.segment_of_key_block(kb) > p.segment_of_query_block(qb)) c.block_mask[n] ^= 1;
        }
        ASSERT_TRUE(run_forward(plan.get(), c));
        ASSERT_TRUE(run_backward(plan.get(), c));
        EXPECT_TRUE(same_bits("o", o, c.o, describe(c.spec())));
        EXPECT_TRUE(same_bits("d_k", d_k, c.d_k, describe(c.spec())));
    }
}

TEST(PermutedBlockLaws, QueriesOfTheEndGiveTheRowsOfTheWhole) {
    PermutedBlockSpec spec = medium();
    spec.backward = spec.d_lse = false;
    PermutedBlockCase whole(spec);
    spec.q_len = 700 - 3 * 64;
    PermutedBlockCase late(spec);
    copy_entry(whole.k, 0, late.k, 0);
    copy_entry(whole.v, 0, late.v, 0);
    copy_tokens(whole.q, 0, 3 * 64, late.q, 0);
    const CpuDevice& device = cpu_devices().back();
    const PlanHandle plan = make_plan(device, whole);
    const PlanHandle late_plan = make_plan(device, late);
    ASSERT_TRUE(run_select(plan.get(), whole));
    ASSERT_TRUE(run_select(late_plan.get(), late));
    EXPECT_EQ(late.permutation, whole.permutation);
    ASSERT_TRUE(run_forward(plan.get(), whole));
    ASSERT_TRUE(run_forward(late_plan.get(), late));
    Tensor rows(late.o.layout());
    copy_tokens(whole.o, 0, 3 * 64, rows, 0);
    const PermutedBlockTruth truth = permuted_block_truth(late);
    EXPECT_TRUE(near("o", rows.values(), late.o,
                     2 * tolerance(Quantity::kOutput, DType::kF32, DType::kF32, truth.o),
                     describe(spec)));
}

TEST(PermutedBlockDeterminism, BitsDoNotDependOnThreads) {
    CasePicker picker;
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const bool shared : {false, true}) {
            if (!picker.next()) continue;
            PermutedBlockSpec spec = medium();
            spec.dtype = dtype;
            spec.shared = shared;
            PermutedBlockCase c(spec);
            for (const CpuDevice& device : cpu_devices()) {
                const PlanHandle plan = make_plan(device, c);
                ASSERT_NE(plan, nullptr);
                ASSERT_TRUE(run_select(plan.get(), c, 1));
                const std::vector<int32> permutation = c.permutation;
                const std::vector<uint8> mask = c.block_mask;
                ASSERT_TRUE(run_forward(plan.get(), c, 1));
                ASSERT_TRUE(run_backward(plan.get(), c, 1));
                const Tensor o = c.o, lse = c.lse, d_q = c.d_q, d_k = c.d_k, d_v = c.d_v;
                for (const int threads : {2, 5}) {
                    ASSERT_TRUE(run_select(plan.get(), c, threads));
                    EXPECT_EQ(c.permutation, permutation);
                    EXPECT_EQ(c.block_mask, mask);
                    ASSERT_TRUE(run_forward(plan.get(), c, threads));
                    ASSERT_TRUE(run_backward(plan.get(), c, threads));
                    EXPECT_TRUE(same_bits("o", o, c.o, describe(spec)));
                    EXPECT_TRUE(same_bits("lse", lse, c.lse, describe(spec)));
                    EXPECT_TRUE(same_bits("d_q", d_q, c.d_q, describe(spec)));
                    EXPECT_TRUE(same_bits("d_k", d_k, c.d_k, describe(spec)));
                    EXPECT_TRUE(same_bits("d_v", d_v, c.d_v, describe(spec)));
                }
            }
        }
    }
}

TEST(PermutedBlockCorners, LengthsAroundBlocksAndSegments) {
    for (const int64 length : {0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65}) {
        for (const bool causal : {true, false}) {
            PermutedBlockSpec spec = medium();
            spec.q_len = spec.kv_len = length;
            spec.block = 16;
            spec.segment = 32;
            spec.causal = causal;
            PermutedBlockCase c(spec);
            for (const CpuDevice& device : cpu_devices()) {
                const PlanHandle plan = make_plan(device, c);
                ASSERT_NE(plan, nullptr);
                ASSERT_TRUE(run_select(plan.get(), c));
                if (length <= 32) {
                    for (std::size_t n = 0; n < c.permutation.size(); ++n)
                        EXPECT_EQ(c.permutation[n],
                                  static_cast<int32>(n % static_cast<std::size_t>(length)));
                    for (const uint8 kept : c.block_mask) EXPECT_EQ(kept, 1);
                }
                TruthInTwoSteps<PermutedBlockTruth> truth = truth_in_two_steps(c);
                expect_near_truth(device, truth, c);
            }
        }
    }
}

TEST(PermutedBlockCorners, RowsThatSeeNothingAreZero) {
    PermutedBlockSpec spec = medium();
    spec.q_len = spec.kv_len = 200;
    PermutedBlockCase c(spec);
    c.draw_selection(0.0);
    TruthInTwoSteps<PermutedBlockTruth> truth = truth_in_two_steps(c);
    for (const CpuDevice& device : cpu_devices()) {
        expect_near_truth(device, truth, c);
        for (const double x : c.o.values()) EXPECT_EQ(x, 0);
        for (const double x : c.lse.values())
            EXPECT_EQ(x, -std::numeric_limits<double>::infinity());
        for (const double x : c.d_k.values()) EXPECT_EQ(x, 0);
    }
}

TEST(PermutedBlockCorners, ANonFiniteValueReachesOnlyRowsThatSeeIt) {
    PermutedBlockSpec spec = medium();
    spec.backward = spec.d_lse = false;
    PermutedBlockCase c(spec);
    c.draw_selection(0.4);
    const PermutedBlockProblem p = c.problem();
    const std::vector<uint8> visible =
        reference::visible_tokens(p, c.permutation.data(), c.block_mask.data());
    constexpr int64 kBadToken = 77;
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_forward(plan.get(), c));
        const Tensor clean = c.o;
        const double value = c.v.at(0, 0, kBadToken, 3);
        c.v.set(0, 0, kBadToken, 3, std::numeric_limits<double>::quiet_NaN());
        ASSERT_TRUE(run_forward(plan.get(), c));
        c.v.set(0, 0, kBadToken, 3, value);
        for (int64 h = 0; h < 4; ++h)
            for (int64 i = 0; i < 700; ++i) {
                const std::size_t at = static_cast<std::size_t>((h * 700 + i) * 700 + kBadToken);
                const bool sees = visible[at] != 0 && p.v_head(h) == 0;
                for (int64 d = 0; d < 32; ++d) {
                    const double x = c.o.at(0, h, i, d);
                    if (sees && d == 3) {
                        EXPECT_TRUE(std::isnan(x)) << h << " " << i;
                    } else {
                        EXPECT_EQ(x, clean.at(0, h, i, d)) << h << " " << i << " " << d;
                    }
                }
            }
    }
}

/// Three chunks of 64 keys a query, for the last 300 of 700 queries.
PermutedBlockSpec moba() {
    PermutedBlockSpec spec = medium();
    spec.query_block = 1;
    spec.segment = spec.block;
    spec.q_len = 300;
    return spec;
}

testing::AssertionResult run_moba(fattn_plan* plan, PermutedBlockCase& c) {
    c.reset_selection();
    c.permutation.clear();
    fattn_permuted_block_gate_args args{};
    args.struct_size = sizeof args;
    args.q = c.q.data();
    args.k = c.k.data();
    args.block_mask = c.block_mask.data();
    args.top_k = 3;
    args.gate = FATTN_BLOCK_GATE_MOBA;
    return ok(fattn_permuted_block_gate(plan, &args, nullptr));
}

TEST(PermutedBlockGates, MobaIsOneSoftmaxOverTheOwnAndTheChosenChunks) {
    PermutedBlockCase c(moba());
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_moba(plan.get(), c));
        const PermutedBlockProblem p = c.problem();
        ASSERT_TRUE(
            gate_is_right(p, c.q.data(), c.k.data(), {BlockGate::kMoba, 3, 0}, {}, c.block_mask));
        const int64 blocks = p.num_key_blocks();
        for (std::size_t row = 0; row < c.block_mask.size();
             row += static_cast<std::size_t>(blocks))
            EXPECT_EQ(std::accumulate(
                          c.block_mask.begin() + static_cast<std::ptrdiff_t>(row),
                          c.block_mask.begin() + static_cast<std::ptrdiff_t>(row) + blocks, 0),
                      3);
        TruthInTwoSteps<PermutedBlockTruth> truth = truth_in_two_steps(c);
        expect_near_truth(device, truth, c);
    }
}

TEST(PermutedBlockGates, MobaIsTheMergeOfTheOwnChunkAndTheChosenOnes) {
    PermutedBlockCase c(moba());
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_moba(plan.get(), c));
        const std::vector<uint8> mask = c.block_mask;
        const PermutedBlockTruth truth = permuted_block_truth(c);
        const PermutedBlockProblem p = c.problem();
        const auto run_part = [&](bool own, Tensor* o, Tensor* lse) {
            for (std::size_t n = 0; n < mask.size(); ++n) {
                const int64 kb = static_cast<int64>(n) % p.num_key_blocks();
                const int64 row = static_cast<int64>(n) / p.num_key_blocks();
                const bool is_own = kb == p.own_block(row % p.num_query_blocks());
                c.block_mask[n] = is_own == own ? mask[n] : 0;
            }
            ASSERT_TRUE(run_forward(plan.get(), c));
            *o = c.o;
            *lse = c.lse;
        };
        Tensor o[2], lse[2];
        run_part(true, &o[0], &lse[0]);
        run_part(false, &o[1], &lse[1]);
        c.reset_outputs();
        fattn_merge_args merge{};
        merge.struct_size = sizeof merge;
        merge.part = merge.o_layout = to_c(c.o.layout());
        const void* const o_parts[] = {o[0].data(), o[1].data()};
        const float* const lse_parts[] = {lse[0].floats(), lse[1].floats()};
        merge.num_parts = 2;
        merge.o_parts = o_parts;
        merge.lse_parts = lse_parts;
        merge.o = c.o.data();
        merge.lse = c.lse.floats();
        ASSERT_TRUE(ok(fattn_merge(device.handle.get(), &merge, nullptr)));
        EXPECT_TRUE(near("o", truth.output.o, c.o,
                         tolerance(Quantity::kMergedOutput, DType::kF32, DType::kF32, truth.o),
                         describe(c.spec())));
        EXPECT_TRUE(near("lse", truth.output.lse, c.lse,
                         tolerance(Quantity::kMergedLse, DType::kF32, DType::kF32, truth.lse),
                         describe(c.spec())));
    }
}

}  // namespace
}  // namespace fattn::test
