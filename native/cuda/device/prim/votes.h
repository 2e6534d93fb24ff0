// What lanes of a warp tell each other in bits; called by walks over tiles and by masks of pairs.
#pragma once

#include "core/types.h"

namespace fattn::prim {

/// vote.sync.ballot.b32: a bit for each lane of the warp in which x holds.
__device__ inline uint32 lanes_where(bool x) { return __ballot_sync(0xFFFFFFFFu, x); }

/// shfl.sync.idx.b32: the bits of lane from.
__device__ inline uint32 shuffle_bits(uint32 x, uint32 from) {
    uint32 result;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xFFFFFFFF;"
                 : "=r"(result)
                 : "r"(x), "r"(from));
    return result;
}

/// The number of the lowest bit that is set; x is not 0.
__device__ inline uint32 lowest_bit(uint32 x) {
    return static_cast<uint32>(__ffs(static_cast<int>(x)) - 1);
}

}  // namespace fattn::prim
