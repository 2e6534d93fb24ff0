// The arithmetic of one warp's 16 rows of a wgmma. Used by the wgmma instructions.
#pragma once

#include <cstdint>
#include <vector>

#include "exec/wgmma.h"
#include "ptx/types.h"

namespace fattn::vgpu {

// What the spelling of a wgmma says; packed into Op::aux.
struct WgmmaForm {
    ptx::Type a, b, d;
    uint32_t columns;
    bool a_in_registers, transposed_a, transposed_b, negated_a, negated_b, saturates;
    bool negated_scale;  // scale-d is !%p

    uint32_t size() const { return bytes_of(a); }   // bytes of an element
    uint32_t depth() const { return 32 / size(); }  // elements in k
    uint32_t d_registers() const { return d == ptx::Type::kF16 ? columns / 4 : columns / 2; }
    uint64_t pack() const {
        return static_cast<uint64_t>(a) | static_cast<uint64_t>(b) << 8 |
               static_cast<uint64_t>(d) << 16 | uint64_t{columns} << 24 |
               uint64_t{a_in_registers} << 40 | uint64_t{transposed_a} << 41 |
               uint64_t{transposed_b} << 42 | uint64_t{negated_a} << 43 |
               uint64_t{negated_b} << 44 | uint64_t{saturates} << 45 |
               uint64_t{negated_scale} << 46;
    }
    static WgmmaForm unpack(uint64_t bits) {
        const auto flag = [&](uint32_t at) { return (bits >> at & 1) != 0; };
        return {static_cast<ptx::Type>(bits & 255),
                static_cast<ptx::Type>(bits >> 8 & 255),
                static_cast<ptx::Type>(bits >> 16 & 255),
                static_cast<uint32_t>(bits >> 24 & 0xffff),
                flag(40),
                flag(41),
                flag(42),
                flag(43),
                flag(44),
                flag(45),
                flag(46)};
    }
};

// Addresses of the chunks of 16 bytes that the warp's rows of A and all columns of B take; A's of
// nothing when it lies in registers.
std::vector<uint32_t> chunks_of_a(const WgmmaForm& form, uint64_t descriptor, uint32_t warp);
std::vector<uint32_t> chunks_of_b(const WgmmaForm& form, uint64_t descriptor);

// Computes the warp's rows; its registers change. The first of the four reads B for all.
void execute_wgmma(Warp& w, const Op& op, WgmmaOperation& operation);

}  // namespace fattn::vgpu
