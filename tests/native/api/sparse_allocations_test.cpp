// Runs of the sparse softmax families allocate nothing once the device's workspaces are warm.
#include <gtest/gtest.h>

#include <vector>

#include "support/allocations.h"
#include "support/neighborhood_truth.h"
#include "support/permuted_block_truth.h"
#include "support/s2_case.h"

namespace fattn::test {
namespace {

/// Runs once, and then counts over some runs more.
template <class Run>
void expect_no_allocation(const Run& run) {
    ASSERT_TRUE(run());
    const AllocationCount allocations;
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(run());
    EXPECT_EQ(allocations.so_far(), 0);
}

TEST(SparseAllocations, NeighborhoodRunsAllocateNothingOnceWarm) {
    NeighborhoodSpec spec;
    spec.num_q_heads = 4;
    spec.num_kv_heads = 2;
    spec.axes = {{24, 1, 5, 1, false}, {24, 2, 7, 1, true}};
    spec.num_additional = 3;
    spec.head_dim = spec.head_dim_v = 8;
    spec.backward = true;
    NeighborhoodCase c(spec);
    const PlanHandle plan = make_plan(cpu_devices().back(), c);
    const fattn_neighborhood_forward_args forward = c.c_forward();
    const fattn_neighborhood_backward_args backward = c.c_backward();
    expect_no_allocation([&] {
        return fattn_neighborhood_forward(plan.get(), &forward, nullptr) == FATTN_STATUS_OK &&
               fattn_neighborhood_backward(plan.get(), &backward, nullptr) == FATTN_STATUS_OK;
    });
}

TEST(SparseAllocations, PermutedBlockRunsAllocateNothingOnceWarm) {
    PermutedBlockSpec spec;
    spec.num_q_heads = 4;
    spec.num_k_heads = spec.num_v_heads = 2;
    spec.q_len = spec.kv_len = 500;
    spec.block = 16;
    spec.segment = 64;
    spec.backward = true;
    PermutedBlockCase c(spec);
    c.reset_selection();
    const PlanHandle plan = make_plan(cpu_devices().back(), c);
    const fattn_permuted_block_select_args select = c.c_select();
    const fattn_permuted_block_forward_args forward = c.c_forward();
    const fattn_permuted_block_backward_args backward = c.c_backward();
    std::vector<uint8> mask(c.block_mask.size());
    fattn_permuted_block_gate_args gate{};
    gate.struct_size = sizeof gate;
    gate.q = c.q.data();
    gate.k = c.k.data();
    gate.block_mask = mask.data();
    gate.top_k = 3;
    gate.gate = FATTN_BLOCK_GATE_TOP_K;
    expect_no_allocation([&] {
        return fattn_permuted_block_select(plan.get(), &select, nullptr) == FATTN_STATUS_OK &&
               fattn_permuted_block_gate(plan.get(), &gate, nullptr) == FATTN_STATUS_OK &&
               fattn_permuted_block_forward(plan.get(), &forward, nullptr) == FATTN_STATUS_OK &&
               fattn_permuted_block_backward(plan.get(), &backward, nullptr) == FATTN_STATUS_OK;
    });
}

TEST(SparseAllocations, S2RunsAllocateNothingOnceWarm) {
    S2Spec spec;
    spec.dense.num_q_heads = 4;
    spec.dense.num_k_heads = spec.dense.num_v_heads = 2;
    spec.dense.q_len = spec.dense.kv_len = 500;
    spec.dense.head_dim = spec.dense.head_dim_v = 8;
    spec.dense.backward = true;
    spec.q_position_offset = 160;
    spec.k_position_offset = 32;
    S2Case c(spec);
    const PlanHandle plan = make_plan(cpu_devices().back(), c);
    const fattn_s2_forward_args forward = c.c_forward();
    const fattn_s2_backward_args backward = c.c_backward();
    expect_no_allocation([&] {
        return fattn_s2_forward(plan.get(), &forward, nullptr) == FATTN_STATUS_OK &&
               fattn_s2_backward(plan.get(), &backward, nullptr) == FATTN_STATUS_OK;
    });
}

}  // namespace
}  // namespace fattn::test
