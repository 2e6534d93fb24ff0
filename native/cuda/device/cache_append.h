// Copies new tokens of a cache to their pages; instantiated by cache_append.cu.
#pragma once

#include "core/types.h"
#include "cuda/device/cache_append_params.h"
#include "cuda/device/prim/lanes.h"

namespace fattn::cuda {

/// One row a warp, for elements of 2 or 4 bytes.
__device__ inline void append_rows(const CacheAppendParams& params) {
    const CacheAppend& append = params.append;
    const uint32 thread = prim::thread_idx();
    const int64 row = int64{prim::block_idx()} * (kCacheAppendThreads / prim::kWarpSize) +
                      thread / prim::kWarpSize;
    if (row >= append.num_rows()) return;
    const CacheAppend::Move move = append.move(row);
    if (!move.exists) return;
    const auto lane = narrow<int32>(thread % prim::kWarpSize);
    const int64 bytes = bits_of(append.tokens_layout.dtype) / 8;
    const uint8* const from = static_cast<const uint8*>(append.tokens) + move.from * bytes;
    uint8* const to = static_cast<uint8*>(append.pages) + move.to * bytes;
    const int64 width = append.tokens_layout.shape[3] * bytes;
    if (params.words) {
        for (int64 at = lane; at < width / 4; at += prim::kWarpSize) {
            reinterpret_cast<uint32*>(to)[at] = reinterpret_cast<const uint32*>(from)[at];
        }
    } else {
        for (int64 at = lane; at < width / 2; at += prim::kWarpSize) {
            reinterpret_cast<uint16*>(to)[at] = reinterpret_cast<const uint16*>(from)[at];
        }
    }
}

}  // namespace fattn::cuda
