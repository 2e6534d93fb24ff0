// What a GPU reaches at most: multiply-adds, matrix products and reads with nothing between them;
// instantiated by peaks.cu.
#pragma once

#include "core/float_ops.h"
#include "core/types.h"
#include "cuda/device/peaks_params.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/matrix.h"
#include "cuda/device/prim/memory.h"

namespace fattn::cuda {

/// What no sum of a measurement is.
constexpr float kNoPeakSum = -1.0F;

__device__ inline void peak_of_f32(const PeakParams& params) {
    float sums[kPeakSums];
#pragma unroll
    for (int n = 0; n < kPeakSums; ++n) sums[n] = static_cast<float>(n);
    const float factor = 1.0F / static_cast<float>(params.num_blocks + 1);
#pragma unroll 4
    for (int32 repeat = 0; repeat < params.repeats; ++repeat) {
#pragma unroll
        for (int n = 0; n < kPeakSums; ++n) sums[n] = fattn::fma(sums[n], factor, factor);
    }
    float sum = 0.0F;
#pragma unroll
    for (int n = 0; n < kPeakSums; ++n) sum += sums[n];
    if (sum == kNoPeakSum) *params.sink = sum;
}

__device__ inline void peak_of_bf16(const PeakParams& params) {
    float sums[kPeakSums][4] = {};
    const uint32 a[4] = {prim::thread_idx() & 1, 0, 0, 0};
#pragma unroll 2
    for (int32 repeat = 0; repeat < params.repeats; ++repeat) {
#pragma unroll
        for (int n = 0; n < kPeakSums; ++n) prim::multiply_add(bf16{}, sums[n], a, a[0], a[1]);
    }
    float sum = 0.0F;
#pragma unroll
    for (int n = 0; n < kPeakSums; ++n) sum += sums[n][0] + sums[n][1] + sums[n][2] + sums[n][3];
    if (sum == kNoPeakSum) *params.sink = sum;
}

/// Every thread copies to 16 bytes of shared memory of its own.
__device__ inline void peak_of_reads(const PeakParams& params) {
    const uint32 thread = prim::thread_idx();
    const uint32 s_to = prim::shared_memory() + thread * 16;
    const int64 step = int64{params.num_blocks} * kPeakThreads;
    for (int32 repeat = 0; repeat < params.repeats; ++repeat) {
#pragma unroll 4
        for (int64 n = int64{prim::block_idx()} * kPeakThreads + thread; n < params.num_reads;
             n += step) {
            prim::copy_async_16(s_to, static_cast<const uint8*>(params.data) + n * 16);
        }
    }
    prim::commit_copies();
    prim::wait_copies<0>();
}

}  // namespace fattn::cuda
