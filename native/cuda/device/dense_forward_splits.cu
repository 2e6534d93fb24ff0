// Joins the parts of dense forward rows whose keys were split, for outputs of every type.
#include "cuda/device/merge_splits.h"

extern "C" __global__ void __launch_bounds__(fattn::cuda::kMergeThreads)
    dense_forward_merge(const __grid_constant__ fattn::cuda::MergeSplitsParams params) {
    fattn::cuda::merge_splits(params);
}
