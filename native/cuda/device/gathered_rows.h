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

/// The same for rows that all exist, fill a tile's rows and start at multiples of 16 bytes:
/// token_of(row) tells which row of a head it is.
template <class Tile, int kRows, int kThreads, class TokenOf>
__device__ inline void load_whole_listed_rows(uint32 s_tile, const uint8* base, int64 token_bytes,
                                              const TokenOf& token_of) {
    using Share = CopyShare<Tile, kThreads>;
    static_assert(kRows % Share::kRowStep == 0, "every thread must copy as many rows");
    constexpr int kOwnRows = kRows / Share::kRowStep;
    const Share share;
    // All are asked for before the first has to be there.
    int32 tokens[kOwnRows];
#pragma unroll
    for (int n = 0; n < kOwnRows; ++n) tokens[n] = token_of(share.row + n * Share::kRowStep);
    const uint32 s_to =
        s_tile + Tile::at(static_cast<uint32>(share.row), static_cast<uint32>(share.chunk));
#pragma unroll
    for (int n = 0; n < kOwnRows; ++n) {
        const uint8* g_row = base + tokens[n] * token_bytes + share.chunk * 16;
        // Neither exchanges chunks: a step of rows is a multiple of 8, one of chunks too.
#pragma unroll
        for (int c = 0; c < Tile::kChunks; c += Share::kLanes) {
            prim::copy_async_16(s_to + n * Share::kRowStep * Tile::kRowBytes + c * 16,
                                g_row + c * 16);
        }
    }
}

}  // namespace fattn::cuda
