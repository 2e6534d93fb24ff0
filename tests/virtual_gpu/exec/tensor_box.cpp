// Walks over the rows of boxes.
#include "exec/tensor_box.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace fattn::vgpu {
namespace {

using ptx::Type;

struct Element {
    uint8_t bytes;
    Type reduced;
};

// By CUtensorMapDataType.
constexpr std::array<Element, 13> kElements = {{{1, Type::kNone},
                                                {2, Type::kNone},
                                                {4, Type::kU32},
                                                {4, Type::kS32},
                                                {8, Type::kU64},
                                                {8, Type::kS64},
                                                {2, Type::kF16},
                                                {4, Type::kF32},
                                                {8, Type::kF64},
                                                {2, Type::kBf16},
                                                {4, Type::kF32},
                                                {4, Type::kF32},
                                                {4, Type::kF32}}};
constexpr uint32_t kTf32 = 11, kTf32Ftz = 12;  // of CUtensorMapDataType
constexpr uint32_t kChunk = 16;

// Elements of the box along an axis; a traversal stride is not for the innermost.
uint32_t extent(const TensorMapLayout& map, uint32_t axis) {
    const uint32_t stride = axis == 0 ? 1 : map.element_strides[axis];
    return (map.box[axis] + stride - 1) / stride;
}

// From one row of a box to the next in shared memory.
uint32_t pitch_of(const TensorMapLayout& map) {
    return map.swizzle != 0 ? kChunk << map.swizzle : map.box[0] * element_bytes_of(map);
}

}  // namespace

std::string objection_to(const TensorMapLayout& map, bool& modelled) {
    modelled = true;
    if (map.magic != kTensorMapMagic || map.rank < 1 || map.rank > 5 || map.data_type > 12 ||
        map.swizzle > 3)
        return "the 128 bytes are no tensor map that cuTensorMapEncodeTiled made";
    const uint64_t row = uint64_t{map.box[0]} * element_bytes_of(map);
    if (row % kChunk != 0 || map.address % kChunk != 0)
        return "the box's innermost dimension has " + std::to_string(row) +
               " bytes and the tensor begins at a multiple of 16: both have to be multiples of 16";
    for (uint32_t i = 0; i < map.rank; ++i) {
        if (map.box[i] == 0 || map.box[i] > 256 || map.dims[i] == 0 ||
            map.element_strides[i] == 0 || map.element_strides[i] > 8)
            return "dimension " + std::to_string(i) +
                   " has an extent, a box or an element stride out of range";
        if (i > 0 && map.strides[i - 1] % kChunk != 0)
            return "a stride of the tensor is no multiple of 16 bytes";
    }
    if (map.swizzle != 0 && row > kChunk << map.swizzle)
        return "the box's innermost dimension has " + std::to_string(row) +
               " bytes; the swizzle allows " + std::to_string(kChunk << map.swizzle);
    modelled = false;
    if (map.interleave != 0) return "interleaved tensor maps are not offered";
    modelled = true;
    return {};
}

uint32_t element_bytes_of(const TensorMapLayout& map) { return kElements[map.data_type].bytes; }

ptx::Type reduced_type_of(const TensorMapLayout& map) { return kElements[map.data_type].reduced; }

uint64_t box_bytes_of(const TensorMapLayout& map) {
    uint64_t bytes = element_bytes_of(map);
    for (uint32_t i = 0; i < map.rank; ++i) bytes *= extent(map, i);
    return bytes;
}

uint64_t box_extent_of(const TensorMapLayout& map) {
    const uint64_t row = uint64_t{map.box[0]} * element_bytes_of(map);
    return box_bytes_of(map) / row * pitch_of(map);
}

bool rounds_to_tf32(const TensorMapLayout& map) {
    return map.data_type == kTf32 || map.data_type == kTf32Ftz;
}

std::vector<BulkCopy::Run> runs_of(const TensorMapLayout& map, const int32_t* coordinates) {
    std::vector<BulkCopy::Run> runs;
    const uint32_t size = element_bytes_of(map);
    const int64_t length = map.box[0], first = coordinates[0];
    const int64_t begin = std::clamp<int64_t>(-first, 0, length);
    const int64_t end =
        std::clamp<int64_t>(static_cast<int64_t>(map.dims[0]) - first, begin, length);
    if (begin == end) return runs;
    uint32_t rows = 1;
    for (uint32_t axis = 1; axis < map.rank; ++axis) rows *= extent(map, axis);
    runs.reserve(rows);
    const int64_t pitch = pitch_of(map);
    for (uint32_t row = 0; row < rows; ++row) {
        uint64_t address = map.address + static_cast<uint64_t>(first + begin) * size;
        bool inside = true;
        uint32_t rest = row;
        for (uint32_t axis = 1; axis < map.rank; ++axis) {
            const int64_t at = int64_t{coordinates[axis]} + int64_t{rest % extent(map, axis)} *
                                                                int64_t{map.element_strides[axis]};
            rest /= extent(map, axis);
            inside &= at >= 0 && at < static_cast<int64_t>(map.dims[axis]);
            address += static_cast<uint64_t>(at) * map.strides[axis - 1];
        }
        if (!inside) continue;
        runs.push_back({address, static_cast<uint32_t>(row * pitch + begin * size),
                        static_cast<uint32_t>((end - begin) * size)});
    }
    return runs;
}

std::vector<std::byte> filled_box(const TensorMapLayout& map) {
    std::vector<std::byte> made(box_extent_of(map), std::byte{0});
    if (!map.nan_fill) return made;
    // One NaN for floats of every width.
    for (size_t i = 0; i < made.size(); ++i) made[i] = i % 2 ? std::byte{0x7f} : std::byte{0xf7};
    return made;
}

}  // namespace fattn::vgpu
