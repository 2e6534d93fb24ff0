// What a linear attention case should give and how far a kernel may be from it, and its runs
// through the public C interface; used by conformance and law tests.
#pragma once

#include <gtest/gtest.h>

#include "reference/lightning.h"
#include "support/device.h"
#include "support/lightning_case.h"

namespace fattn::test {

struct LightningTruth {
    reference::LightningOutput output;
    reference::LightningGradients gradients;  // when the spec asks for the backward pass
};

LightningTruth lightning_truth(const LightningCase& c);

/// Null with a failed expectation when the plan cannot be made.
PlanHandle make_plan(const CpuDevice& device, const LightningCase& c);

/// Poisons the outputs, runs, and checks that nothing but the outputs' elements was written. 0
/// threads: the default.
testing::AssertionResult run_forward(fattn_plan* plan, LightningCase& c, int threads = 0);
testing::AssertionResult run_backward(fattn_plan* plan, LightningCase& c, int threads = 0);

testing::AssertionResult forward_is_near(const LightningTruth& truth, const LightningCase& c);
testing::AssertionResult backward_is_near(const LightningTruth& truth, const LightningCase& c);

/// Runs a case on a device, forward and, when its spec asks, backward; expects both near the truth.
void expect_near_truth(const CpuDevice& device, const LightningTruth& truth, LightningCase& c);
/// The same for every device, with the truth of the case.
void expect_near_truth(LightningCase& c);
void expect_near_truth(const LightningSpec& spec);

/// A problem drawn from the seed: sizes around chunk and tile edges, every feature on its own coin.
LightningSpec random_lightning_spec(uint64 seed, bool backward);

}  // namespace fattn::test
