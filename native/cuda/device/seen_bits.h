// Which pairs of a tile are visible, as the lanes of a warp hold them; called by the gathered
// kernels for tiles that are not full.
#pragma once

#include "core/types.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/votes.h"

namespace fattn::cuda {

/// What a lane's two rows of a block of 16 see of a tile, from the bits that the lanes of a warp
/// drew.
struct SeenBits {
    uint32 word[2][2];  // [half of the rows][half of the columns], from the lane's first column on

    /// Every lane draws 32 columns for one of 16 rows from the first one on.
    template <class Tiles>
    __device__ SeenBits(const Tiles& tiles, uint32 first_row, int32 tile, uint32 buffer) {
        const uint32 lane = prim::thread_idx() % prim::kWarpSize;
        const uint32 drawn =
            tiles.seen(narrow<int32>(first_row + lane / 2), tile, lane % 2, buffer);
#pragma unroll
        for (uint32 half = 0; half < 2; ++half) {
#pragma unroll
            for (uint32 n = 0; n < 2; ++n) {
                word[half][n] =
                    prim::shuffle_bits(drawn, (lane / 4 + 8 * half) * 2 + n) >> lane % 4 * 2;
            }
        }
    }
    /// The e-th number of the n-th block, as a lane holds it.
    __device__ bool sees(int n, int e) const {
        return (word[e / 2][n / 4] >> (n % 4 * 8 + e % 2) & 1) != 0;
    }
};

}  // namespace fattn::cuda
