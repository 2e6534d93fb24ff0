// Appending tokens to a cache in device memory; called by the CUDA backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/runtime/kernel_store.h"

namespace fattn::cuda {

/// Only queues. The kernel is found at the first call.
Status append_on_device(const CacheAppend& append, const RunOptions& run,
                        const std::shared_ptr<const Device>& device, KernelStore* store);

}  // namespace fattn::cuda
