// An S2 problem for tests: a dense case whose mask is the pattern, so that the dense reference,
// tolerances and tensors serve it. Used by the conformance tests of S2 attention.
#pragma once

#include <string>

#include "core/s2.h"
#include "support/dense_truth.h"

namespace fattn::test {

/// Everything that makes a problem, data included through its seed.
struct S2Spec {
    DenseSpec dense;  // sizes, types and memory; no features
    int64 block_size = 16;
    int64 local_blocks = 1;
    int64 vertical_stride = 3;
    int64 head_offset = 0;
    int64 dense_heads = 0;
    bool per_query_head = false;
    bool homogeneous = false;
    bool causal = true;
    int64 q_position_offset = 0;  // multiples of block_size
    int64 k_position_offset = 0;

    S2Pattern pattern() const;
};

std::string describe(const S2Spec& spec);

/// The same problem for the same seed; backward keeps problems smaller.
S2Spec random_s2_spec(uint64 seed, bool backward);

class S2Case {
  public:
    explicit S2Case(const S2Spec& spec);

    const S2Spec& spec() const { return spec_; }
    fattn_s2_problem c_problem() const;
    fattn_s2_forward_args c_forward();
    fattn_s2_backward_args c_backward();

    DenseCase dense;  // tensors and results

  private:
    S2Spec spec_;
};

DenseTruth s2_truth(const S2Case& c, Effort effort = Effort::kQuick);

/// Null with a failed expectation when the plan cannot be made.
PlanHandle make_plan(const CpuDevice& device, const S2Case& c);
/// As those of dense cases.
testing::AssertionResult run_forward(fattn_plan* plan, S2Case& c, int threads = 0);
testing::AssertionResult run_backward(fattn_plan* plan, S2Case& c, int threads = 0);

/// Runs a case on every device, forward and, when its spec asks, backward; expects both near the
/// truth.
void expect_near_truth(const S2Spec& spec);

}  // namespace fattn::test
