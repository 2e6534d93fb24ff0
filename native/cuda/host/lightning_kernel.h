// Linear attention on a GPU; made by the CUDA backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/host/kernel_resources.h"

namespace fattn::cuda {

/// Loads the kernel of the problem.
Status make_lightning_kernel(const LightningProblem& problem, std::shared_ptr<const Device> device,
                             const KernelResources& resources,
                             std::unique_ptr<LightningKernel>* kernel);

}  // namespace fattn::cuda
