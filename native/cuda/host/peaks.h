// What a GPU reaches at most, measured; called by the CUDA backend.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/runtime/kernel_store.h"

namespace fattn::cuda {

/// In 1e9 operations or bytes a second, over launches that last so many seconds together. Waits.
Status measure_peak(Peak peak, double seconds, const std::shared_ptr<const Device>& device,
                    KernelStore* store, double* result);

}  // namespace fattn::cuda
