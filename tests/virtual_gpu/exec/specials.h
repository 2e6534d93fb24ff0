// Values of special registers that a thread keeps for its life. Used by warps when they start, and
// by reports.
#pragma once

#include <cstdint>

#include "gpu/fault.h"

namespace fattn::vgpu {

class Warp;

// The place of a thread in its block, from its number.
inline Dim3 thread_position(const Dim3& block, uint32_t thread) {
    return {thread % block.x, thread / block.x % block.y, thread / block.x / block.y};
}

void fill_specials(Warp& warp);

}  // namespace fattn::vgpu
