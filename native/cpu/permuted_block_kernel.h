// Permuted block-sparse attention on the CPU: selections, and runs through the gathered loops; made
// by the CPU backend for api/.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cpu/kernels.h"
#include "cpu/workspace.h"

namespace fattn::cpu {

/// Binds a validated problem to a target's kernels. table and pool outlive the kernel.
std::unique_ptr<PermutedBlockKernel> make_permuted_block_kernel(const PermutedBlockProblem& problem,
                                                                const KernelTable& table,
                                                                WorkspacePool& pool,
                                                                int default_threads);

}  // namespace fattn::cpu
