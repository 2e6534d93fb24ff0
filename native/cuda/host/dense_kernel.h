// A dense problem bound to its kernels on a GPU; made by the CUDA backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/runtime/kernel_store.h"
#include "cuda/runtime/workspace_pool.h"

namespace fattn::cuda {

/// What kernels take of the backend that made them, which outlives them.
struct KernelResources {
    KernelStore* store;
    WorkspacePool* pool;  // where runs that bring no workspace find theirs
};

/// Loads the kernels that runs of the problem may choose.
Status make_dense_kernel(const DenseProblem& problem, std::shared_ptr<const Device> device,
                         const KernelResources& resources, std::unique_ptr<DenseKernel>* kernel);

}  // namespace fattn::cuda
