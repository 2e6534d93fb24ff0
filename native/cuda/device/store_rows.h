// Finished output rows from the accumulators of warps to global memory; called by the softmax
// kernels.
#pragma once

#include "core/convert.h"
#include "core/types.h"
#include "cuda/device/prim/arithmetic.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/score_blocks.h"

namespace fattn::cuda {

/// Where the rows of a query tile go.
struct OutputRows {
    void* base;
    int64 first_element;  // of the tile's row 0
    int64 row_elements;   // from one row to the next
    int32 num_rows;       // of the tile that exist
    int32 head_dim;
};

__device__ inline float stored_as(float, float x) { return x; }
__device__ inline f16 stored_as(f16, float x) { return to_f16(x); }
__device__ inline bf16 stored_as(bf16, float x) { return to_bf16(x); }

/// One number of a tensor.
__device__ inline void store_number(DType dtype, void* data, int64 at, float x) {
    if (dtype == DType::kF32) {
        static_cast<float*>(data)[at] = x;
    } else if (dtype == DType::kF16) {
        static_cast<f16*>(data)[at] = to_f16(x);
    } else {
        static_cast<bf16*>(data)[at] = to_bf16(x);
    }
}

/// Element by element, for rows that start anywhere.
template <class Element, int kRowBlocks, int kDimBlocks>
__device__ inline void store_elements(const OutputRows& rows,
                                      float (&r_o)[kRowBlocks][kDimBlocks][4], int32 warp_row,
                                      uint32 lane) {
    auto* g_o = static_cast<Element*>(rows.base) + rows.first_element;
    for_each_in_blocks(r_o, [&](float x, int m, int d, int e) {
        const int32 row = warp_row + 16 * m + 8 * (e / 2) + narrow<int32>(lane / 4);
        const int32 column = 8 * d + narrow<int32>(lane % 4) * 2 + e % 2;
        if (row < rows.num_rows && column < rows.head_dim) {
            g_o[row * rows.row_elements + column] = stored_as(Element{}, x);
        }
    });
}

__device__ inline void store_pair(float, uint32 s_to, float low, float high) {
    prim::store_shared_8(s_to, bits_of_float(low), bits_of_float(high));
}
__device__ inline void store_pair(f16, uint32 s_to, float low, float high) {
    prim::store_shared(s_to, prim::pack(f16{}, low, high));
}
__device__ inline void store_pair(bf16, uint32 s_to, float low, float high) {
    prim::store_shared(s_to, prim::pack(bf16{}, low, high));
}

/// The first elements of 16 bytes.
template <class Element>
__device__ inline void store_words(Element* g_to, const prim::Words& words, int32 num_elements) {
    const uint32 word[4] = {words.x, words.y, words.z, words.w};
    constexpr int kBits = 8 * sizeof(Element);
#pragma unroll
    for (int n = 0; n < 128 / kBits; ++n) {
        if (n >= num_elements) continue;
        const uint32 bits = word[n * kBits / 32] >> (n * kBits % 32);
        if constexpr (kBits == 32) {
            g_to[n] = float_of_bits(bits);
        } else {
            g_to[n] = Element{static_cast<uint16>(bits)};
        }
    }
}

/// 16 bytes at a time, through the warp's own rows of a tile in shared memory, which nobody else
/// reads or writes. What a row has beyond whole chunks goes element by element.
template <class Element, class Tile, int kRowBlocks, int kDimBlocks>
__device__ inline void store_wide(const OutputRows& rows,
                                  const float (&r_o)[kRowBlocks][kDimBlocks][4], uint32 s_tile,
                                  int32 warp_row, uint32 lane) {
    constexpr int kPairBytes = 2 * sizeof(Element);
    constexpr int kBlockBytes = 8 * sizeof(Element);
    prim::sync_warp();
#pragma unroll
    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
        for (int d = 0; d < kDimBlocks; ++d) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const auto row = static_cast<uint32>(warp_row + 16 * m + 8 * half) + lane / 4;
                const uint32 byte = static_cast<uint32>(d * kBlockBytes) + lane % 4 * kPairBytes;
                store_pair(Element{}, s_tile + Tile::at(row, byte / 16) + byte % 16,
                           r_o[m][d][2 * half], r_o[m][d][2 * half + 1]);
            }
        }
    }
    prim::sync_warp();
    constexpr int kRows = 16 * kRowBlocks;
    auto* g_o = static_cast<Element*>(rows.base) + rows.first_element;
#pragma unroll
    for (int n = 0; n < kRows * Tile::kChunks / 32; ++n) {
        const int32 idx = narrow<int32>(lane) + n * 32;
        const int32 row = warp_row + idx / Tile::kChunks;
        const int32 chunk = idx % Tile::kChunks;
        const int32 num_elements = rows.head_dim - chunk * Tile::kChunkElements;
        if (row >= rows.num_rows || num_elements <= 0) continue;
        const uint32 s_from =
            s_tile + Tile::at(static_cast<uint32>(row), static_cast<uint32>(chunk));
        Element* g_to = g_o + row * rows.row_elements + chunk * Tile::kChunkElements;
        const prim::Words words = prim::load_shared_16(s_from);
        if (num_elements >= Tile::kChunkElements) {
            prim::store_global_16(g_to, words);
        } else {
            store_words(g_to, words, num_elements);
        }
    }
}

}  // namespace fattn::cuda
