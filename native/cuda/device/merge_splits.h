// Joins the parts of rows whose keys were split among blocks of the forward; instantiated by
// dense_forward_splits.cu.
#pragma once

#include "core/epilogue.h"
#include "core/softmax_state.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/softmax_forward_params.h"
#include "cuda/device/store_rows.h"

namespace fattn::cuda {

constexpr int32 kMergeThreads = 128;

/// One row a warp, its parts in their order: runs repeat to the bit.
__device__ inline void merge_splits(const MergeSplitsParams& params) {
    constexpr int kMostNumbers = kMostHeadDim / int32{prim::kWarpSize};
    const TensorLayout& o = params.o;
    const int64 num_rows = o.shape[0] * o.shape[1] * o.shape[2];
    const uint32 thread = prim::thread_idx();
    const int64 row =
        int64{prim::block_idx()} * (kMergeThreads / prim::kWarpSize) + thread / prim::kWarpSize;
    if (row >= num_rows) return;
    const uint32 lane = thread % prim::kWarpSize;
    SoftmaxState<float> state = empty_state<float>();
    float sums[kMostNumbers] = {};
    for (int32 part = 0; part < params.num_splits; ++part) {
        const int64 part_row = part * num_rows + row;
        const float* o_part = params.o_parts + part_row * o.shape[3];
        const SoftmaxState<float> of_part = params.states[part_row];
        const MergeFactors<float> factors = merge(&state, of_part);
        const float of_output = factors.of_other * of_part.sum;
#pragma unroll
        for (int n = 0; n < kMostNumbers; ++n) {
            const int64 d = lane + n * prim::kWarpSize;
            if (d >= o.shape[3]) break;
            sums[n] = fattn::fma(o_part[d], of_output, sums[n] * factors.of_state);
        }
    }
    const RowEnd<float> end = finish(state);
    if (params.lse != nullptr && lane == 0) params.lse[row] = end.lse;
    const int64 at =
        o.row(row / o.shape[2] / o.shape[1], row / o.shape[2] % o.shape[1], row % o.shape[2]);
#pragma unroll
    for (int n = 0; n < kMostNumbers; ++n) {
        const int64 d = lane + n * prim::kWarpSize;
        if (d >= o.shape[3]) break;
        store_number(o.dtype, params.out, at + d * o.strides[3], sums[n] * end.o_factor);
    }
}

}  // namespace fattn::cuda
