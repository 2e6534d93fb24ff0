// Joins parts of forward rows, for outputs of every type: those whose keys were split, and those
// that callers have.
#include "cuda/device/merge_parts.h"
#include "cuda/device/merge_splits.h"

extern "C" __global__ void __launch_bounds__(fattn::cuda::kMergeThreads)
    dense_forward_merge(const __grid_constant__ fattn::cuda::MergeSplitsParams params) {
    fattn::cuda::merge_splits(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kMergePartsThreads)
    dense_merge_parts(const __grid_constant__ fattn::cuda::MergePartsParams params) {
    fattn::cuda::merge_parts(params);
}
