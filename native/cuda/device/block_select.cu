// The kernels that select blocks, and the one that inverts permutations for gradients, for tensors
// of every type.
#include "cuda/device/block_choose.h"
#include "cuda/device/block_select.h"

extern "C" __global__ void __launch_bounds__(fattn::cuda::kSelectThreads)
    block_select_ones(const __grid_constant__ fattn::cuda::OnesParams params) {
    fattn::cuda::fill_ones(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kSelectThreads)
    block_select_sort(const __grid_constant__ fattn::cuda::BlockSelectParams params) {
    fattn::cuda::sort_run(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kSelectThreads)
    block_select_merge(const __grid_constant__ fattn::cuda::BlockSelectParams params) {
    fattn::cuda::merge_runs(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kSelectThreads)
    block_select_pool(const __grid_constant__ fattn::cuda::BlockSelectParams params) {
    fattn::cuda::pool_block(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kSelectThreads)
    block_select_choose(const __grid_constant__ fattn::cuda::BlockSelectParams params) {
    fattn::cuda::choose_rows(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kSelectThreads)
    block_select_invert(const __grid_constant__ fattn::cuda::InvertParams params) {
    fattn::cuda::invert_permutation(params);
}
