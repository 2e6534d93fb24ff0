// What the host hands to the kernels that measure a GPU's peaks, and how much work a launch is:
// plain structs that both sides include.
#pragma once

#include "core/types.h"

namespace fattn::cuda {

constexpr int32 kPeakThreads = 256;
/// Sums of a thread that do not wait for each other.
constexpr int32 kPeakSums = 8;

struct PeakParams {
    int32 repeats;  // of everything
    int32 num_blocks;
    const void* data;  // of reads, 16 bytes each
    int64 num_reads;
    float* sink;  // never written, which the compiler does not know
};

/// Operations of a thread and repeat: multiply-adds, and a warp's share of matrix products of 16 x
/// 8 x 16.
constexpr double kPeakF32Operations = 2.0 * kPeakSums;
constexpr double kPeakBF16Operations = 2.0 * 16 * 8 * 16 / 32 * kPeakSums;

}  // namespace fattn::cuda
