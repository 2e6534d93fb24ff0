// The small kernels around the dense backward keys, for tensors of every type.
#include "cuda/device/softmax_backward_rows.h"

extern "C" __global__ void __launch_bounds__(fattn::cuda::kRowsThreads)
    dense_backward_row_terms(const __grid_constant__ fattn::cuda::BackwardRowsParams params) {
    fattn::cuda::find_row_terms(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kRowsThreads)
    dense_backward_sinks(const __grid_constant__ fattn::cuda::BackwardRowsParams params) {
    fattn::cuda::sum_sink_gradients(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kRowsThreads)
    dense_backward_zeros(const __grid_constant__ fattn::cuda::ZeroRowsParams params) {
    fattn::cuda::clear_rows(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kRowsThreads)
    dense_backward_convert(const __grid_constant__ fattn::cuda::ConvertRowsParams params) {
    fattn::cuda::convert_rows(params);
}
