// Joins the parts of rows whose keys were split among blocks of the forward; instantiated by
// dense_forward_splits.cu.
#pragma once

#include "core/epilogue.h"
#include "core/softmax_state.h"
#include "cuda/device/block_place.h"
#include "cuda/device/forward_tile.h"
#include "cuda/device/merge_splits_params.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/store_rows.h"

namespace fattn::cuda {

constexpr int32 kMergeThreads = 128;

/// Whether a row's token belongs to a sequence; all lanes of a warp. The parts of others were never
/// computed, and they stay as they are.
__device__ inline bool has_sequence(const MergeSplitsParams& params, int64 token) {
    const DenseProblem& p = params.problem;
    if (!p.varlen) return true;
    bool found = false;
    for (int64 b = prim::thread_idx() % prim::kWarpSize; b < p.batch; b += prim::kWarpSize) {
        const Sequence s = bounded(p, sequence_of(p, params.args, b));
        found = found || (token >= s.q_begin && token < s.q_begin + s.q_len);
    }
    return prim::any_lane(found);
}

/// One row a warp, its parts in their order: runs repeat to the bit.
__device__ inline void merge_splits(const MergeSplitsParams& params) {
    constexpr int kMostNumbers = kMostHeadDim / int32{prim::kWarpSize};
    const TensorLayout& o = params.problem.o;
    const bool softmax = params.states != nullptr;
    const int64 num_rows = o.shape[0] * o.shape[1] * o.shape[2];
    const uint32 thread = prim::thread_idx();
    const int64 row =
        int64{prim::block_idx()} * (kMergeThreads / prim::kWarpSize) + thread / prim::kWarpSize;
    if (row >= num_rows || !has_sequence(params, row % o.shape[2])) return;
    const uint32 lane = thread % prim::kWarpSize;
    SoftmaxState<float> state = empty_state<float>();
    float sums[kMostNumbers] = {};
    for (int32 part = 0; part < params.num_splits; ++part) {
        const int64 part_row = part * num_rows + row;
        const float* o_part = params.o_parts + part_row * o.shape[3];
        float of_sums = 1.0F, of_output = 1.0F;
        if (softmax) {
            const SoftmaxState<float> of_part = params.states[part_row];
            const MergeFactors<float> factors = merge(&state, of_part);
            of_sums = factors.of_state;
            of_output = factors.of_other * of_part.sum;
        }
#pragma unroll
        for (int n = 0; n < kMostNumbers; ++n) {
            const int64 d = lane + n * prim::kWarpSize;
            if (d >= o.shape[3]) break;
            sums[n] = fattn::fma(o_part[d], of_output, sums[n] * of_sums);
        }
    }
    const RowEnd<float> end = finish(state);
    const float factor = softmax ? end.o_factor : 1.0F;
    float* g_lse = params.args.lse;
    if (softmax && g_lse != nullptr && lane == 0) g_lse[row] = end.lse;
    const int64 at =
        o.row(row / o.shape[2] / o.shape[1], row / o.shape[2] % o.shape[1], row % o.shape[2]);
#pragma unroll
    for (int n = 0; n < kMostNumbers; ++n) {
        const int64 d = lane + n * prim::kWarpSize;
        if (d >= o.shape[3]) break;
        store_number(o.dtype, params.args.o, at + d * o.strides[3], sums[n] * factor);
    }
}

}  // namespace fattn::cuda
