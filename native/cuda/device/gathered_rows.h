// Rows of a tensor that a list names, between global and shared memory; called by the gathered
// kernels.
#pragma once

#include "core/types.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

/// Where a row of a tile comes from or goes to.
struct ListedRow {
    const uint8* start;  // of any row of the tensor where the row does not exist
    bool exists;
};

/// Starts the copy of kRows rows by all threads of the block; those that do not exist become 0.
/// find_row(row) gives a ListedRow. wide: all rows start at multiples of 16 bytes.
template <class Element, class Tile, int kRows, int kThreads, class FindRow>
__device__ inline void load_listed_rows(uint32 s_tile, int32 row_bytes, bool wide,
                                        const FindRow& find_row) {
    using Share = CopyShare<Tile, kThreads>;
    const Share share;
#pragma unroll 1
    for (int r = 0; r < kRows; r += Share::kRowStep) {
        const ListedRow row = find_row(share.row + r);
        const uint32 s_row =
            s_tile + Tile::at(static_cast<uint32>(share.row + r), static_cast<uint32>(share.chunk));
        const int32 left = row.exists ? row_bytes - share.chunk * 16 : 0;
        const uint8* g_row = row.start + share.chunk * 16;
#pragma unroll
        for (int c = 0; c < Tile::kChunks; c += Share::kLanes) {
            // Chunks are exchanged inside groups of as many as the step.
            const uint32 s_to = s_row + c * 16;
            const int32 num_bytes = clamp_to(left - c * 16, 0, 16);
            if (wide) {
                prim::copy_async_16(s_to, num_bytes > 0 ? g_row + c * 16 : row.start, num_bytes);
            } else {
                prim::store_shared_16(s_to, load_narrow<Element>(g_row + c * 16, num_bytes));
            }
        }
    }
}

}  // namespace fattn::cuda
