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

// The place of a cluster's block in the grid, from its rank.
inline Dim3 block_of_rank(const Dim3& first, const Dim3& shape, uint32_t rank) {
    return {first.x + rank % shape.x, first.y + rank / shape.x % shape.y,
            first.z + rank / shape.x / shape.y};
}

void fill_specials(Warp& warp);

}  // namespace fattn::vgpu
