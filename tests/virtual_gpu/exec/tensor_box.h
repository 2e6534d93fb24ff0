// A box of a tensor as bulk tensor copies move it: which bytes of device memory go where in shared
// memory. Used by the tensor copies and their tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "exec/bulk.h"
#include "gpu/tensor_map.h"

namespace fattn::vgpu {

// What hinders a copy by this map; empty: nothing. `modelled` is false when it is the virtual GPU.
std::string objection_to(const TensorMapLayout& map, bool& modelled);

uint32_t element_bytes_of(const TensorMapLayout& map);
// The type in which elements of the map are reduced; kNone when they cannot be.
ptx::Type reduced_type_of(const TensorMapLayout& map);
// Bytes of a whole box.
uint64_t box_bytes_of(const TensorMapLayout& map);
// The same with what lies between its rows in shared memory: under a swizzle each has the swizzle's
// span.
uint64_t box_extent_of(const TensorMapLayout& map);
// Elements become tf32 on their way to shared memory.
bool rounds_to_tf32(const TensorMapLayout& map);

// 16-byte chunks of shared memory, by their address, under CUtensorMapSwizzle `swizzle`: within
// each line of 128 bytes chunks change places as the lines above say. Its own inverse.
constexpr uint32_t swizzled(uint32_t address, uint32_t swizzle) {
    const uint32_t chunks = (1u << swizzle) - 1;  // 0, 1, 3 or 7
    return address ^ ((address >> 7 & chunks) << 4);
}

// The rows of the box at `coordinates` (innermost first), as far as they lie inside of the tensor.
std::vector<BulkCopy::Run> runs_of(const TensorMapLayout& map, const int32_t* coordinates);
// What elements outside of the tensor read as: a box of zeros or NaNs, as it lies in shared memory.
std::vector<std::byte> filled_box(const TensorMapLayout& map);

}  // namespace fattn::vgpu
