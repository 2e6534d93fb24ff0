// The checks of permuted block-sparse attention: problems when a plan is made, data and index
// contents when it runs; called by permuted_block.cpp.
#pragma once

#include "api/dense_check.h"
#include "core/permuted_block.h"

namespace fattn::api {

struct CheckedPermutedBlock {
    CheckedDense dense;  // the tensors alone
    PermutedBlockProblem problem{};

    uint32 alignment() const { return dense.pointer_alignment; }
};

/// Checks a problem for a CPU device and resolves every default.
Status check_permuted_block_problem(const fattn_permuted_block_problem& given,
                                    CheckedPermutedBlock* out);

/// A selection that a run brings: permutations inside segments, equal for heads that share. Either
/// may be null. O(B Hq (Lk + nQ nK)).
Status check_selection(const PermutedBlockProblem& problem, const int32* permutation,
                       const uint8* block_mask);

/// Check pointers and index contents, and copy the data of a run. Nothing has been written when
/// they fail. The caller adds its workspace to memory and then checks overlaps.
Status check_permuted_block_select(const CheckedPermutedBlock& plan,
                                   const fattn_permuted_block_select_args& given,
                                   RunMemoryChecker* memory, PermutedBlockSelectArgs* out);
Status check_permuted_block_gate(const CheckedPermutedBlock& plan,
                                 const fattn_permuted_block_gate_args& given,
                                 RunMemoryChecker* memory, BlockGateArgs* out);
Status check_permuted_block_forward(const CheckedPermutedBlock& plan,
                                    const fattn_permuted_block_forward_args& given,
                                    RunMemoryChecker* memory, PermutedBlockForwardArgs* out);
Status check_permuted_block_backward(const CheckedPermutedBlock& plan,
                                     const fattn_permuted_block_backward_args& given,
                                     RunMemoryChecker* memory, PermutedBlockBackwardArgs* out);

}  // namespace fattn::api
