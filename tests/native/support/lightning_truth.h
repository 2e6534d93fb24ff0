// What a linear attention case should give and how far a kernel may be from it, and its runs
// through the public C interface; used by conformance and law tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "reference/lightning.h"
#include "support/device.h"
#include "support/lightning_case.h"
#include "support/linear_size.h"
#include "support/plain_search.h"

namespace fattn::test {

struct LightningSizes {
    LinearSize o, final_state, d_q, d_k, d_v, d_initial_state;
};

/// Another problem of the same distribution, and what it should give.
struct LightningReplica {
    std::unique_ptr<LightningCase> c;
    reference::LightningOutput output;
    reference::LightningGradients gradients;
};

struct LightningTruth {
    reference::LightningOutput output;
    reference::LightningGradients gradients;  // when the spec asks for the backward pass
    Effort effort = Effort::kQuick;
    LightningSizes sizes;                    // of a thorough truth
    std::vector<LightningReplica> replicas;  // the same
};

/// Quick: results may be so wrong as their own size allows. Thorough: as the size of such results
/// does, found from other problems with the same slopes, and of both terms of a difference.
LightningTruth lightning_truth(const LightningCase& c, Effort effort = Effort::kQuick);

/// Null with a failed expectation when the plan cannot be made.
PlanHandle make_plan(const CpuDevice& device, const LightningCase& c);

/// Poisons the outputs, runs, and checks that nothing but the outputs' elements was written. 0
/// threads: the default.
testing::AssertionResult run_forward(fattn_plan* plan, LightningCase& c, int threads = 0);
testing::AssertionResult run_backward(fattn_plan* plan, LightningCase& c, int threads = 0);

testing::AssertionResult forward_is_near(const LightningTruth& truth, const LightningCase& c);
testing::AssertionResult backward_is_near(const LightningTruth& truth, const LightningCase& c);
/// Forward and, when its spec asks, backward.
testing::AssertionResult is_near(const LightningTruth& truth, const LightningCase& c);
/// Runs the replicas too: over all their results and those of the case, which was run, the rule
/// holds with nothing added for few results.
testing::AssertionResult keeps_the_rule(fattn_plan* plan, const LightningTruth& truth,
                                        const LightningCase& c);

/// Runs a case on a device, forward and, when its spec asks, backward; expects both near the truth.
void expect_near_truth(const CpuDevice& device, const LightningTruth& truth, LightningCase& c);
/// The same for every device, with the truth of the case.
void expect_near_truth(LightningCase& c);
void expect_near_truth(const LightningSpec& spec);

/// A problem drawn from the seed: sizes around chunk and tile edges, every feature on its own coin.
LightningSpec random_lightning_spec(uint64 seed, bool backward);

}  // namespace fattn::test
