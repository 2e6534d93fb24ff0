// What the host hands to a dense forward kernel: a plain struct that both sides include.
#pragma once

#include "core/problem.h"
#include "core/softmax_state.h"
#include "core/types.h"
#include "cuda/device/forward_tile.h"

namespace fattn::cuda {

struct SoftmaxForwardParams {
    DenseProblem problem;
    DenseForwardArgs args;
    TokenBytes token_bytes;
    int32 num_tiles;  // of queries in the longest sequence
    WideRows wide;
    bool last_tile_first;  // later queries see more keys, and the longest work starts first
    // Where the keys of a row are split among blocks, each part leaves an output and a state of its
    // own, which dense_forward_merge joins: blocks of part 0 come first, and its rows.
    int32 num_splits;             // 1: not split
    uint32 blocks_of_split;       // blocks of one part
    int64 split_rows;             // rows of one part
    SoftmaxState<float>* states;  // of parts; null: not split, or sigmoid weights
};

}  // namespace fattn::cuda
