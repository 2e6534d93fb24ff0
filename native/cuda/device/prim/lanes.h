// Where a thread stands in its block and grid, and the barriers of warps and blocks; called by
// every kernel.
#pragma once

#include "core/types.h"

namespace fattn::prim {

constexpr uint32 kWarpSize = 32;

/// mov of %tid.x and %ctaid.x. Every call reads them: what is found from them again is not kept in
/// registers since the last time.
__device__ inline uint32 thread_idx() {
    uint32 x;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
    return x;
}
__device__ inline uint32 block_idx() {
    uint32 x;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(x));
    return x;
}

/// bar.sync 0: every thread of the block arrives, and sees what the others wrote before.
__device__ inline void sync_block() { asm volatile("bar.sync 0;" ::: "memory"); }

/// bar.red.or.pred 0: a barrier of the block that tells every thread whether x holds in any.
__device__ inline bool sync_block_any(bool x) { return __syncthreads_or(x ? 1 : 0) != 0; }

/// bar.warp.sync: as sync_block() among the lanes of a warp.
__device__ inline void sync_warp() { asm volatile("bar.warp.sync 0xFFFFFFFF;" ::: "memory"); }

/// vote.sync.any.pred: whether x holds in any lane of the warp.
__device__ inline bool any_lane(bool x) { return __any_sync(0xFFFFFFFFu, x) != 0; }

/// shfl.sync.bfly.b32: the value of the lane whose number differs in the bits of lane_mask.
__device__ inline float shuffle_xor(float x, uint32 lane_mask) {
    float result;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xFFFFFFFF;"
                 : "=f"(result)
                 : "f"(x), "r"(lane_mask));
    return result;
}

/// shfl.sync.idx.b32: the value of lane from.
__device__ inline float shuffle(float x, uint32 from) {
    float result;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xFFFFFFFF;"
                 : "=f"(result)
                 : "f"(x), "r"(from));
    return result;
}

}  // namespace fattn::prim
