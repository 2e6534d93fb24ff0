// What kind of GPU is imitated: the limits that loading, launching and special registers depend on.
// Made by the driver.
#pragma once

#include <cstdint>

namespace fattn::vgpu {

struct DeviceModel {
    const char* name;
    uint32_t compute_major;
    uint32_t compute_minor;
    bool arch_specific;  // accepts .target sm_NNa of its own generation
    uint32_t num_sms;
    uint32_t max_threads_per_block;
    uint32_t max_threads_per_sm;
    uint32_t max_blocks_per_sm;
    uint32_t registers_per_sm;
    uint32_t shared_bytes_per_block;  // without opting in
    uint32_t shared_bytes_per_block_optin;
    uint32_t shared_bytes_per_sm;
    uint32_t reserved_shared_bytes_per_block;
    // How tensor cores accumulate in f32: products of one step and the accumulator are aligned to
    // the largest exponent with so many bits below an f32's last one, cut, summed, cut to f32.
    uint32_t mma_step;
    int32_t mma_extra_bits;
    // mma of 8-bit floats is what is made of it for sm_90: two products of f16, of the even pairs
    // in k and of the odd ones, the second on top of the first, then added to C as f32 are.
    bool unpacks_fp8;

    bool operator==(const DeviceModel&) const = default;
};

// Few multiprocessors, so that small grids meet limited residency too.
inline constexpr DeviceModel kSm80 = {"Virtual GPU sm_80",
                                      8,
                                      0,
                                      false,
                                      8,
                                      1024,
                                      2048,
                                      32,
                                      65536,
                                      49152,
                                      166912,
                                      167936,
                                      1024,
                                      8,
                                      1,
                                      false};
inline constexpr DeviceModel kSm89 = {"Virtual GPU sm_89",
                                      8,
                                      9,
                                      false,
                                      8,
                                      1024,
                                      1536,
                                      24,
                                      65536,
                                      49152,
                                      101376,
                                      102400,
                                      1024,
                                      8,
                                      1,
                                      false};
inline constexpr DeviceModel kSm90a = {"Virtual GPU sm_90a",
                                       9,
                                       0,
                                       true,
                                       8,
                                       1024,
                                       2048,
                                       32,
                                       65536,
                                       49152,
                                       232448,
                                       233472,
                                       1024,
                                       16,
                                       2,
                                       true};

}  // namespace fattn::vgpu
