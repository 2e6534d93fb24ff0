// Block selection on the CPU: which token goes to which slot, and which blocks a query block keeps;
// used by the CPU kernel of permuted block-sparse attention.
#pragma once

#include <cstddef>

#include "backend/status.h"
#include "core/permuted_block.h"
#include "cpu/kernels.h"

namespace fattn::cpu {

/// Made once a plan. Keeps references to both. Results do not depend on the number of threads.
class PermutedBlockSelect {
  public:
    PermutedBlockSelect(const PermutedBlockProblem& problem, const KernelTable& table)
        : problem_(problem), table_(table) {}

    /// Bytes of workspace of either function on num_threads threads.
    uint64 workspace(int num_threads) const;

    /// By importance and coverage.
    Status select(const PermutedBlockSelectArgs& args, int num_threads, const int32* cancel,
                  std::byte* workspace) const;
    /// By a gate over given scores, or over mean query times mean key.
    Status gate(const BlockGateArgs& args, int num_threads, const int32* cancel,
                std::byte* workspace) const;

  private:
    const PermutedBlockProblem& problem_;
    const KernelTable& table_;
};

}  // namespace fattn::cpu
