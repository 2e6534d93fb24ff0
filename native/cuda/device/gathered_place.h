// Which rows of a problem a block of a gathered launch has; asked by the gathered kernels and by
// the ones that bring such blocks into an order.
#pragma once

#include "core/head_map.h"
#include "core/problem.h"
#include "core/types.h"
#include "cuda/device/gathered_params.h"
#include "cuda/device/prim/lanes.h"

namespace fattn::cuda {

/// A tile of rows of some heads, which are query heads, or key and value heads where rows are keys.
struct LaunchPlace {
    int32 tile;
    int32 group;
    int32 entry;
};

/// Which block of the numbering this one is.
__device__ inline uint32 ordered_block(const uint32* row_order) {
    const uint32 idx = prim::block_idx();
    return row_order == nullptr ? idx : row_order[idx];
}

/// Blocks are numbered tile first, then heads, then entries.
__device__ inline LaunchPlace launch_place(const RowNumbers& rows, bool last_tile_first,
                                           uint32 idx) {
    const auto num_tiles = narrow<uint32>(rows.num_tiles);
    const auto num_groups = narrow<uint32>(rows.num_groups);
    const auto tile = narrow<int32>(idx % num_tiles);
    idx /= num_tiles;
    return {last_tile_first ? rows.num_tiles - 1 - tile : tile, narrow<int32>(idx % num_groups),
            narrow<int32>(idx / num_groups)};
}

/// What a block of keys computes, and from which query heads.
struct KeyHeads {
    int32 head;  // of keys or values
    int32 first_q_head;
    int32 end_q_head;
    bool of_k;  // a head of keys, with the values of that head where a block has both sums
};

__device__ inline KeyHeads key_heads(const DenseProblem& problem, const KeyGroups& groups,
                                     int32 group) {
    const bool of_k = groups.both_sums || group < groups.num_k_blocks;
    const int32 head = of_k ? group : group - groups.num_k_blocks;
    const int64 heads = of_k ? problem.num_k_heads : problem.num_v_heads;
    return {head, narrow<int32>(first_q_head_of(head, heads, problem.num_q_heads)),
            narrow<int32>(first_q_head_of(head + 1, heads, problem.num_q_heads)), of_k};
}

}  // namespace fattn::cuda
