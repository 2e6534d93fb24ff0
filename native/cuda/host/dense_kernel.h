// A dense problem bound to its kernels on a GPU; made by the CUDA backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/runtime/kernel_store.h"

namespace fattn::cuda {

/// Loads the kernels that runs of the problem may choose; the store outlives the kernel.
Status make_dense_kernel(const DenseProblem& problem, std::shared_ptr<const Device> device,
                         KernelStore* store, std::unique_ptr<DenseKernel>* kernel);

}  // namespace fattn::cuda
