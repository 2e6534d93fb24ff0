// Dense attention on the CPU: cuts a problem into tasks, runs them on the pool; made by the CPU
// backend for api/.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cpu/kernels.h"
#include "cpu/workspace.h"

namespace fattn::cpu {

/// Binds a validated problem to a target's kernels. table and pool outlive the kernel.
std::unique_ptr<DenseKernel> make_dense_kernel(const DenseProblem& problem,
                                               const KernelTable& table, WorkspacePool& pool,
                                               int default_threads);

}  // namespace fattn::cpu
