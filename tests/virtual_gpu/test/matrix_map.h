// Tensor maps of matrices for the small programs; called by their test and their benchmark.
#pragma once

#include <cstdint>

#include "gpu/tensor_map.h"

namespace fattn::vgpu {

inline TensorMapLayout map_of_matrix(uint64_t address, uint8_t type, uint32_t element_bytes,
                                     uint32_t columns, uint32_t rows, uint16_t box,
                                     uint8_t swizzle) {
    TensorMapLayout made{};
    made.magic = kTensorMapMagic;
    made.data_type = type;
    made.rank = 2;
    made.swizzle = swizzle;
    made.address = address;
    made.dims[0] = columns;
    made.dims[1] = rows;
    made.strides[0] = uint64_t{columns} * element_bytes;
    for (uint32_t i = 0; i < 2; ++i) {
        made.box[i] = box;
        made.element_strides[i] = 1;
    }
    return made;
}

}  // namespace fattn::vgpu
