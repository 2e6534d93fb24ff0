// Tensor maps: checked by the documentation's rules, encoded as the interpreter reads them. Called
// by programs through the driver API.
#include <cstring>

#include "driver/entry.h"
#include "driver/exports.h"
#include "gpu/tensor_map.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call;
using driver::Driver;
using driver::fail;

constexpr uint32_t kElementBytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};

unsigned long long api_tensor_map_number(uint64_t value) { return value; }

bool is_float(CUtensorMapDataType type) { return type >= CU_TENSOR_MAP_DATA_TYPE_FLOAT16; }

void check_one(const char* what, int value, int most) {
    if (value < 0 || value > most) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s is %d; 0 to %d are allowed", what, value, most);
    }
}

void check_address(const TensorMapLayout& map, uint64_t address) {
    const uint64_t alignment = map.interleave == CU_TENSOR_MAP_INTERLEAVE_32B ? 32 : 16;
    if (address == 0 || address % alignment != 0) {
        fail(CUDA_ERROR_INVALID_VALUE, "globalAddress is %#llx; a multiple of %llu is allowed",
             api_tensor_map_number(address), api_tensor_map_number(alignment));
    }
}

void check_strides(const TensorMapLayout& map) {
    const uint64_t unit = map.interleave == CU_TENSOR_MAP_INTERLEAVE_32B ? 32 : 16;
    for (uint32_t at = 0; at + 1 < map.rank; ++at) {
        if (map.strides[at] % unit != 0 || map.strides[at] >= uint64_t{1} << 40) {
            fail(CUDA_ERROR_INVALID_VALUE,
                 "globalStrides[%u] is %llu; multiples of %llu below 2^40 are allowed", at,
                 api_tensor_map_number(map.strides[at]), api_tensor_map_number(unit));
        }
    }
}

void check_boxes(const TensorMapLayout& map, uint32_t element_bytes) {
    const uint64_t row = uint64_t{map.box[0]} * element_bytes;
    if (map.interleave == CU_TENSOR_MAP_INTERLEAVE_NONE) {
        if (row % 16 != 0) {
            fail(CUDA_ERROR_INVALID_VALUE,
                 "boxDim[0] has %llu bytes; a multiple of 16 is allowed without interleaving",
                 api_tensor_map_number(row));
        }
        const uint64_t span = map.swizzle == 0 ? UINT64_MAX : uint64_t{16} << map.swizzle;
        if (row > span) {
            fail(CUDA_ERROR_INVALID_VALUE, "boxDim[0] has %llu bytes; the swizzle allows %llu",
                 api_tensor_map_number(row), api_tensor_map_number(span));
        }
    }
}

}  // namespace

extern "C" {

CUresult cuTensorMapEncodeTiled(CUtensorMap* out, CUtensorMapDataType type, unsigned rank,
                                void* address, const uint64_t* dims, const uint64_t* strides,
                                const unsigned* box, const unsigned* element_strides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill) {
    return call("cuTensorMapEncodeTiled", [&](Driver&) {
        const auto& current = driver::this_thread().current;
        if (!current.empty() && current.back() &&
            current.back()->device->model->compute_major < 9) {
            fail(CUDA_ERROR_NOT_SUPPORTED, "tensor maps need compute capability 9.0; %s has %u.%u",
                 current.back()->device->model->name, current.back()->device->model->compute_major,
                 current.back()->device->model->compute_minor);
        }
        driver::require_results(out, dims, box, element_strides);
        if (reinterpret_cast<uintptr_t>(out) % 64 != 0) {
            fail(CUDA_ERROR_INVALID_VALUE, "tensorMap is at %p; a multiple of 64 is allowed",
                 static_cast<void*>(out));
        }
        check_one("tensorDataType", type, CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ);
        check_one("interleave", interleave, CU_TENSOR_MAP_INTERLEAVE_32B);
        check_one("swizzle", swizzle, CU_TENSOR_MAP_SWIZZLE_128B);
        check_one("l2Promotion", promotion, CU_TENSOR_MAP_L2_PROMOTION_L2_256B);
        check_one("oobFill", fill, CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA);
        const unsigned least = interleave == CU_TENSOR_MAP_INTERLEAVE_NONE ? 1 : 3;
        if (rank < least || rank > 5) {
            fail(CUDA_ERROR_INVALID_VALUE, "tensorRank is %u; %u to 5 are allowed", rank, least);
        }
        if (rank > 1) driver::require_results(strides);
        if (interleave == CU_TENSOR_MAP_INTERLEAVE_32B && swizzle != CU_TENSOR_MAP_SWIZZLE_32B) {
            fail(CUDA_ERROR_INVALID_VALUE,
                 "swizzle is %d; interleaving by 32 bytes allows the 32-byte swizzle, 1",
                 static_cast<int>(swizzle));
        }
        if (fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE && !is_float(type)) {
            fail(CUDA_ERROR_INVALID_VALUE,
                 "oobFill asks for NaN in a tensor of integers (tensorDataType %d)",
                 static_cast<int>(type));
        }
        const uint32_t element_bytes = kElementBytes[type];
        TensorMapLayout map{};
        map.magic = kTensorMapMagic;
        map.data_type = static_cast<uint8_t>(type);
        map.rank = static_cast<uint8_t>(rank);
        map.interleave = static_cast<uint8_t>(interleave);
        map.swizzle = static_cast<uint8_t>(swizzle);
        map.l2_promotion = static_cast<uint8_t>(promotion);
        map.nan_fill = static_cast<uint8_t>(fill);
        map.address = reinterpret_cast<uint64_t>(address);
        for (unsigned at = 0; at < rank; ++at) {
            if (dims[at] == 0 || dims[at] > uint64_t{1} << 32) {
                fail(CUDA_ERROR_INVALID_VALUE, "globalDim[%u] is %llu; 1 to 2^32 are allowed", at,
                     api_tensor_map_number(dims[at]));
            }
            if (box[at] == 0 || box[at] > 256) {
                fail(CUDA_ERROR_INVALID_VALUE, "boxDim[%u] is %u; 1 to 256 are allowed", at,
                     box[at]);
            }
            if (element_strides[at] == 0 || element_strides[at] > 8) {
                fail(CUDA_ERROR_INVALID_VALUE, "elementStrides[%u] is %u; 1 to 8 are allowed", at,
                     element_strides[at]);
            }
            map.dims[at] = dims[at];
            map.box[at] = static_cast<uint16_t>(box[at]);
            map.element_strides[at] = element_strides[at];
            if (at + 1 < rank) map.strides[at] = strides[at];
        }
        check_address(map, map.address);
        check_strides(map);
        check_boxes(map, element_bytes);
        std::memcpy(out, &map, sizeof(map));
    });
}

CUresult cuTensorMapReplaceAddress(CUtensorMap* map, void* address) {
    return call("cuTensorMapReplaceAddress", [&](Driver&) {
        driver::require_results(map);
        TensorMapLayout layout;
        std::memcpy(&layout, map, sizeof(layout));
        if (layout.magic != kTensorMapMagic) {
            fail(CUDA_ERROR_INVALID_VALUE, "the tensor map was not made by cuTensorMapEncodeTiled");
        }
        check_address(layout, reinterpret_cast<uint64_t>(address));
        layout.address = reinterpret_cast<uint64_t>(address);
        std::memcpy(map, &layout, sizeof(layout));
    });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
