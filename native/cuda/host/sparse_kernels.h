// Kernels of the sparse families on a GPU; made by the CUDA backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/host/kernel_resources.h"

namespace fattn::cuda {

/// Not ok with the reason when no kernel computes the problem.
Status supports_s2(const S2Problem& problem);
Status supports_neighborhood(const NeighborhoodProblem& problem);
Status supports_permuted_block(const PermutedBlockProblem& problem);

/// Rows and keys of the tiles that neighborhoods of these tensors are gathered in.
GatherTiles gather_tiles_of(const DenseProblem& problem);

// Each loads the kernels that runs of the problem may choose.
Status make_s2_kernel(const S2Problem& problem, std::shared_ptr<const Device> device,
                      const KernelResources& resources, std::unique_ptr<DenseKernel>* kernel);
Status make_neighborhood_kernel(const NeighborhoodProblem& problem,
                                const NeighborhoodSchedules& schedules,
                                std::shared_ptr<const Device> device,
                                const KernelResources& resources,
                                std::unique_ptr<NeighborhoodKernel>* kernel);
Status make_permuted_block_kernel(const PermutedBlockProblem& problem,
                                  std::shared_ptr<const Device> device,
                                  const KernelResources& resources,
                                  std::unique_ptr<PermutedBlockKernel>* kernel);

}  // namespace fattn::cuda
