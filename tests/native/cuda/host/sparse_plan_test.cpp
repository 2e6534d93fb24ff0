// Runs of S2, permuted block-sparse and neighborhood plans on the virtual GPU through the C
// interface, against the double-precision reference, and laws to the bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cuda/device/block_select_params.h"
#include "cuda/host/sparse_on_device.h"
#include "support/random_neighborhood.h"
#include "support/sampling.h"
#include "support/selection_checks.h"

namespace fattn::cuda {
namespace {

using test::NeighborhoodCase;
using test::NeighborhoodSpec;
using test::PermutedBlockCase;
using test::PermutedBlockSpec;
using test::PlanHandle;
using test::S2Case;
using test::S2Spec;

/// What the interpreter and the reference do in some tenths of a second.
constexpr double kMostSparseWork = 3e5;

class SparsePlanOnCuda : public SparseOnCuda {
  protected:
    /// Forward and, where asked, backward.
    template <class Case>
    void run_both(Case& c, bool backward) {
        const PlanHandle plan = sparse_plan(c);
        ASSERT_NE(plan, nullptr);
        run_forward(device, plan.get(), c);
        if (backward) run_backward(device, plan.get(), c);
    }

    void expect_near(const S2Spec& spec) {
        S2Case c(spec);
        run_both(c, spec.dense.backward);
        test::TruthInTwoSteps<test::DenseTruth> truth(
            [&](test::Effort effort) { return s2_truth(c, effort); });
        EXPECT_TRUE(truth.check([&](const test::DenseTruth& of_c) {
            return is_near(of_c, c.dense);
        })) << describe(spec);
    }
    void expect_near(PermutedBlockCase& c) {
        run_both(c, c.spec().backward);
        test::TruthInTwoSteps<test::PermutedBlockTruth> truth = truth_in_two_steps(c);
        EXPECT_TRUE(truth.check([&](const test::PermutedBlockTruth& of_c) {
            return is_near(of_c, c);
        })) << describe(c.spec());
    }
    void expect_near(const NeighborhoodSpec& spec) {
        NeighborhoodCase c(spec);
        run_both(c, spec.backward);
        test::TruthInTwoSteps<test::NeighborhoodTruth> truth(
            [&](test::Effort effort) { return neighborhood_truth(c, effort); });
        EXPECT_TRUE(truth.check([&](const test::NeighborhoodTruth& of_c) {
            return is_near(of_c, c);
        })) << describe(spec);
    }

    /// Every gate, over pooled queries and keys.
    void expect_gates(const PermutedBlockSpec& spec) {
        PermutedBlockCase c(spec);
        const PlanHandle plan = sparse_plan(c);
        ASSERT_NE(plan, nullptr);
        const reference::Gate gates[] = {
            {BlockGate::kMoba, 3, 0}, {BlockGate::kTopK, 2, 0}, {BlockGate::kThreshold, 0, 0.1}};
        for (const reference::Gate& gate : gates) {
            c.reset_selection();
            fattn_permuted_block_gate_args args{};
            args.struct_size = sizeof(args);
            args.gate = static_cast<fattn_block_gate>(gate.kind);
            args.top_k = gate.top_k;
            args.threshold = static_cast<float>(gate.threshold);
            RunOnDevice on(device, plan.get(), FATTN_PASS_FORWARD, args);
            on.args.q = on.memory.put(c.q);
            on.args.k = on.memory.put(c.k);
            on.args.block_mask = on.memory.put_numbers(c.block_mask);
            ASSERT_TRUE(test::ok(fattn_permuted_block_gate(plan.get(), &on.args, &on.run)));
            on.memory.get_numbers(on.args.block_mask, c.block_mask);
            EXPECT_TRUE(
                test::gate_is_right(c.problem(), c.q.data(), c.k.data(), gate, {}, c.block_mask))
                << "gate " << static_cast<uint32>(gate.kind);
        }
    }
};

/// Gradients of 16 bits under an output of f32, and so a gradient of f32, are those of f32 rounded.
TEST_F(SparsePlanOnCuda, OutputsOfF32HaveGradientsOfF32) {
    NeighborhoodSpec spec;
    spec.dtype = DType::kBF16;
    spec.f32_output = spec.backward = true;
    spec.axes = {{5, 1, 3, 1, false}, {6, 1, 5, 1, true}};
    spec.num_q_heads = 2;
    spec.head_dim = spec.head_dim_v = 20;
    spec.num_additional = 3;
    NeighborhoodCase wide(spec);
    run_both(wide, true);
    EXPECT_TRUE(is_near(neighborhood_truth(wide), wide));
    NeighborhoodCase narrow(spec);
    for (test::Tensor* one :
         {&narrow.d_q, &narrow.d_k, &narrow.d_v, &narrow.d_additional_k, &narrow.d_additional_v}) {
        retype(one, DType::kBF16);
    }
    run_both(narrow, true);
    EXPECT_TRUE(is_rounded(wide.d_q, narrow.d_q));
    EXPECT_TRUE(is_rounded(wide.d_k, narrow.d_k));
    EXPECT_TRUE(is_rounded(wide.d_v, narrow.d_v));
    EXPECT_TRUE(is_rounded(wide.d_additional_k, narrow.d_additional_k));
    EXPECT_TRUE(is_rounded(wide.d_additional_v, narrow.d_additional_v));
}

// Two gradients of results, a key and two queries hold no numbers: gradients of those who see them
// do not either, and all others have the bits that they had.
TEST_F(SparsePlanOnCuda, InfinitiesReachOnlyPairsThatAreVisible) {
    constexpr int64 kNumTokens = 150, kWindow = 5;
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        NeighborhoodSpec spec;
        spec.dtype = dtype;
        spec.backward = true;
        spec.axes = {{kNumTokens, 1, kWindow, 1, true}};
        spec.head_dim = spec.head_dim_v = 64;
        NeighborhoodCase finite(spec), c(spec);
        const PlanHandle plan = sparse_plan(c);
        ASSERT_NE(plan, nullptr);
        for (NeighborhoodCase* one : {&finite, &c}) {
            run_forward(device, plan.get(), *one);
            if (one == &c) {
                c.d_o.set(0, 0, 10, 5, INFINITY);
                c.d_o.set(0, 0, 100, 7, -INFINITY);
                c.k.set(0, 0, 60, 5, NAN);
                c.q.set(0, 0, 30, 9, NAN);
                c.q.set(0, 0, 120, 9, NAN);
            }
            run_backward(device, plan.get(), *one);
        }
        const auto query = [](int64 i) {
            return i == 10 || i == 30 || i == 100 || i == 120 || (i >= 60 && i < 60 + kWindow);
        };
        for (int64 i = 0; i < kNumTokens; ++i) {
            bool key = false;
            for (int64 from = i; from < min_of(kNumTokens, i + kWindow); ++from) key |= query(from);
            for (int64 d = 0; d < spec.head_dim; ++d) {
                if (!query(i)) {
                    ASSERT_EQ(c.d_q.at(0, 0, i, d), finite.d_q.at(0, 0, i, d)) << i;
                }
                if (key) continue;
                ASSERT_EQ(c.d_k.at(0, 0, i, d), finite.d_k.at(0, 0, i, d)) << i;
                ASSERT_EQ(c.d_v.at(0, 0, i, d), finite.d_v.at(0, 0, i, d)) << i;
            }
        }
        EXPECT_FALSE(std::isfinite(c.d_v.at(0, 0, 10, 5)));
        EXPECT_FALSE(std::isfinite(c.d_v.at(0, 0, 97, 7)));
        EXPECT_FALSE(std::isfinite(c.d_q.at(0, 0, 62, 5)));
    }
}

TEST_F(SparsePlanOnCuda, RandomS2ProblemsAreNearTheReference) {
    const test::Sampling seeds = test::sampling(12, 200);
    int num_problems = 0;
    for (uint64 seed = seeds.first_seed; num_problems < seeds.count; ++seed) {
        const S2Spec spec = test::random_s2_spec(seed, seed % 2 == 0);
        if (spec.dense.work() > kMostSparseWork || spec.dense.head_dim > 256) continue;
        ++num_problems;
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        expect_near(spec);
    }
}

TEST_F(SparsePlanOnCuda, RandomPermutedBlocksAreNearTheReference) {
    const test::Sampling seeds = test::sampling(12, 200);
    int num_problems = 0;
    for (uint64 seed = seeds.first_seed; num_problems < seeds.count; ++seed) {
        const PermutedBlockSpec spec = test::random_permuted_block_spec(seed, seed % 2 == 0);
        const double work = static_cast<double>(spec.batch * spec.num_q_heads * spec.q_len) *
                            static_cast<double>(spec.kv_len * (spec.head_dim + spec.head_dim_v));
        if (work > kMostSparseWork || spec.head_dim > 256) continue;
        ++num_problems;
        PermutedBlockCase c(spec);
        c.draw_selection(0.1 * static_cast<double>(seed % 11));
        if (seed % 7 == 0) c.permutation.clear();
        if (seed % 13 == 0) c.block_mask.clear();
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        expect_near(c);
    }
}

/// Whether each query sees a single key. Gradients of q and k are then differences of equal
/// numbers: 0 in the reference and in the plain evaluation, whose two sums have one order, and a
/// tolerance that is made of their errors and of the largest result is 0 too.
bool sees_one_key(const NeighborhoodSpec& spec) {
    return spec.num_additional == 0 &&
           std::ranges::all_of(spec.axes, [](const auto& axis) { return axis.window == 1; });
}

TEST_F(SparsePlanOnCuda, OneKeyHasGradientsOfRoundoff) {
    NeighborhoodSpec spec;
    spec.backward = true;
    spec.axes = {{70, 1, 1, 1, false}};
    spec.head_dim = spec.head_dim_v = 20;
    ASSERT_TRUE(sees_one_key(spec));
    NeighborhoodCase c(spec);
    run_both(c, true);
    // Products of two halves lose 2^-22 of each term; terms of v and of d_o are below 5.
    const double of_score = 2 * 20 * 5 * 5 * std::ldexp(1, -22);
    for (const test::Tensor* gradient : {&c.d_q, &c.d_k}) {
        for (const double value : gradient->values()) EXPECT_LE(std::abs(value), of_score * 5);
    }
}

// One dim and few keys: a plain evaluation rounds each score once and adds 17 products, so that
// what tensor cores cut from sums is seen.
TEST_F(SparsePlanOnCuda, FewKeysOfOneDimAreNearTheReference) {
    NeighborhoodSpec spec;
    spec.seed = 411000404;
    spec.batch = 3;
    spec.num_q_heads = 8;
    spec.num_kv_heads = 5;
    spec.axes = {{36, 1, 17, 1, false}};
    spec.head_dim = spec.head_dim_v = 1;
    spec.k_order = test::MemoryOrder::kSharedBatch;
    spec.backward = true;
    expect_near(spec);
}

TEST_F(SparsePlanOnCuda, RandomNeighborhoodsAreNearTheReference) {
    const test::Sampling seeds = test::sampling(12, 200);
    int num_problems = 0;
    for (uint64 seed = seeds.first_seed; num_problems < seeds.count; ++seed) {
        const NeighborhoodSpec spec = test::random_neighborhood_spec(seed, seed % 2 == 0);
        if (spec.work() > kMostSparseWork || spec.head_dim > 256) continue;
        if (spec.backward && sees_one_key(spec)) continue;
        ++num_problems;
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        expect_near(spec);
    }
}

// Random problems are smaller than a tile: these have tiles that all rows see, as runs of tokens
// and as lists, with rows of whole 16 bytes that fill the tiles' rows.

TEST_F(SparsePlanOnCuda, BlocksOfS2AreNearTheReferenceWhetherOrNotTheyFillTiles) {
    for (const int64 block : {16, 48, 64, 80, 128}) {
        S2Spec spec;
        spec.dense.dtype = DType::kBF16;
        spec.dense.num_q_heads = 2;
        spec.dense.q_len = 190;
        spec.dense.kv_len = 333;
        spec.dense.head_dim = spec.dense.head_dim_v = 64;
        spec.dense.backward = true;
        spec.block_size = block;
        spec.local_blocks = block < 64 ? 2 : 1;
        spec.vertical_stride = block < 64 ? 3 : 2;
        spec.causal = block != 80;
        expect_near(spec);
        // Queries before the first key, and a key head of several.
        spec.dense.num_q_heads = 4;
        spec.dense.num_k_heads = spec.dense.num_v_heads = 2;
        spec.dense.q_len = spec.dense.kv_len = 150;
        spec.k_position_offset = block;
        spec.dense_heads = 1;
        expect_near(spec);
    }
}

TEST_F(SparsePlanOnCuda, WholeTilesOfSlotsAreNearTheReference) {
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
        for (const double chance : {1.0, 0.5}) {
            PermutedBlockSpec spec;
            spec.dtype = dtype;
            spec.num_q_heads = 2;
            spec.q_len = 130;
            spec.kv_len = 450;
            spec.block = 64;
            spec.query_block = chance < 1 ? 2 : 64;
            spec.segment = 128;
            spec.head_dim = spec.head_dim_v = 64;
            spec.backward = true;
            PermutedBlockCase c(spec);
            c.draw_selection(chance);
            expect_near(c);
            c.permutation.clear();
            c.reset_outputs();
            expect_near(c);
        }
    }
}

/// As many blocks as take 32 rows a warp.
TEST_F(SparsePlanOnCuda, LaunchesOfManyBlocksAreNearTheReference) {
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
        S2Spec spec;
        spec.dense.dtype = dtype;
        spec.dense.num_q_heads = 4 * device->properties().num_multiprocessors / 7;
        spec.dense.num_k_heads = spec.dense.num_v_heads = 1;
        spec.dense.q_len = spec.dense.kv_len = 490;
        spec.dense.head_dim = 128;
        spec.dense.head_dim_v = 120;
        spec.block_size = dtype == DType::kF16 ? 48 : 64;
        spec.local_blocks = 1;
        spec.vertical_stride = 5;
        expect_near(spec);
    }
    PermutedBlockSpec spec;
    spec.dtype = DType::kBF16;
    spec.num_q_heads = 4 * device->properties().num_multiprocessors / 5;
    spec.num_k_heads = spec.num_v_heads = 1;
    spec.q_len = spec.kv_len = 380;
    spec.block = spec.query_block = 64;
    spec.segment = 128;
    spec.head_dim = spec.head_dim_v = 128;
    PermutedBlockCase c(spec);
    c.draw_selection(0.4);
    expect_near(c);
}

TEST_F(SparsePlanOnCuda, BoxesThatAllRowsSeeAreNearTheReference) {
    const std::vector<std::vector<NeighborhoodAxis>> grids = {
        {{300, 1, 170, 1, false}},
        {{300, 2, 140, 3, true}},
        {{22, 1, 17, 1, false}, {24, 1, 19, 1, false}},
        {{12, 1, 9, 2, true}, {40, 2, 19, 1, false}},
        {{5, 1, 4, 1, false}, {9, 1, 7, 1, false}, {14, 1, 13, 1, false}}};
    for (const std::vector<NeighborhoodAxis>& axes : grids) {
        NeighborhoodSpec spec;
        spec.dtype = DType::kF16;
        spec.axes = axes;
        spec.num_additional = axes.size() == 2 ? 70 : 0;
        spec.head_dim = spec.head_dim_v = 64;
        spec.backward = true;
        expect_near(spec);
    }
}

/// A selection on the device; the case's own is filled.
void run_select(const std::shared_ptr<const Device>& device, fattn_plan* plan,
                PermutedBlockCase& c) {
    c.reset_selection();
    RunOnDevice on(device, plan, FATTN_PASS_FORWARD, c.c_select());
    on.args.q = on.memory.put(c.q);
    on.args.k = on.memory.put(c.k);
    on.args.permutation = on.memory.put_numbers(c.permutation);
    on.args.block_mask = on.memory.put_numbers(c.block_mask);
    on.args.coverage = on.memory.put_numbers(c.coverage);
    ASSERT_TRUE(test::ok(fattn_permuted_block_select(plan, &on.args, &on.run)))
        << describe(c.spec());
    on.memory.get_numbers(on.args.permutation, c.permutation);
    on.memory.get_numbers(on.args.block_mask, c.block_mask);
    on.memory.get_numbers(on.args.coverage, c.coverage);
}

TEST_F(SparsePlanOnCuda, OwnSelectionsAreThoseOfTheReferenceUpToNearTies) {
    const test::Sampling seeds = test::sampling(8, 200);
    int num_problems = 0;
    for (uint64 seed = seeds.first_seed; num_problems < seeds.count; ++seed) {
        PermutedBlockSpec spec = test::random_permuted_block_spec(seed, false);
        const double work = static_cast<double>(spec.batch * spec.num_q_heads * spec.q_len) *
                            static_cast<double>(spec.kv_len * spec.head_dim);
        if (work > kMostSparseWork || spec.head_dim > 256 || spec.head_dim_v > 256) continue;
        ++num_problems;
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        PermutedBlockCase c(spec);
        const PlanHandle plan = sparse_plan(c);
        ASSERT_NE(plan, nullptr);
        run_select(device, plan.get(), c);
        ASSERT_TRUE(test::permutation_is_right(c.problem(), c.q.data(), c.k.data(), c.permutation))
            << describe(spec);
        ASSERT_TRUE(
            test::mask_is_right(c.problem(), c.q.data(), c.k.data(), c.permutation, c.block_mask))
            << describe(spec);
    }
}

/// Longer than one block sorts: two runs, which are merged.
PermutedBlockSpec long_segment() {
    PermutedBlockSpec spec;
    spec.num_q_heads = 2;
    spec.num_k_heads = spec.num_v_heads = 1;
    spec.shared = true;
    spec.block = 16;
    spec.segment = kMostSortedKeys + 48;
    spec.q_len = 16;
    spec.kv_len = spec.segment + 16;
    spec.head_dim = spec.head_dim_v = 8;
    return spec;
}

TEST_F(SparsePlanOnCuda, SegmentsLongerThanABlockSortsAreSorted) {
    PermutedBlockCase c(long_segment());
    const PlanHandle plan = sparse_plan(c);
    ASSERT_NE(plan, nullptr);
    run_select(device, plan.get(), c);
    EXPECT_TRUE(test::permutation_is_right(c.problem(), c.q.data(), c.k.data(), c.permutation));
    EXPECT_TRUE(
        test::mask_is_right(c.problem(), c.q.data(), c.k.data(), c.permutation, c.block_mask));
}

TEST_F(SparsePlanOnCuda, KeysOfOneImportanceKeepTheirOrderThroughoutALongSegment) {
    PermutedBlockCase c(long_segment());
    c.k.fill([] { return 0.0; });
    const PlanHandle plan = sparse_plan(c);
    ASSERT_NE(plan, nullptr);
    run_select(device, plan.get(), c);
    for (std::size_t slot = 0; slot < c.permutation.size(); ++slot) {
        ASSERT_EQ(c.permutation[slot], static_cast<int32>(slot % c.problem().kv_len)) << slot;
    }
}

/// Rows of more blocks than are chosen in shared memory.
PermutedBlockSpec long_rows() {
    PermutedBlockSpec spec;
    spec.block = 1;
    spec.segment = 4;
    spec.q_len = 5;
    spec.kv_len = kMostSharedBlocks + 9;
    spec.head_dim = spec.head_dim_v = 8;
    return spec;
}

TEST_F(SparsePlanOnCuda, RowsOfMoreBlocksThanSharedMemoryHoldsAreChosen) {
    for (const float coverage : {0.6F, 1.0F}) {
        PermutedBlockSpec spec = long_rows();
        spec.coverage = coverage;
        PermutedBlockCase c(spec);
        const PlanHandle plan = sparse_plan(c);
        ASSERT_NE(plan, nullptr);
        run_select(device, plan.get(), c);
        EXPECT_TRUE(test::permutation_is_right(c.problem(), c.q.data(), c.k.data(), c.permutation));
        EXPECT_TRUE(
            test::mask_is_right(c.problem(), c.q.data(), c.k.data(), c.permutation, c.block_mask))
            << coverage;
    }
}

TEST_F(SparsePlanOnCuda, GatesKeepWhatTheReferenceKeeps) {
    PermutedBlockSpec spec;
    spec.num_q_heads = 4;
    spec.num_k_heads = spec.num_v_heads = 2;
    spec.q_len = spec.kv_len = 150;
    spec.head_dim = spec.head_dim_v = 16;
    spec.block = 16;
    spec.segment = 32;
    for (const bool shared : {false, true}) {
        spec.shared = shared;
        expect_gates(spec);
    }
}

TEST_F(SparsePlanOnCuda, GatesOfLongRowsKeepWhatTheReferenceKeeps) { expect_gates(long_rows()); }

}  // namespace
}  // namespace fattn::cuda
