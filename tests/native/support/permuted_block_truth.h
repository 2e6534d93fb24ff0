// Runs of permuted block-sparse attention through the public C interface, and what they should give
// for the selection that a case holds; used by conformance and law tests.
#pragma once

#include "reference/permuted_block.h"
#include "support/device.h"
#include "support/permuted_block_case.h"
#include "support/plain_search.h"

namespace fattn::test {

struct PermutedBlockTruth {
    reference::DenseOutput output;
    reference::DenseGradients gradients;  // when the spec asks for the backward pass
    PlainError o, lse, d_q, d_k, d_v;
    int64 num_rows = 0;  // softmax rows that the plain errors rest on
};

/// Of the selection in the case (none: every block kept), with plain errors over it and others of
/// its distribution.
PermutedBlockTruth permuted_block_truth(PermutedBlockCase& c, Effort effort = Effort::kQuick);

/// Null with a failed expectation when the plan cannot be made.
PlanHandle make_plan(const CpuDevice& device, const PermutedBlockCase& c);
/// Fills the case's selection.
testing::AssertionResult run_select(fattn_plan* plan, PermutedBlockCase& c, int threads = 0);
/// Poisons the outputs, runs, and checks that nothing but the outputs' elements was written.
testing::AssertionResult run_forward(fattn_plan* plan, PermutedBlockCase& c, int threads = 0);
testing::AssertionResult run_backward(fattn_plan* plan, PermutedBlockCase& c, int threads = 0);

/// Forward and, when the case's spec asks, backward.
testing::AssertionResult is_near(const PermutedBlockTruth& truth, const PermutedBlockCase& c);

/// Runs the case's selection forward and, when its spec asks, backward; expects both near the
/// truth.
void expect_near_truth(const CpuDevice& device, TruthInTwoSteps<PermutedBlockTruth>& truth,
                       PermutedBlockCase& c);
/// The truth of the case's selection.
TruthInTwoSteps<PermutedBlockTruth> truth_in_two_steps(PermutedBlockCase& c);

/// A problem over all features.
PermutedBlockSpec random_permuted_block_spec(uint64 seed, bool backward);

}  // namespace fattn::test
