// S2 attention on the CPU: the gathered loops over the lists of its pattern; made by the CPU
// backend for api/.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cpu/kernels.h"
#include "cpu/workspace.h"

namespace fattn::cpu {

/// Binds a validated problem to a target's kernels. table and pool outlive the kernel.
std::unique_ptr<DenseKernel> make_s2_kernel(const S2Problem& problem, const KernelTable& table,
                                            WorkspacePool& pool, int default_threads);

}  // namespace fattn::cpu
