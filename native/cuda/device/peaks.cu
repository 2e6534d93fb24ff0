// The kernels that measure a GPU's peaks.
#include "cuda/device/peaks.h"

extern "C" __global__ void __launch_bounds__(fattn::cuda::kPeakThreads)
    peak_f32(const __grid_constant__ fattn::cuda::PeakParams params) {
    fattn::cuda::peak_of_f32(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kPeakThreads)
    peak_bf16(const __grid_constant__ fattn::cuda::PeakParams params) {
    fattn::cuda::peak_of_bf16(params);
}

extern "C" __global__ void __launch_bounds__(fattn::cuda::kPeakThreads)
    peak_read(const __grid_constant__ fattn::cuda::PeakParams params) {
    fattn::cuda::peak_of_reads(params);
}
