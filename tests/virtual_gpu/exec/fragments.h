// Elements of matrices in registers, and fragments of A. Used by mma and wgmma.
#pragma once

#include <bit>
#include <cstdint>

#include "exec/half.h"
#include "exec/warp.h"
#include "ptx/types.h"

namespace fattn::vgpu {

template <ptx::Type type>
float element(uint32_t word, uint32_t i) {
    using ptx::Type;
    if constexpr (type == Type::kF16) return f16_value(static_cast<uint16_t>(word >> (16 * i)));
    if constexpr (type == Type::kBf16) return bf16_value(static_cast<uint16_t>(word >> (16 * i)));
    if constexpr (type == Type::kTf32) return std::bit_cast<float>(word & 0xffffe000u);
    if constexpr (type == Type::kE4m3) return e4m3_value(static_cast<uint8_t>(word >> (8 * i)));
    if constexpr (type == Type::kE5m2) return e5m2_value(static_cast<uint8_t>(word >> (8 * i)));
    if constexpr (type == Type::kU8) return static_cast<uint8_t>(word >> (8 * i));
    return static_cast<float>(static_cast<int8_t>(word >> (8 * i)));
}

// Of a 32-bit register.
template <ptx::Type type>
inline constexpr uint32_t kElementsOf = type == ptx::Type::kTf32                              ? 1
                                        : type == ptx::Type::kF16 || type == ptx::Type::kBf16 ? 2
                                                                                              : 4;

// 16 rows of A from sources `first` on: lane l holds rows l / 4 and l / 4 + 8 in turn; a register
// holds elements beside each other in k, and two registers on the k of 16 bytes further.
template <ptx::Type type>
void gather_a(Warp& w, const Op& op, uint32_t first, uint32_t registers, float (*a)[32]) {
    constexpr uint32_t kPer = kElementsOf<type>;
    for (uint32_t r = 0; r < registers; ++r) {
        const uint32_t* from = w.src<uint32_t>(op, first + r);
        for (uint32_t lane = 0; lane < 32; ++lane) {
            float* to = &a[lane / 4 + 8 * (r & 1)][kPer * (lane % 4) + 4 * kPer * (r >> 1)];
            for (uint32_t i = 0; i < kPer; ++i) to[i] = element<type>(from[lane], i);
        }
    }
}

}  // namespace fattn::vgpu
