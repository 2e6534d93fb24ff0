// What the host hands to the kernels that bring the blocks of a gathered launch into an order:
// plain structs that both sides include.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cuda/device/gathered_params.h"

namespace fattn::cuda {

constexpr uint32 kRowOrderThreads = 128;
/// Blocks that are ordered among themselves: consecutive ones, which share heads. More would leave
/// the keys of more heads in the cache at a time. A multiple of the threads and of 4.
constexpr uint32 kRowOrderSpan = 4096;

/// A launch over permuted blocks.
struct RowOrderParams {
    DenseProblem problem;
    PermutedBlocks blocks;
    int32 first_position;  // of query 0, counted from key 0
    RowNumbers rows;
    KeyGroups groups;
    Side side;  // whose rows blocks have
    bool last_tile_first;
    uint32 num_blocks;  // of the launch
    uint32* counts;     // [num_blocks] blocks of the mask that a block of the launch keeps
    uint32* order;      // [num_blocks] which block of the launch is which, those with most first
};

}  // namespace fattn::cuda
