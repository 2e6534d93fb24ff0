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

/// The state of a part of a row; empty behind the last one.
__device__ inline SoftmaxState<float> state_of_part(const MergeSplitsParams& params, int32 part,
                                                    int64 num_rows, int64 row) {
    if (part >= params.num_splits) return empty_state<float>();
    return params.states[part * num_rows + row];
}

/// The states of all lanes as one, the same in each of them.
__device__ inline SoftmaxState<float> merge_lanes(SoftmaxState<float> state) {
    for (uint32 mask = 1; mask < prim::kWarpSize; mask *= 2) {
        merge(&state, {prim::shuffle_xor(state.max, mask), prim::shuffle_xor(state.sum, mask)});
    }
    // Two lanes add the same states in different order.
    return {prim::shuffle(state.max, 0), prim::shuffle(state.sum, 0)};
}

/// 32 numbers of a row a warp, its parts in one order: runs repeat to the bit. Each lane reads the
/// state of one part, then a number of several parts at a time: a row of many parts waits for
/// memory a few times, not once for each.
__device__ inline void merge_splits(const MergeSplitsParams& params) {
    constexpr auto kLanes = int32{prim::kWarpSize};
    constexpr int32 kAtOnce = 16;
    const TensorLayout& o = params.problem.o;
    const bool softmax = params.states != nullptr;
    const int64 num_rows = o.shape[0] * o.shape[1] * o.shape[2];
    const uint32 thread = prim::thread_idx();
    const int64 warp =
        int64{prim::block_idx()} * (kMergeThreads / prim::kWarpSize) + thread / prim::kWarpSize;
    const int64 slices = merged_slices(o.shape[3]);
    const int64 row = warp / slices;
    if (row >= num_rows || !has_sequence(params, row % o.shape[2])) return;
    const auto lane = narrow<int32>(thread % prim::kWarpSize);
    const int64 d = warp % slices * kLanes + lane;
    SoftmaxState<float> state = empty_state<float>();
    for (int32 first = 0; softmax && first < params.num_splits; first += kLanes) {
        merge(&state, merge_lanes(state_of_part(params, first + lane, num_rows, row)));
    }
    float sum = 0.0F;
    for (int32 first = 0; first < params.num_splits; first += kLanes) {
        float own_factor = 1.0F;
        if (softmax) {
            const SoftmaxState<float> part = state_of_part(params, first + lane, num_rows, row);
            own_factor = weight_of(part.max, guarded(state.max)) * part.sum;
        }
        for (int32 n = first; n < min_of(params.num_splits, first + kLanes); n += kAtOnce) {
            float numbers[kAtOnce];
#pragma unroll
            for (int32 k = 0; k < kAtOnce; ++k) {
                const bool exists = n + k < params.num_splits && d < o.shape[3];
                const int64 at = ((n + k) * num_rows + row) * o.shape[3] + d;
                numbers[k] = exists ? params.o_parts[at] : 0.0F;
            }
#pragma unroll
            for (int32 k = 0; k < kAtOnce; ++k) {
                sum = fattn::fma(numbers[k],
                                 prim::shuffle(own_factor, narrow<uint32>(n + k - first)), sum);
            }
        }
    }
    const RowEnd<float> end = finish(state);
    float* g_lse = params.args.lse;
    if (softmax && g_lse != nullptr && d == 0) g_lse[row] = end.lse;
    if (d >= o.shape[3]) return;
    const int64 at =
        o.row(row / o.shape[2] / o.shape[1], row / o.shape[2] % o.shape[1], row % o.shape[2]);
    store_number(o.dtype, params.args.o, at + d * o.strides[3],
                 sum * (softmax ? end.o_factor : 1.0F));
}

}  // namespace fattn::cuda
