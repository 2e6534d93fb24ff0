// Element types and strided tensor layouts in the logical order [B, H, L, D]; used by every room
// below the C interface.
#pragma once

#include "core/types.h"

namespace fattn {

/// Values are those of fattn_dtype; api/ asserts it.
enum class DType : uint32 {
    kDefault = 0,
    kF32 = 1,
    kF16 = 2,
    kBF16 = 3,
    kI32 = 4,
    kU8 = 5,
    kBit = 6,
    kF8E4M3 = 7,
    kF8E5M2 = 8,
    kI8 = 9
};

/// Bits of one element.
FATTN_HD constexpr int64 bits_of(DType dtype) {
    switch (dtype) {
        case DType::kF32:
        case DType::kI32:
            return 32;
        case DType::kF16:
        case DType::kBF16:
            return 16;
        case DType::kBit:
            return 1;
        case DType::kU8:
        case DType::kF8E4M3:
        case DType::kF8E5M2:
        case DType::kI8:
            return 8;
        case DType::kDefault:
            break;
    }
    return 0;
}

/// Same fields and meaning as fattn_layout; rank 0 means absent.
struct TensorLayout {
    int64 shape[4];
    int64 strides[4];  // elements; 0 broadcasts
    DType dtype;
    uint32 rank;

    /// Element offset of [a, b, c, 0].
    FATTN_HD constexpr int64 row(int64 a, int64 b, int64 c) const {
        return a * strides[0] + b * strides[1] + c * strides[2];
    }
};

static_assert(sizeof(TensorLayout) == 72, "TensorLayout mirrors fattn_layout");

/// Contiguous layout of a rank-4 shape.
FATTN_HD constexpr TensorLayout contiguous(int64 a, int64 b, int64 c, int64 d, DType dtype) {
    return TensorLayout{{a, b, c, d}, {b * c * d, c * d, d, 1}, dtype, 4};
}

}  // namespace fattn
