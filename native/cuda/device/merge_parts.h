// Merges finished partial results of rows, outputs with their LSEs; instantiated by
// dense_forward_splits.cu.
#pragma once

#include "core/numeric.h"
#include "core/types.h"
#include "cuda/device/load_number.h"
#include "cuda/device/merge_parts_params.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/store_rows.h"

namespace fattn::cuda {

/// One row a warp, for outputs its parts in their order: runs repeat to the bit. A lane reads
/// before it writes, so an output may be a part.
__device__ inline void merge_parts(const MergePartsParams& params) {
    const TensorLayout& part = params.part;
    const TensorLayout& o = params.o;
    const uint32 thread = prim::thread_idx();
    const int64 row = int64{prim::block_idx()} * (kMergePartsThreads / prim::kWarpSize) +
                      thread / prim::kWarpSize;
    if (row >= o.shape[0] * o.shape[1] * o.shape[2]) return;
    const auto lane = narrow<int32>(thread % prim::kWarpSize);
    float most = -kInfinity;
    for (int32 p = 0; p < params.num_parts; ++p) {
        const float lse = params.lse_parts[p][row];
        if (!(lse <= most)) most = lse;
    }
    float sum = 0.0F;
    for (int32 p = 0; most != -kInfinity && p < params.num_parts; ++p) {
        sum += fattn::exp2((params.lse_parts[p][row] - most) * kLog2E);
    }
    // Weights come from exact differences: the rounded LSE would cost its own size in precision.
    const float inverse = sum == 0.0F ? 0.0F : 1.0F / sum;
    const int64 token = row % o.shape[2];
    const int64 head = row / o.shape[2] % o.shape[1];
    const int64 entry = row / o.shape[2] / o.shape[1];
    for (int64 c = lane; c < o.shape[3]; c += prim::kWarpSize) {
        float result = 0.0F;
        for (int32 p = 0; p < params.num_parts; ++p) {
            const float lse = params.lse_parts[p][row];
            if (lse == -kInfinity) continue;
            const float weight = fattn::exp2((lse - most) * kLog2E) * inverse;
            const int64 from = part.row(entry, head, token) + c * part.strides[3];
            result = fattn::fma(load_number(part.dtype, params.o_parts[p], from), weight, result);
        }
        store_number(o.dtype, params.out, o.row(entry, head, token) + c * o.strides[3], result);
    }
    // An LSE may be a part's, which all lanes have to have read.
    prim::sync_warp();
    if (params.lse != nullptr && lane == 0) {
        params.lse[row] = sum == 0.0F ? -kInfinity : most + fattn::log2(sum) * kLn2;
    }
}

}  // namespace fattn::cuda
