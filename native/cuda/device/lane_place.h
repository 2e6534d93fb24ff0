// Which elements of a score or output tile belong to a lane; asked by the softmax kernels, which
// find it again where they need it rather than keep it in registers.
#pragma once

#include "core/types.h"
#include "cuda/device/prim/lanes.h"

namespace fattn::cuda {

/// Every warp has kRowBlocks blocks of 16 rows.
template <int kRowBlocks>
struct LanePlace {
    uint32 lane;
    uint32 warp_row;  // first row of the warp

    __device__ LanePlace() {
        const uint32 thread = prim::thread_idx();
        lane = thread % prim::kWarpSize;
        warp_row = thread / prim::kWarpSize * (16 * kRowBlocks);
    }
    /// Row of the tile: half 0 or 1 of the m-th block.
    __device__ int32 row(int m, int half) const {
        return narrow<int32>(warp_row + lane / 4) + 16 * m + 8 * half;
    }
    /// Column of the tile: the e-th number of the n-th block.
    __device__ int32 column(int n, int e) const {
        return 8 * n + narrow<int32>(lane % 4) * 2 + e % 2;
    }
};

}  // namespace fattn::cuda
