// Finished rows from the accumulators of warps to rows of global memory that need not follow each
// other; called by the gathered kernels and by that of linear attention.
//
// ToRows has exists(row), start<Element>(row) of a row that exists, and head_dim.
#pragma once

#include "core/types.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/score_blocks.h"
#include "cuda/device/store_rows.h"

namespace fattn::cuda {

/// Element by element, for rows that start anywhere. Every warp has 16 rows.
template <class Element, class ToRows, int kDimBlocks>
__device__ inline void store_listed_elements(const ToRows& rows, float (&r_o)[1][kDimBlocks][4],
                                             int32 warp_row, uint32 lane) {
    for_each_in_blocks(r_o, [&](float x, int, int d, int e) {
        const int32 row = warp_row + 8 * (e / 2) + narrow<int32>(lane / 4);
        const int32 column = 8 * d + narrow<int32>(lane % 4) * 2 + e % 2;
        if (column < rows.head_dim && rows.exists(row)) {
            rows.template start<Element>(row)[column] = stored_as(Element{}, x);
        }
    });
}

/// 16 bytes at a time, through the warp's own rows of a tile in shared memory, which nobody else
/// reads or writes. What a row has beyond whole chunks goes element by element.
template <class Element, class Tile, class ToRows, int kDimBlocks>
__device__ inline void store_listed_wide(const ToRows& rows, const float (&r_o)[1][kDimBlocks][4],
                                         uint32 s_tile, int32 warp_row, uint32 lane) {
    constexpr uint32 kPairBytes = 2 * sizeof(Element);
    constexpr uint32 kBlockBytes = 8 * sizeof(Element);
    prim::sync_warp();
#pragma unroll
    for (int d = 0; d < kDimBlocks; ++d) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const auto row = static_cast<uint32>(warp_row + 8 * half) + lane / 4;
            const uint32 byte = static_cast<uint32>(d) * kBlockBytes + lane % 4 * kPairBytes;
            store_pair(Element{}, s_tile + Tile::at(row, byte / 16) + byte % 16,
                       r_o[0][d][2 * half], r_o[0][d][2 * half + 1]);
        }
    }
    prim::sync_warp();
#pragma unroll 1
    for (int n = 0; n < 16 * Tile::kChunks / 32; ++n) {
        const int32 idx = narrow<int32>(lane) + n * 32;
        const int32 row = warp_row + idx / Tile::kChunks;
        const int32 chunk = idx % Tile::kChunks;
        const int32 num_elements = rows.head_dim - chunk * Tile::kChunkElements;
        if (num_elements <= 0 || !rows.exists(row)) continue;
        Element* g_to = rows.template start<Element>(row) + chunk * Tile::kChunkElements;
        const prim::Words words = prim::load_shared_16(
            s_tile + Tile::at(static_cast<uint32>(row), static_cast<uint32>(chunk)));
        if (num_elements >= Tile::kChunkElements) {
            prim::store_global_16(g_to, words);
        } else {
            store_words(g_to, words, num_elements);
        }
    }
}

}  // namespace fattn::cuda
