// The kernels that select blocks, and those that invert permutations and order rows for attention
// over a selection, for tensors of every type.
#include "cuda/device/block_choose.h"
#include "cuda/device/block_select.h"
#include "cuda/device/row_order.h"

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

extern "C" __global__ void __launch_bounds__(fattn::cuda::kRowOrderThreads)
    block_select_count(const __grid_constant__ fattn::cuda::RowOrderParams params) {
    fattn::cuda::RowCounter(params).run();
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kRowOrderThreads)
    block_select_order(const __grid_constant__ fattn::cuda::RowOrderParams params) {
    fattn::cuda::order_rows(params);
}
