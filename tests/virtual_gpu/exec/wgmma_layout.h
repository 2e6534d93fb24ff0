// Matrices of wgmma in shared memory: what a descriptor says, and where chunks of 16 bytes lie.
// Used by wgmma and its tests.
#pragma once

#include <cstdint>

#include "exec/tensor_box.h"

namespace fattn::vgpu {

struct MatrixDescriptor {
    uint32_t start;    // shared address
    uint32_t leading;  // bytes
    uint32_t stride;   // bytes
    uint32_t base_offset;
    uint32_t swizzle;  // as CUtensorMapSwizzle has it: 0 none, 1, 2, 3 for 32, 64, 128 bytes

    static constexpr MatrixDescriptor unpack(uint64_t bits) {
        const auto bytes = [&](uint32_t first) {
            return static_cast<uint32_t>(bits >> first & 0x3fff) << 4;
        };
        return {bytes(0), bytes(16), bytes(32), static_cast<uint32_t>(bits >> 49 & 7),
                static_cast<uint32_t>((4 - (bits >> 62)) % 4)};
    }

    // K is contiguous: of row `row` (of A, or column of B) the chunk `chunk`, 0 or 1, of the 32
    // bytes that one instruction takes. Groups of 8 rows lie `stride` apart.
    constexpr uint32_t k_major(uint32_t row, uint32_t chunk) const {
        const uint32_t pitch = 16u << swizzle;
        const uint32_t along = swizzle == 0 ? leading : 16;
        return turned(start + row % 8 * pitch + row / 8 * stride + chunk * along);
    }

    // Rows (or columns of B) are contiguous: of line k of K the chunk that holds rows 8 chunk to
    // 8 chunk + 7, of 16 bits each.
    constexpr uint32_t mn_major(uint32_t chunk, uint32_t k) const {
        if (swizzle == 0) return start + chunk * stride + k % 8 * 16 + k / 8 * leading;
        const uint32_t span = 1u << swizzle;  // chunks
        return turned(start + chunk % span * 16 + chunk / span * leading + k % 8 * 16 * span +
                      k / 8 * stride);
    }

  private:
    // The pattern of a swizzle begins `base_offset` lines of 128 bytes later.
    constexpr uint32_t turned(uint32_t address) const {
        const uint32_t line = base_offset * 128;
        return swizzled(address - line, swizzle) + line;
    }
};

}  // namespace fattn::vgpu
