// A dense problem bound to its kernels on a GPU; made by the CUDA backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/host/kernel_resources.h"

namespace fattn::cuda {

/// Loads the kernels that runs of the problem may choose.
Status make_dense_kernel(const DenseProblem& problem, std::shared_ptr<const Device> device,
                         const KernelResources& resources, std::unique_ptr<DenseKernel>* kernel);

}  // namespace fattn::cuda
