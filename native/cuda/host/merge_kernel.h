// Merging partial results on a GPU; called by the CUDA backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/runtime/kernel_store.h"

namespace fattn::cuda {

/// Loads the kernel, if it is not there yet, and enqueues it.
Status merge_on_device(const MergeProblem& problem, const RunOptions& run,
                       const std::shared_ptr<const Device>& device, KernelStore* store);

}  // namespace fattn::cuda
