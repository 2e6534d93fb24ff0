// What the backward kernels of the softmax family have in common before they know a problem: the
// tile that each key works with, and what they need of a row; one table that host and device
// include.
#pragma once

#include "core/types.h"
#include "cuda/device/forward_tile.h"

namespace fattn::cuda {

/// Head dims that have backward kernels.
constexpr int32 kBackwardHeadDims[] = {64, 128, 256};

/// Whose gradients a key computes. A block owns rows of queries or of keys, and walks over the
/// other ones.
enum class Side : uint32 {
    kQueries = 0,  // d_q, or d_bias
    kKeys = 1      // d_k and d_v
};

/// Work of one block: rows of one side, 16 or 32 a warp, against tiles of columns of the other.
struct BackwardTile {
    int32 head_dim;
    int32 rows;
    int32 columns;
    int32 element_bytes;
    int32 num_sums;        // accumulators of head_dim numbers a row: 2 hold d_k and d_v at a time
    int32 min_blocks;      // that should share a multiprocessor, which bounds registers
    int32 row_blocks = 1;  // of 16 rows a warp
    int32 stages = 1;      // tiles of each tensor of columns that shared memory holds

    FATTN_HD constexpr int32 num_threads() const { return rows * 2 / row_blocks; }
    FATTN_HD constexpr int32 row_tile_bytes() const { return rows * head_dim * element_bytes; }
    FATTN_HD constexpr int32 column_tile_bytes() const {
        return columns * head_dim * element_bytes;
    }
    FATTN_HD constexpr int32 stage_bytes() const { return 2 * column_tile_bytes(); }
    FATTN_HD constexpr int32 num_terms() const {
        return rows > stages * columns ? rows : stages * columns;
    }
    /// Two tiles of rows and two of columns a stage, what each row sees, the terms of the queries'
    /// rows, and what the block's threads look up again and again.
    FATTN_HD constexpr int32 shared_bytes() const {
        return 2 * row_tile_bytes() + stages * stage_bytes() + rows * 8 + num_terms() * 8 +
               kBlockRecordBytes + 16;
    }
};

/// Tiles with 16 rows a warp and one stage. All fit the 99 KB that a block may have on every GPU
/// from sm_80 on.
FATTN_HD constexpr BackwardTile backward_tile(int32 element_bytes, int32 head_dim, Side side) {
    if (element_bytes == 4) {
        if (head_dim > 128) return {head_dim, 32, 16, 4, 1, 1};
        return {head_dim, 64, 32, 4, 1, 1};
    }
    if (head_dim > 128) return {head_dim, 64, 32, 2, 1, 1};
    return {head_dim, 64, 64, 2, side == Side::kKeys ? 2 : 1, 2};
}

/// The tile of a dense key: two stages, and 32 rows a warp where registers hold them, which halves
/// what is read from shared memory. They fit as well.
FATTN_HD constexpr BackwardTile dense_backward_tile(int32 element_bytes, int32 head_dim,
                                                    Side side) {
    if (element_bytes == 4 || head_dim > 128) return backward_tile(element_bytes, head_dim, side);
    if (side == Side::kQueries) return {head_dim, 128, head_dim > 64 ? 32 : 64, 2, 1, 2, 2, 2};
    if (head_dim > 64) return {head_dim, 64, 64, 2, 2, 2, 1, 2};
    return {head_dim, 128, 32, 2, 2, 2, 2, 2};
}

/// What the backward needs of a query's row besides its tensors.
struct RowTerms {
    float shift;  // of scores in base 2, so that 2^(score - shift) is the weight; +inf: no weights
    float delta;  // sum of o * d_o, minus d_lse
};

/// Rows of a tensor that start at multiples of 16 bytes and can be moved 16 bytes at a time.
struct WideGradients {
    bool q;
    bool k;
    bool v;
    bool d_o;
    bool d_q;
    bool d_k;
    bool d_v;
};

}  // namespace fattn::cuda
