// Checks a tensor against the rules of tensor maps, then has the driver encode it.
#include "cuda/runtime/tensor_map.h"

#include "backend/text.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

Status refuse(std::string message) { return {StatusCode::kInvalidArgument, std::move(message)}; }

/// The driver answers every broken rule with the same code; this says which one it was.
Status check_rules(const TensorMapShape& shape, const void* address) {
    if (shape.rank < 1 || shape.rank > kTensorMapRanks) {
        return refuse(text("a tensor map has 1 to 5 dimensions; ", shape.rank, " were given"));
    }
    if (reinterpret_cast<std::uintptr_t>(address) % 16 != 0) {
        return refuse("the address of a tensor map must be a multiple of 16 bytes");
    }
    for (int i = 0; i < shape.rank; ++i) {
        const auto d = static_cast<std::size_t>(i);
        if (shape.extents[d] < 1 || shape.extents[d] > (std::uint64_t{1} << 32)) {
            return refuse(text("extent ", i, " of a tensor map is ", shape.extents[d],
                               "; allowed are 1 to 2^32"));
        }
        if (shape.box[d] < 1 || shape.box[d] > 256) {
            return refuse(text("box extent ", i, " of a tensor map is ", shape.box[d],
                               "; allowed are 1 to 256"));
        }
        if (shape.element_strides[d] < 1 || shape.element_strides[d] > 8) {
            return refuse(text("element stride ", i, " of a tensor map is ",
                               shape.element_strides[d], "; allowed are 1 to 8"));
        }
        if (i > 0 && (shape.strides[d] % 16 != 0 || shape.strides[d] >= (std::uint64_t{1} << 40))) {
            return refuse(text("stride ", i, " of a tensor map is ", shape.strides[d],
                               " bytes; allowed are multiples of 16 below 2^40"));
        }
    }
    const std::uint64_t row_bytes = shape.box[0] * shape.strides[0];
    if (row_bytes % 16 != 0) {
        return refuse(text("the box of a tensor map is ", row_bytes,
                           " bytes wide; allowed are multiples of 16"));
    }
    const std::uint64_t span = shape.swizzle == TensorMapSwizzle::k128B  ? 128
                               : shape.swizzle == TensorMapSwizzle::k64B ? 64
                               : shape.swizzle == TensorMapSwizzle::k32B ? 32
                                                                         : row_bytes;
    if (row_bytes > span) {
        return refuse(text("the box of a tensor map is ", row_bytes,
                           " bytes wide; its swizzle allows ", span));
    }
    return {};
}

}  // namespace

Status encode_tensor_map(const Device& device, const TensorMapShape& shape, const void* address,
                         TensorMap* map) {
    const DriverFunctions& call = device.call();
    if (!device.properties().tensor_maps || call.tensor_map_encode_tiled == nullptr) {
        return {StatusCode::kUnsupported,
                text("CUDA device ", device.properties().ordinal,
                     " has no tensor maps; they need compute capability 9.0 and a driver of CUDA "
                     "12.0")};
    }
    FATTN_CUDA_RETURN_IF_ERROR(check_rules(shape, address));
    return check(call,
                 call.tensor_map_encode_tiled(
                     map, shape.type, static_cast<std::uint32_t>(shape.rank),
                     const_cast<void*>(address), shape.extents.data(), shape.strides.data() + 1,
                     shape.box.data(), shape.element_strides.data(), TensorMapInterleave::kNone,
                     shape.swizzle, shape.l2_promotion, TensorMapFill::kZero),
                 "encoding a tensor map");
}

}  // namespace fattn::cuda
