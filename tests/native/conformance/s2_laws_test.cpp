// Laws and corners of S2 attention: patterns that are dense attention, the tokens of a sequence one
// by one, empty shapes, values that are not finite, and bits that no thread count changes.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "support/compare.h"
#include "support/s2_case.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

S2Spec s2_middle_sized(DType dtype = DType::kF32) {
    S2Spec spec;
    spec.dense.dtype = dtype;
    spec.dense.batch = 2;
    spec.dense.num_q_heads = 4;
    spec.dense.num_k_heads = 2;
    spec.dense.num_v_heads = 2;
    spec.dense.q_len = spec.dense.kv_len = 300;
    spec.dense.head_dim = 32;
    spec.dense.head_dim_v = 24;
    spec.dense.backward = true;
    spec.block_size = 16;
    spec.local_blocks = 4;
    return spec;
}

/// Stride 1, a band over everything and dense heads are all dense causal attention.
TEST(S2Laws, PatternsThatHideNothingAreDenseCausalAttention) {
    CasePicker picker(1, 4);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        S2Spec every_block = s2_middle_sized(dtype);
        every_block.vertical_stride = 1;
        S2Spec wide_band = s2_middle_sized(dtype);
        wide_band.local_blocks = 1000;
        S2Spec dense_heads = s2_middle_sized(dtype);
        dense_heads.dense_heads = 2;
        for (const S2Spec& spec : {every_block, wide_band, dense_heads}) {
            if (!picker.next()) continue;
            DenseSpec causal = spec.dense;
            causal.causal = true;
            DenseCase expected(causal);
            const DenseTruth truth = dense_truth(expected);
            for (const CpuDevice& device : cpu_devices()) {
                S2Case c(spec);
                const PlanHandle plan = make_plan(device, c);
                ASSERT_NE(plan, nullptr);
                ASSERT_TRUE(run_forward(plan.get(), c));
                ASSERT_TRUE(run_backward(plan.get(), c));
                EXPECT_TRUE(forward_is_near(truth, c.dense)) << device.name << describe(spec);
                EXPECT_TRUE(backward_is_near(truth, c.dense)) << device.name << describe(spec);
            }
        }
    }
}

/// The last queries alone are the last rows of all of them.
TEST(S2Laws, ShortQueriesAreTheLastRows) {
    S2Spec whole = s2_middle_sized();
    whole.dense.backward = false;
    S2Case all(whole);
    S2Spec last = whole;
    last.dense.q_len = 61;  // begins inside a block
    S2Case some(last);
    for (int64 b = 0; b < whole.dense.batch; ++b) {
        copy_tokens(all.dense.q, b, whole.dense.q_len - 61, some.dense.q, b);
        copy_entry(all.dense.k, b, some.dense.k, b);
        copy_entry(all.dense.v, b, some.dense.v, b);
    }
    const DenseTruth truth = s2_truth(some);
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan_of_all = make_plan(device, all);
        const PlanHandle plan_of_some = make_plan(device, some);
        ASSERT_TRUE(run_forward(plan_of_all.get(), all));
        ASSERT_TRUE(run_forward(plan_of_some.get(), some));
        EXPECT_TRUE(forward_is_near(truth, some.dense)) << device.name;
        for (int64 b = 0; b < whole.dense.batch; ++b) {
            copy_tokens(all.dense.o, b, whole.dense.q_len - 61, some.dense.o, b);
            copy_tokens(all.dense.lse, b, whole.dense.q_len - 61, some.dense.lse, b);
        }
        EXPECT_TRUE(forward_is_near(truth, some.dense)) << device.name << " rows of the whole";
    }
}

/// Adds what a shard found to the whole, whose tokens from `first` on are the shard's.
void add_tokens(const Tensor& shard, int64 first, Tensor& whole) {
    const TensorLayout& layout = shard.layout();
    for (int64 b = 0; b < layout.shape[0]; ++b)
        for (int64 h = 0; h < layout.shape[1]; ++h)
            for (int64 t = 0; t < layout.shape[2]; ++t)
                for (int64 d = 0; d < layout.shape[3]; ++d)
                    whole.set(b, h, first + t, d,
                              whole.at(b, h, first + t, d) + shard.at(b, h, t, d));
}

/// Queries and keys cut into shards, each pair of shards run apart with its positions, partial
/// results merged: forward and gradients of the whole.
TEST(S2Laws, ShardsOfQueriesAndKeysMakeTheWhole) {
    constexpr int64 kShards = 2;
    constexpr int64 kTokens = 160;
    for (const bool causal : {true, false}) {
        S2Spec spec = s2_middle_sized();
        spec.dense.q_len = spec.dense.kv_len = kShards * kTokens;
        spec.causal = causal;
        spec.head_offset = 1;
        S2Case whole(spec);
        const DenseTruth truth = s2_truth(whole);
        S2Spec of_shard = spec;
        of_shard.dense.q_len = of_shard.dense.kv_len = kTokens;
        for (const CpuDevice& device : cpu_devices()) {
            whole.dense.reset_outputs();
            for (Tensor* sum : {&whole.dense.o, &whole.dense.lse, &whole.dense.d_q,
                                &whole.dense.d_k, &whole.dense.d_v})
                sum->fill([] { return 0.0; });
            for (int64 q = 0; q < kShards; ++q) {
                std::vector<std::unique_ptr<S2Case>> shards;
                std::vector<const void*> o_parts;
                std::vector<const float*> lse_parts;
                for (int64 k = 0; k < kShards; ++k) {
                    of_shard.q_position_offset = q * kTokens;
                    of_shard.k_position_offset = k * kTokens;
                    shards.push_back(std::make_unique<S2Case>(of_shard));
                    S2Case& c = *shards.back();
                    for (int64 b = 0; b < spec.dense.batch; ++b) {
                        copy_tokens(whole.dense.q, b, q * kTokens, c.dense.q, b);
                        copy_tokens(whole.dense.d_o, b, q * kTokens, c.dense.d_o, b);
                        copy_tokens(whole.dense.k, b, k * kTokens, c.dense.k, b);
                        copy_tokens(whole.dense.v, b, k * kTokens, c.dense.v, b);
                    }
                    const PlanHandle plan = make_plan(device, c);
                    ASSERT_TRUE(run_forward(plan.get(), c));
                    o_parts.push_back(c.dense.o.data());
                    lse_parts.push_back(c.dense.lse.floats());
                }
                Tensor o(shards[0]->dense.o.layout());
                Tensor lse(shards[0]->dense.lse.layout());
                fattn_merge_args merge{};
                merge.struct_size = sizeof merge;
                merge.part = merge.o_layout = to_c(o.layout());
                merge.num_parts = kShards;
                merge.o_parts = o_parts.data();
                merge.lse_parts = lse_parts.data();
                merge.o = o.data();
                merge.lse = lse.floats();
                ASSERT_TRUE(ok(fattn_merge(device.handle.get(), &merge, nullptr)));
                add_tokens(o, q * kTokens, whole.dense.o);
                add_tokens(lse, q * kTokens, whole.dense.lse);
                for (int64 k = 0; k < kShards; ++k) {
                    S2Case& c = *shards[static_cast<std::size_t>(k)];
                    c.dense.o = o;
                    c.dense.lse = lse;
                    const PlanHandle plan = make_plan(device, c);
                    ASSERT_TRUE(run_backward(plan.get(), c));
                    add_tokens(c.dense.d_q, q * kTokens, whole.dense.d_q);
                    add_tokens(c.dense.d_k, k * kTokens, whole.dense.d_k);
                    add_tokens(c.dense.d_v, k * kTokens, whole.dense.d_v);
                }
            }
            EXPECT_TRUE(forward_is_near(truth, whole.dense)) << device.name << describe(spec);
            EXPECT_TRUE(backward_is_near(truth, whole.dense)) << device.name << describe(spec);
        }
    }
}

TEST(S2Corners, EmptyShapesAndSingleTokensRun) {
    for (const auto& [q_len, kv_len] :
         {std::pair<int64, int64>{0, 10}, {10, 0}, {1, 1}, {1, 100}, {20, 3}, {0, 0}}) {
        for (const bool causal : {true, false}) {
            S2Spec spec = s2_middle_sized();
            spec.dense.q_len = q_len;
            spec.dense.kv_len = kv_len;
            spec.causal = causal;
            expect_near_truth(spec);
        }
    }
}

TEST(S2Corners, BlocksLargerThanTilesAndThanSequences) {
    for (const int64 block : {300, 1000}) {
        S2Spec spec = s2_middle_sized();
        spec.block_size = block;
        spec.local_blocks = 1;
        spec.dense.q_len = spec.dense.kv_len = runs_little() ? 330 : 640;
        spec.dense.batch = 1;
        spec.dense.head_dim = spec.dense.head_dim_v = 8;
        expect_near_truth(spec);
        spec.causal = false;
        expect_near_truth(spec);
    }
}

/// A value that is not finite reaches the rows that see it, and no other.
TEST(S2Corners, ValuesThatAreNotFiniteReachOnlyRowsThatSeeThem) {
    constexpr double kQuietNaN = std::numeric_limits<double>::quiet_NaN();
    for (const bool causal : {true, false}) {
        for (const bool in_keys : {true, false}) {
            S2Spec spec = s2_middle_sized();
            spec.dense.backward = false;
            spec.causal = causal;
            S2Case c(spec);
            constexpr int64 kBad = 37;
            (in_keys ? c.dense.k : c.dense.v).set(1, 1, kBad, 3, kQuietNaN);
            for (const CpuDevice& device : cpu_devices()) {
                const PlanHandle plan = make_plan(device, c);
                ASSERT_TRUE(run_forward(plan.get(), c));
                for (int64 b = 0; b < 2; ++b) {
                    for (int64 h = 0; h < 4; ++h) {
                        for (int64 i = 0; i < spec.dense.q_len; ++i) {
                            const bool sees =
                                b == 1 && h >= 2 && c.dense.mask.at(0, h, i, kBad) != 0;
                            bool finite = true;
                            for (int64 d = 0; d < spec.dense.head_dim_v; ++d) {
                                finite = finite && std::isfinite(c.dense.o.at(b, h, i, d));
                            }
                            ASSERT_EQ(finite, !sees) << device.name << " " << b << " " << h << " "
                                                     << i << " causal " << causal;
                        }
                    }
                }
            }
        }
    }
}

TEST(S2Determinism, BitsDoNotDependOnThreadsOrRuns) {
    CasePicker picker(1, 3);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const bool causal : {true, false}) {
            if (!picker.next()) continue;
            S2Spec spec = s2_middle_sized(dtype);
            spec.causal = causal;
            spec.dense_heads = 1;
            spec.dense.batch = 1;
            spec.dense.q_len = runs_little() ? 60 : 200;
            spec.dense.kv_len = runs_little() ? 2200 : 4300;  // several chunks of keys
            for (const CpuDevice& device : cpu_devices()) {
                S2Case c(spec);
                const PlanHandle plan = make_plan(device, c);
                ASSERT_NE(plan, nullptr);
                Tensor o, lse, d_q, d_k, d_v;
                for (int threads = 1; threads <= 5; ++threads) {
                    ASSERT_TRUE(run_forward(plan.get(), c, threads)) << device.name;
                    ASSERT_TRUE(run_backward(plan.get(), c, threads)) << device.name;
                    if (threads == 1) {
                        o = c.dense.o;
                        lse = c.dense.lse;
                        d_q = c.dense.d_q;
                        d_k = c.dense.d_k;
                        d_v = c.dense.d_v;
                    }
                    const std::string context = std::string(device.name) + " threads " +
                                                std::to_string(threads) + " " + describe(spec);
                    EXPECT_TRUE(same_bits("o", o, c.dense.o, context));
                    EXPECT_TRUE(same_bits("lse", lse, c.dense.lse, context));
                    EXPECT_TRUE(same_bits("d_q", d_q, c.dense.d_q, context));
                    EXPECT_TRUE(same_bits("d_k", d_k, c.dense.d_k, context));
                    EXPECT_TRUE(same_bits("d_v", d_v, c.dense.d_v, context));
                }
            }
        }
    }
}

}  // namespace
}  // namespace fattn::test
