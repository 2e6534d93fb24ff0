// Dense attention bound to one kernel table: cuts a problem into tasks and runs them; made by the
// CPU backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cpu/kernels.h"
#include "cpu/workspace.h"

namespace fattn::cpu {

/// pool outlives the kernel; default_threads serves runs with max_threads 0.
std::unique_ptr<DenseKernel> make_dense_kernel(const DenseProblem& problem,
                                               const KernelTable& kernels, WorkspacePool& pool,
                                               int default_threads);

}  // namespace fattn::cpu
