// What a run's workspace costs: against the length of the sequence, against the threads allowed.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>

#include "support/device.h"
#include "support/lightning_truth.h"
#include "support/neighborhood_truth.h"
#include "support/permuted_block_truth.h"
#include "support/s2_case.h"

namespace fattn::test {
namespace {

constexpr int32_t kEndless = std::numeric_limits<int32_t>::max();
constexpr int32_t kMostThreads = 1024;

uint64_t workspace(fattn_plan* plan, fattn_pass pass, int32_t max_threads) {
    uint64_t host = 0;
    uint64_t device = 0;
    EXPECT_TRUE(ok(fattn_plan_workspace(plan, pass, max_threads, &host, &device)));
    EXPECT_EQ(device, 0u);
    return host;
}

/// A plan alone; tensors of these lengths are never made.
uint64_t dense_workspace(const CpuDevice& device, fattn_pass pass, int64 q_len, int64 kv_len,
                         uint32_t flags) {
    constexpr int64 kHeads = 4;
    constexpr int64 kDim = 64;
    fattn_dense_problem p{};
    p.struct_size = sizeof p;
    p.flags = flags;
    if (pass == FATTN_PASS_BACKWARD) p.flags |= FATTN_DENSE_BACKWARD;
    p.q = to_c(contiguous(1, kHeads, q_len, kDim, DType::kBF16));
    p.k = p.v = to_c(contiguous(1, kHeads, kv_len, kDim, DType::kBF16));
    fattn_plan* plan = nullptr;
    EXPECT_TRUE(ok(fattn_dense_plan(device.handle.get(), &p, &plan)));
    const PlanHandle owner(plan);
    return workspace(plan, pass, 2);
}

constexpr int64 kShortest = 1 << 14;
constexpr int64 kLongest = 1 << 24;

TEST(Workspace, OfDenseSelfAttentionDoesNotGrowWithTheLength) {
    for (const CpuDevice& device : cpu_devices()) {
        for (const uint32_t flags : {0u, uint32_t{FATTN_DENSE_CAUSAL}}) {
            const auto bytes = [&](int64 len) {
                return dense_workspace(device, FATTN_PASS_FORWARD, len, len, flags);
            };
            for (int64 len = kShortest; len <= kLongest; len *= 2) {
                EXPECT_EQ(bytes(len), bytes(kShortest)) << device.name << " at " << len;
            }
        }
    }
}

TEST(Workspace, OfDenseDecodeAndBackwardGrowsAtMostLinearly) {
    struct Growth {
        const char* name;
        fattn_pass pass;
        bool one_query;
    };
    for (const CpuDevice& device : cpu_devices()) {
        for (const Growth& growth : {Growth{"decode", FATTN_PASS_FORWARD, true},
                                     {"backward", FATTN_PASS_BACKWARD, false},
                                     {"backward of one query", FATTN_PASS_BACKWARD, true}}) {
            const auto bytes = [&](int64 len) {
                return dense_workspace(device, growth.pass, growth.one_query ? 1 : len, len,
                                       FATTN_DENSE_CAUSAL);
            };
            for (int64 len = kShortest; len <= kLongest / 2; len *= 2) {
                EXPECT_LE(bytes(2 * len), 2 * bytes(len))
                    << growth.name << " on " << device.name << " at " << len;
            }
        }
    }
}

DenseSpec small_dense() {
    DenseSpec spec;
    spec.num_q_heads = 2;
    spec.q_len = 9;
    spec.kv_len = 12;
    spec.head_dim = spec.head_dim_v = 8;
    spec.backward = true;
    return spec;
}

/// A limit beyond every pool counts as the most threads that one has: a run works, and asks for no
/// more memory.
template <class Case>
void expect_endless_threads_are_harmless(Case&& c) {
    const CpuDevice& device = cpu_devices().back();
    const PlanHandle plan = make_plan(device, c);
    ASSERT_NE(plan, nullptr);
    for (const fattn_pass pass : {FATTN_PASS_FORWARD, FATTN_PASS_BACKWARD}) {
        EXPECT_EQ(workspace(plan.get(), pass, kEndless), workspace(plan.get(), pass, kMostThreads));
        EXPECT_EQ(workspace(plan.get(), pass, kMostThreads + 1),
                  workspace(plan.get(), pass, kMostThreads));
    }
    EXPECT_TRUE(run_forward(plan.get(), c, kEndless));
    EXPECT_TRUE(run_backward(plan.get(), c, kEndless));
}

TEST(Workspace, EndlessThreadsAreHarmlessInDenseAttention) {
    expect_endless_threads_are_harmless(DenseCase(small_dense()));
}

TEST(Workspace, EndlessThreadsAreHarmlessInNeighborhoodAttention) {
    NeighborhoodSpec spec;
    spec.axes = {{12, 1, 5, 1, false}};
    spec.backward = true;
    expect_endless_threads_are_harmless(NeighborhoodCase(spec));
}

TEST(Workspace, EndlessThreadsAreHarmlessInS2Attention) {
    S2Spec spec;
    spec.dense = small_dense();
    spec.dense.q_len = spec.dense.kv_len;
    expect_endless_threads_are_harmless(S2Case(spec));
}

TEST(Workspace, EndlessThreadsAreHarmlessInPermutedBlockAttention) {
    PermutedBlockSpec spec;
    spec.q_len = spec.kv_len = 12;
    spec.backward = true;
    PermutedBlockCase c(spec);
    expect_endless_threads_are_harmless(c);
    EXPECT_TRUE(run_select(make_plan(cpu_devices().back(), c).get(), c, kEndless));
}

TEST(Workspace, EndlessThreadsAreHarmlessInLinearAttention) {
    LightningSpec spec;
    spec.len = 12;
    spec.backward = true;
    expect_endless_threads_are_harmless(LightningCase(spec));
}

TEST(Workspace, EndlessThreadsAreHarmlessInAMerge) {
    Tensor part(contiguous(1, 1, 3, 4, DType::kF32));
    Tensor lse(contiguous(1, 1, 3, 1, DType::kF32));
    Tensor o(part.layout());
    const void* parts[] = {part.data()};
    const float* lses[] = {lse.floats()};
    fattn_merge_args args{};
    args.struct_size = sizeof args;
    args.part = to_c(part.layout());
    args.num_parts = 1;
    args.o_parts = parts;
    args.lse_parts = lses;
    args.o = o.data();
    const fattn_run run = with_threads(kEndless);
    EXPECT_TRUE(ok(fattn_merge(cpu_devices().back().handle.get(), &args, &run)));
}

}  // namespace
}  // namespace fattn::test
