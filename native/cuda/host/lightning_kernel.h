// Linear attention on a GPU; made by the CUDA backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/runtime/kernel_store.h"

namespace fattn::cuda {

/// Loads the kernel of the problem; the store outlives it.
Status make_lightning_kernel(const LightningProblem& problem, std::shared_ptr<const Device> device,
                             KernelStore* store, std::unique_ptr<LightningKernel>* kernel);

}  // namespace fattn::cuda
