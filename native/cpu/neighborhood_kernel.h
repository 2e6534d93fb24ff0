// Neighborhood attention on the CPU: boxes gathered for the gathered loops; made by the CPU backend
// for api/.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cpu/kernels.h"
#include "cpu/workspace.h"

namespace fattn::cpu {

/// Binds a validated problem to a target's kernels. table, pool and the arrays of the schedules
/// outlive the kernel.
std::unique_ptr<NeighborhoodKernel> make_neighborhood_kernel(const NeighborhoodProblem& problem,
                                                             const NeighborhoodSchedules& schedules,
                                                             const KernelTable& table,
                                                             WorkspacePool& pool,
                                                             int default_threads);

}  // namespace fattn::cpu
