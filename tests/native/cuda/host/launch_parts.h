// What the tests of dense launches share; nothing here is run on a device.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace fattn::cuda {

/// Shared memory that a block may have on every GPU the kernels are for.
constexpr int64 kSharedBytesOfEveryGpu = 99 * 1024;

/// An address that is only looked at.
inline void* address(std::uintptr_t at) { return reinterpret_cast<void*>(at); }

}  // namespace fattn::cuda
