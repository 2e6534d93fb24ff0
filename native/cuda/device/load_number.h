// Reads one number of a tensor of any float type; called by the small kernels that have no keys for
// types.
#pragma once

#include "core/convert.h"
#include "core/tensor_view.h"
#include "core/types.h"
#include "cuda/device/prim/arithmetic.h"

namespace fattn::cuda {

__device__ inline float load_number(DType dtype, const void* data, int64 at) {
    if (dtype == DType::kF32) return static_cast<const float*>(data)[at];
    if (dtype == DType::kF16) return prim::unpack(static_cast<const f16*>(data)[at]);
    return to_float(static_cast<const bf16*>(data)[at]);
}

}  // namespace fattn::cuda
