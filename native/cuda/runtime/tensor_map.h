// Describes a tensor in global memory to the copy engine of compute capability 9.0; cuda/host
// encodes one for each tensor of a run and passes it to the kernel by value.
#pragma once

#include <array>

#include "cuda/runtime/device.h"

namespace fattn::cuda {

inline constexpr int kTensorMapRanks = 5;

/// A tensor of up to five dimensions, innermost first, and the box that one copy takes of it.
struct TensorMapShape {
    TensorMapType type = TensorMapType::kF16;
    int rank = 0;
    std::array<std::uint64_t, kTensorMapRanks> extents{};  // elements
    std::array<std::uint64_t, kTensorMapRanks> strides{};  // bytes; [0] is the element's size
    std::array<std::uint32_t, kTensorMapRanks> box{};      // elements
    std::array<std::uint32_t, kTensorMapRanks> element_strides{1, 1, 1, 1, 1};
    TensorMapSwizzle swizzle = TensorMapSwizzle::k128B;
    TensorMapL2Promotion l2_promotion = TensorMapL2Promotion::k256B;
};

/// Encodes a map on the host; no device call is made. Out-of-range elements read as zero. Errors
/// name the rule that the tensor breaks.
Status encode_tensor_map(const Device& device, const TensorMapShape& shape, const void* address,
                         TensorMap* map);

}  // namespace fattn::cuda
