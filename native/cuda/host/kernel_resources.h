// What kernels of all families take of the CUDA backend that makes them.
#pragma once

#include "cuda/runtime/kernel_store.h"
#include "cuda/runtime/workspace_pool.h"

namespace fattn::cuda {

/// Parts of the backend, which outlives its kernels.
struct KernelResources {
    KernelStore* store;
    WorkspacePool* pool;  // where runs that bring no workspace find theirs
};

}  // namespace fattn::cuda
