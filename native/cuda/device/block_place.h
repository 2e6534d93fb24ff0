// Which part of a problem a block computes, with lengths that are safe to use; called by the
// softmax kernels.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cuda/device/prim/lanes.h"

namespace fattn::cuda {

/// Lengths and starts read from device memory, brought inside the tensors: wrong ones give wrong
/// results, and no access outside.
__device__ inline Sequence bounded(const DenseProblem& problem, Sequence s) {
    if (problem.varlen) {
        s.q_begin = clamp_to<int64>(s.q_begin, 0, problem.q.shape[2]);
        s.q_len =
            clamp_to<int64>(s.q_len, 0, min_of(problem.q_len, problem.q.shape[2] - s.q_begin));
        if (!problem.paged) {
            s.k_begin = clamp_to<int64>(s.k_begin, 0, problem.k.shape[2]);
            s.kv_len = clamp_to<int64>(s.kv_len, 0, problem.k.shape[2] - s.k_begin);
        }
    }
    s.kv_len = clamp_to<int64>(s.kv_len, 0, problem.kv_len);
    return s;
}

/// Which rows of queries, or of keys, a block computes.
struct BlockPlace {
    Sequence sequence;
    int32 tile;
    int32 head;

    __device__ int32 first_row(int32 tile_rows) const { return tile * tile_rows; }
};

/// Blocks are numbered tile first, then head, then sequence: neighbours share keys in the cache.
template <class Params>
__device__ inline BlockPlace block_place(const Params& params, uint32 num_heads,
                                         uint32 idx = prim::block_idx()) {
    const auto num_tiles = static_cast<uint32>(params.num_tiles);
    const auto tile = narrow<int32>(idx % num_tiles);
    const uint32 rest = idx / num_tiles;
    return {bounded(params.problem,
                    sequence_of(params.problem, params.args, narrow<int32>(rest / num_heads))),
            params.last_tile_first ? params.num_tiles - 1 - tile : tile,
            narrow<int32>(rest % num_heads)};
}

}  // namespace fattn::cuda
