// Linear attention on the CPU: every pass as decayed sums over tokens; made by the CPU backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cpu/kernels.h"
#include "cpu/workspace.h"

namespace fattn::cpu {

/// Binds a validated problem to a target's kernels. table and pool outlive the kernel.
std::unique_ptr<LightningKernel> make_lightning_kernel(const LightningProblem& problem,
                                                       const KernelTable& table,
                                                       WorkspacePool& pool, int default_threads);

}  // namespace fattn::cpu
