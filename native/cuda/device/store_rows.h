// Finished rows from the accumulators of warps to global memory; called by the softmax kernels and
// by that of linear attention.
//
// ToRows says where rows go: exists(row), start<Element>(row) of a row that exists, head_dim, and
// kAtOnce, how many pieces of rows a lane should look up before it stores the first.
#pragma once

#include "core/convert.h"
#include "core/types.h"
#include "cuda/device/prim/arithmetic.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/score_blocks.h"

namespace fattn::cuda {

/// Rows that follow each other.
struct OutputRows {
    static constexpr int kAtOnce = 4;

    void* base;
    int64 first_element;  // of the tile's row 0
    int64 row_elements;   // from one row to the next
    int32 num_rows;       // of the tile that exist
    int32 head_dim;

    __device__ bool exists(int32 row) const { return row < num_rows; }
    template <class Element>
    __device__ Element* start(int32 row) const {
        return static_cast<Element*>(base) + first_element + row * row_elements;
    }
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
template <class Element, class ToRows, int kRowBlocks, int kDimBlocks>
__device__ inline void store_elements(const ToRows& rows, float (&r_o)[kRowBlocks][kDimBlocks][4],
                                      int32 warp_row, uint32 lane) {
    for_each_in_turn(r_o, [&](float x, int m, int d, int e) {
        const int32 row = warp_row + 16 * m + 8 * (e / 2) + narrow<int32>(lane / 4);
        const int32 column = 8 * d + narrow<int32>(lane % 4) * 2 + e % 2;
        if (column < rows.head_dim && rows.exists(row)) {
            rows.template start<Element>(row)[column] = stored_as(Element{}, x);
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
template <class Element, class Tile, class ToRows, int kRowBlocks, int kDimBlocks>
__device__ inline void store_wide(const ToRows& rows, const float (&r_o)[kRowBlocks][kDimBlocks][4],
                                  uint32 s_tile, int32 warp_row, uint32 lane) {
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
    const int32 whole_chunks = rows.head_dim / Tile::kChunkElements;
#pragma unroll ToRows::kAtOnce
    for (int n = 0; n < kRows * Tile::kChunks / 32; ++n) {
        const int32 idx = narrow<int32>(lane) + n * 32;
        const int32 row = warp_row + idx / Tile::kChunks;
        const int32 chunk = idx % Tile::kChunks;
        if (chunk >= whole_chunks || !rows.exists(row)) continue;
        prim::store_global_16(rows.template start<Element>(row) + chunk * Tile::kChunkElements,
                              prim::load_shared_16(s_tile + Tile::at(static_cast<uint32>(row),
                                                                     static_cast<uint32>(chunk))));
    }
    const int32 rest = rows.head_dim % Tile::kChunkElements;
    const int32 row = warp_row + narrow<int32>(lane);
    if (rest == 0 || lane >= kRows || !rows.exists(row)) return;
    store_words(rows.template start<Element>(row) + whole_chunks * Tile::kChunkElements,
                prim::load_shared_16(
                    s_tile + Tile::at(static_cast<uint32>(row), static_cast<uint32>(whole_chunks))),
                rest);
}

}  // namespace fattn::cuda
