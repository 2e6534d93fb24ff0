// The 128 bytes of a tensor map as the virtual GPU lays them out: encoded by the driver, read by
// bulk tensor copies.
#pragma once

#include <cstdint>

namespace fattn::vgpu {

inline constexpr uint32_t kTensorMapMagic = 0x50414d54;  // "TMAP"

// Enumerators are the numbers of CUtensorMapDataType, ...Interleave, ...Swizzle, ...L2promotion and
// ...FloatOOBfill.
struct TensorMapLayout {
    uint32_t magic;
    uint8_t data_type;
    uint8_t rank;  // 1 to 5
    uint8_t interleave;
    uint8_t swizzle;
    uint64_t address;
    uint64_t dims[5];     // elements, innermost first
    uint64_t strides[4];  // bytes, of dims 1 to 4
    uint16_t box[5];      // elements
    uint8_t l2_promotion;
    uint8_t nan_fill;  // out-of-range elements are NaN, else 0
    uint32_t element_strides[5];
    uint8_t reserved[8];
};
static_assert(sizeof(TensorMapLayout) == 128);

}  // namespace fattn::vgpu
