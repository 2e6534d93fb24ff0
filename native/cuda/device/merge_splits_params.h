// What the host hands to the kernel that joins the parts of rows whose keys were split among blocks
// of the forward: a plain struct that both sides include.
#pragma once

#include "core/problem.h"
#include "core/softmax_state.h"
#include "core/types.h"

namespace fattn::cuda {

/// A warp joins 32 numbers of a row.
constexpr int32 kMergeThreads = 128;
FATTN_HD constexpr int64 merged_slices(int64 head_dim_v) { return ceil_div<int64>(head_dim_v, 32); }
FATTN_HD constexpr int64 merge_blocks(int64 rows, int64 head_dim_v) {
    return ceil_div<int64>(rows * merged_slices(head_dim_v), kMergeThreads / 32);
}

/// Outputs and states of each row's parts, [num_splits, rows, head_dim_v] and [num_splits, rows].
/// States and not LSEs, whose rounding all digits of f32 feel.
struct MergeSplitsParams {
    DenseProblem problem;
    DenseForwardArgs args;
    const float* o_parts;
    const SoftmaxState<float>* states;  // null: sigmoid weights, whose parts are sums already
    int32 num_splits;
};

}  // namespace fattn::cuda
