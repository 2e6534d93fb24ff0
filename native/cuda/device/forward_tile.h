// What the forward kernels of the softmax family have in common before they know a problem: the
// tile that each key works with, and how rows lie; one table that host and device include.
#pragma once

#include "core/types.h"

namespace fattn::cuda {

/// What a key can do: everything a problem may ask for, or the common case at full speed.
enum class Features : uint32 {
    kGeneral = 0,  // every feature, as switches that are the same for a whole run
    kLean = 1      // scale above 0; causal, windows, chunks, sinks, sequences; 16-byte rows
};

/// Head dims that have kernels. A problem takes the first that holds both of its head dims; the
/// rest of a row is filled with zeros.
constexpr int32 kHeadDims[] = {32, 64, 96, 128, 192, 256};
constexpr int32 kMostHeadDim = 256;

constexpr int32 kBlockRecordBytes = 64;

/// Work of one block: tile_q queries of a head against tiles of tile_kv keys, 16 or 32 queries a
/// warp.
struct ForwardTile {
    int32 head_dim;
    int32 tile_q;
    int32 tile_kv;
    int32 num_warps;
    int32 element_bytes;
    int32 min_blocks;  // that should share a multiprocessor, which bounds registers

    FATTN_HD constexpr int32 num_threads() const { return num_warps * 32; }
    FATTN_HD constexpr int32 q_bytes() const { return tile_q * head_dim * element_bytes; }
    FATTN_HD constexpr int32 kv_bytes() const { return tile_kv * head_dim * element_bytes; }
    /// Queries, whose place the output takes, keys, values, the keys that each query sees, and what
    /// the block's threads look up again and again.
    FATTN_HD constexpr int32 shared_bytes() const {
        return q_bytes() + 2 * kv_bytes() + tile_q * 8 + kBlockRecordBytes;
    }
};

/// All fit the 99 KB that a block may have on every GPU from sm_80 on.
FATTN_HD constexpr ForwardTile forward_tile(int32 element_bytes, int32 head_dim,
                                            Features features) {
    if (element_bytes == 4) {
        if (head_dim <= 128) return {head_dim, 64, 64, 4, 4, 1};
        return {head_dim, 32, head_dim > 192 ? 16 : 32, 2, 4, 1};
    }
    if (features == Features::kGeneral) return {head_dim, 64, head_dim > 192 ? 32 : 64, 4, 2, 1};
    if (head_dim > 128) return {head_dim, 64, 64, 4, 2, 2};
    return {head_dim, 128, 64, 4, 2, head_dim > 64 ? 2 : 3};
}

/// Rows of a tensor that start at multiples of 16 bytes and can be moved 16 bytes at a time.
struct WideRows {
    bool q;
    bool k;
    bool v;
    bool o;
};

/// Bytes from one token of a head to the next.
struct TokenBytes {
    int64 q;
    int64 k;
    int64 v;
};

}  // namespace fattn::cuda
