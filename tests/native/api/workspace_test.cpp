// What a run's workspace costs: against the length of the sequence, against the threads allowed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

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

constexpr int64 kLongHeads = 16;
constexpr int64 kLongLen = int64{1} << 20;
constexpr int64 kLongDim = 64;

template <class Problem>
Problem long_backward(uint32_t flags) {
    Problem p{};
    p.struct_size = sizeof p;
    p.flags = flags;
    p.q = p.k = p.v = to_c(contiguous(1, kLongHeads, kLongLen, kLongDim, DType::kBF16));
    return p;
}

/// f32 sums of q's, k's and v's gradients in each thread: a run has kLongHeads tasks, and threads
/// without one need nothing. Counted for 1024 threads it would be 64 times as much, beyond what
/// machines have.
template <class Problem>
void expect_memory_for_tasks_alone(fattn_status (*make)(fattn_device*, const Problem*,
                                                        fattn_plan**),
                                   const CpuDevice& device, const Problem& problem,
                                   uint64 sums_of_task) {
    fattn_plan* plan = nullptr;
    ASSERT_TRUE(ok(make(device.handle.get(), &problem, &plan)));
    const PlanHandle owner(plan);
    const auto one_gradient = static_cast<uint64>(kLongHeads * kLongLen * kLongDim) * sizeof(float);
    const uint64_t bytes = workspace(plan, FATTN_PASS_BACKWARD, kEndless);
    EXPECT_EQ(bytes, workspace(plan, FATTN_PASS_BACKWARD, kLongHeads));
    EXPECT_LT(bytes, (sums_of_task + 1) * one_gradient);
    EXPECT_GT(bytes, workspace(plan, FATTN_PASS_BACKWARD, kLongHeads - 1));
}

TEST(Workspace, OfLongBackwardRunsIsForTheirTasksAlone) {
    for (const CpuDevice& device : cpu_devices()) {
        SCOPED_TRACE(device.name);
        expect_memory_for_tasks_alone(fattn_dense_plan, device,
                                      long_backward<fattn_dense_problem>(FATTN_DENSE_BACKWARD), 1);
        auto neighborhood = long_backward<fattn_neighborhood_problem>(FATTN_NEIGHBORHOOD_BACKWARD);
        neighborhood.num_axes = 1;
        neighborhood.grid[0] = kLongLen;
        // Long enough for rows; where keys are lanes no thread holds sums.
        neighborhood.kernel_size[0] = 513;
        expect_memory_for_tasks_alone(fattn_neighborhood_plan, device, neighborhood, 3);
        auto s2 = long_backward<fattn_s2_problem>(FATTN_S2_BACKWARD);
        s2.block_size = 64;
        s2.local_blocks = 4;
        s2.vertical_stride = 16;
        expect_memory_for_tasks_alone(fattn_s2_plan, device, s2, 3);
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

/// More than any pass of the small problems below has.
constexpr int32_t kManyTasks = 64;

/// A limit beyond every pool counts as the most threads that one has, and as those that a run has
/// tasks for: it works, and asks for no more memory.
template <class Case>
void expect_endless_threads_are_harmless(Case&& c) {
    const CpuDevice& device = cpu_devices().back();
    const PlanHandle plan = make_plan(device, c);
    ASSERT_NE(plan, nullptr);
    for (const fattn_pass pass : {FATTN_PASS_FORWARD, FATTN_PASS_BACKWARD}) {
        for (const int32_t threads : {kManyTasks, kMostThreads, kMostThreads + 1})
            EXPECT_EQ(workspace(plan.get(), pass, kEndless), workspace(plan.get(), pass, threads));
    }
    EXPECT_TRUE(run_forward(plan.get(), c, kEndless));
    EXPECT_TRUE(run_backward(plan.get(), c, kEndless));
}

TEST(Workspace, EndlessThreadsAreHarmlessInDenseAttention) {
    expect_endless_threads_are_harmless(DenseCase(small_dense()));
}

/// Passes with more tasks than the others, which may then need the more memory: rows of a bias that
/// heads share, and sequences of a packed batch.
TEST(Workspace, OfARunOnManyThreadsHoldsItsSharedBiasAndItsPackedSequences) {
    constexpr std::size_t kGuard = 4096;
    constexpr std::byte kUntouched{0xA5};
    for (const bool packed : {false, true}) {
        DenseSpec spec = small_dense();
        if (packed) {
            spec.q_lens = {300, 0, 1, 77, 40};
            spec.kv_lens = {300, 5, 9000, 80, 40};
            spec.batch = 5;
            spec.q_len = 300;
            spec.kv_len = 9000;
        } else {
            spec.q_len = spec.kv_len = 700;
            spec.bias = DType::kF32;
        }
        DenseCase c(spec);
        for (const CpuDevice& device : cpu_devices()) {
            const PlanHandle plan = make_plan(device, c);
            ASSERT_NE(plan, nullptr);
            for (const int32_t threads : {1, 3, 17, kEndless}) {
                const uint64_t bytes[] = {workspace(plan.get(), FATTN_PASS_FORWARD, threads),
                                          workspace(plan.get(), FATTN_PASS_BACKWARD, threads)};
                std::vector<std::byte> memory(std::max(bytes[0], bytes[1]) + 64 + kGuard);
                void* start = memory.data();
                std::size_t space = memory.size();
                std::align(64, space - 64, start, space);
                auto* const first = static_cast<std::byte*>(start);
                const auto run_in = [&](uint64_t size, const auto& run) {
                    std::fill(memory.begin(), memory.end(), kUntouched);
                    fattn_run options = with_threads(threads);
                    options.workspace = first;
                    options.workspace_bytes = size;
                    EXPECT_TRUE(ok(run(options))) << device.name << " on " << threads;
                    for (const std::byte* at = first + size; at < first + size + kGuard / 2; ++at)
                        ASSERT_EQ(*at, kUntouched) << device.name << " on " << threads;
                };
                run_in(bytes[0], [&](const fattn_run& options) {
                    const fattn_dense_forward_args args = c.c_forward();
                    return fattn_dense_forward(plan.get(), &args, &options);
                });
                run_in(bytes[1], [&](const fattn_run& options) {
                    const fattn_dense_backward_args args = c.c_backward();
                    return fattn_dense_backward(plan.get(), &args, &options);
                });
            }
        }
    }
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
