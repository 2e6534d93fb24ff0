// What a dense case should give and how far a kernel may be from it; used by conformance and law
// tests.
#pragma once

#include <functional>
#include <vector>

#include "reference/dense.h"
#include "support/dense_case.h"
#include "support/device.h"
#include "support/plain_search.h"

namespace fattn::test {

struct DenseTruth {
    reference::DenseOutput output;
    reference::DenseGradients gradients;  // when the spec asks for the backward pass
    PlainError o, lse, d_q, d_k, d_v, d_bias, d_sink_logits;
    int64 num_rows = 0;  // softmax rows that the plain errors rest on
};

/// Evaluates the case in both arithmetics, and others of its distribution until the plain errors
/// rest on enough results.
/// prepare is what the test did to the case after it was made: the others get it too.
DenseTruth dense_truth(const DenseCase& c, const std::function<void(DenseCase&)>& prepare = {},
                       Effort effort = Effort::kQuick);

testing::AssertionResult forward_is_near(const DenseTruth& truth, const DenseCase& c);
testing::AssertionResult backward_is_near(const DenseTruth& truth, const DenseCase& c);
/// Forward and, when its spec asks, backward.
testing::AssertionResult is_near(const DenseTruth& truth, const DenseCase& c);

/// Runs a case on a device, forward and, when its spec asks, backward; expects both near the truth.
void expect_near_truth(const CpuDevice& device, const DenseTruth& truth, DenseCase& c);
/// The same for every device, with the truth of the case.
void expect_near_truth(DenseCase& c);
void expect_near_truth(const DenseSpec& spec);

}  // namespace fattn::test
