// What a neighborhood case should give and how far a kernel may be from it, with runs through the
// public C interface; used by conformance and law tests.
#pragma once

#include "reference/neighborhood.h"
#include "support/device.h"
#include "support/neighborhood_case.h"
#include "support/plain_search.h"

namespace fattn::test {

/// Null with a failed expectation when the plan cannot be made.
PlanHandle make_plan(const CpuDevice& device, const NeighborhoodCase& c);

/// Poisons the outputs, runs, and checks that nothing but the outputs' elements was written. 0
/// threads: the default.
testing::AssertionResult run_forward(fattn_plan* plan, NeighborhoodCase& c, int threads = 0);
/// Uses o and lse as they are in the case; poisons the gradients only.
testing::AssertionResult run_backward(fattn_plan* plan, NeighborhoodCase& c, int threads = 0);

struct NeighborhoodTruth {
    reference::DenseOutput output;
    reference::NeighborhoodGradients gradients;  // when the spec asks for the backward pass
    PlainError o, lse, d_q, d_k, d_v, d_additional_k, d_additional_v;
    int64 num_rows = 0;  // softmax rows that the plain errors rest on
};

/// Evaluates the case in both arithmetics, and others of its distribution until the plain errors
/// rest on enough results.
NeighborhoodTruth neighborhood_truth(const NeighborhoodCase& c, Effort effort = Effort::kQuick);

testing::AssertionResult forward_is_near(const NeighborhoodTruth& truth, const NeighborhoodCase& c);
testing::AssertionResult backward_is_near(const NeighborhoodTruth& truth,
                                          const NeighborhoodCase& c);
/// Forward and, when its spec asks, backward.
testing::AssertionResult is_near(const NeighborhoodTruth& truth, const NeighborhoodCase& c);

/// Runs a case on every device, forward and, when its spec asks, backward; expects both near the
/// truth.
void expect_near_truth(NeighborhoodCase& c);
void expect_near_truth(const NeighborhoodSpec& spec);

}  // namespace fattn::test
