// Whether a block selection is one that the reference allows: selection is discrete, so near ties
// may fall either way. Used by the selection's and the conformance's tests.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "reference/permuted_block.h"

namespace fattn::test {

/// A permutation inside segments along which the reference's importance does not increase by more
/// than its error.
testing::AssertionResult permutation_is_right(const PermutedBlockProblem& problem, const void* q,
                                              const void* k, const std::vector<int32>& permutation);

/// A mask that differs from the reference's, for the same permutation, only in blocks that the
/// error of a sum of weights can move over the threshold.
testing::AssertionResult mask_is_right(const PermutedBlockProblem& problem, const void* q,
                                       const void* k, const std::vector<int32>& permutation,
                                       const std::vector<uint8>& mask);

/// The same for a gate over mean queries times mean keys, or over given scores (not empty).
testing::AssertionResult gate_is_right(const PermutedBlockProblem& problem, const void* q,
                                       const void* k, const reference::Gate& gate,
                                       const std::vector<float>& scores,
                                       const std::vector<uint8>& mask);

}  // namespace fattn::test
