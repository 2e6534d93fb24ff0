// What the host hands to the kernel that merges partial results: a plain struct that both sides
// include.
#pragma once

#include "core/tensor_view.h"
#include "core/types.h"

namespace fattn::cuda {

constexpr int32 kMergePartsThreads = 128;
/// As many as a kernel's 4 KB of parameters hold addresses of.
constexpr int32 kMostMergedParts = 224;

struct MergePartsParams {
    TensorLayout part;  // [B, Hq, Lq, Dv]
    TensorLayout o;
    void* out;
    float* lse;  // may be null
    int32 num_parts;
    const void* o_parts[kMostMergedParts];
    const float* lse_parts[kMostMergedParts];
};

}  // namespace fattn::cuda
