// Page-locked host memory with guards around it. Called by the allocation functions.
#pragma once

#include <string>

#include "driver/driver.h"

namespace fattn::vgpu::driver {

// A block of host memory between two pages that nobody may touch; what is left of its last page
// holds a pattern.
Allocation& map_pinned(Driver& state, Context& context, uint64_t bytes, unsigned flags,
                       const char* function);

// A sentence about the first byte behind the block that somebody has overwritten, or nothing.
std::string overwritten_behind(const Allocation& allocation);

void unmap_pinned(const Allocation& allocation);

}  // namespace fattn::vgpu::driver
