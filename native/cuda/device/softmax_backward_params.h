// What the host hands to the dense backward kernels and the small ones around them: plain structs
// that both sides include.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cuda/device/backward_tile.h"

namespace fattn::cuda {

/// Bytes from one token of a head to the next.
struct BackwardTokenBytes {
    int64 q;
    int64 k;
    int64 v;
    int64 d_o;
};

struct SoftmaxBackwardParams {
    DenseProblem problem;
    DenseBackwardArgs args;
    const RowTerms* terms;  // [B, Hq, Lq]; varlen: [Hq, total_q]; null with sigmoid weights
    BackwardTokenBytes token_bytes;
    int32 num_tiles;     // of rows in the longest sequence
    int32 num_heads;     // of blocks: query heads, or see num_k_blocks
    int32 num_k_blocks;  // key side: heads below this compute d_k of key head `head`, others d_v of
                         // value head `head - num_k_blocks`
    bool both_sums;      // key side: every head computes d_k and d_v of that head instead
    bool bias_gradient;  // query side: d_bias instead of d_q; blocks are tiles of keys, then of
                         // queries, then heads and batch entries of d_bias
    int32 num_kv_tiles;  // of keys, for d_bias
    WideGradients wide;
    bool simple;           // softmax without soft-cap, bias, ALiBi, mask and dropout
    bool last_tile_first;  // later queries see more keys, and the longest work starts first
};

/// What the small kernels around the gradients take: terms of rows, d_sink_logits, zeros.
struct BackwardRowsParams {
    DenseProblem problem;
    DenseBackwardArgs args;
    RowTerms* terms;
};

/// Two tensors of one shape, the second of which takes the numbers of the first in its own type.
struct ConvertRowsParams {
    TensorLayout from;
    const void* data;
    TensorLayout to;
    void* result;
};

/// A gradient whose rows all become 0.
struct ZeroRowsParams {
    TensorLayout layout;
    void* data;
};

}  // namespace fattn::cuda
