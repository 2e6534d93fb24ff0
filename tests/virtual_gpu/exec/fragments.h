// Elements of matrices in registers, and fragments of A and B. Used by mma and wgmma.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

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

// The exponent of the smallest normal number, as an f32 has it.
inline constexpr int32_t kLeastOfF16 = 127 - 14, kLeastOfE4m3 = 127 - 6;
constexpr int32_t least_exponent(ptx::Type type) {
    using ptx::Type;
    if (type == Type::kE4m3) return kLeastOfE4m3;
    return type == Type::kF16 || type == Type::kE5m2 ? kLeastOfF16 : 1;
}

// Of a 32-bit register.
template <ptx::Type type>
inline constexpr uint32_t kElementsOf = type == ptx::Type::kTf32                              ? 1
                                        : type == ptx::Type::kF16 || type == ptx::Type::kBf16 ? 2
                                                                                              : 4;

// A register is a matrix of 8 rows, four lanes each, whose elements lie beside each other in k.
// Row `row` of it as values, written at once where they are eight.
template <ptx::Type type>
void row_of_register(const uint32_t* lanes, uint32_t row, float* to) {
    constexpr uint32_t kPer = kElementsOf<type>;
    uint32_t words[4];
    std::memcpy(words, lanes + 4 * row, sizeof words);
    if constexpr (kPer == 2) {
        using Words = uint32_t __attribute__((vector_size(32)));
        using Four = uint32_t __attribute__((vector_size(16)));
        Four four;
        std::memcpy(&four, lanes + 4 * row, sizeof four);
        const Words twice = __builtin_shufflevector(four, four, 0, 4, 1, 5, 2, 6, 3, 7);
        Words made;
        if constexpr (type == ptx::Type::kBf16) {
            made = twice << Words{16, 0, 16, 0, 16, 0, 16, 0} & 0xffff0000u;
        } else {
            // As f16_value.
            using Values = float __attribute__((vector_size(32)));
            const Words bits = twice >> Words{0, 16, 0, 16, 0, 16, 0, 16};
            const Words magnitude = (bits & 0x7fffu) << 13;
            const auto value = std::bit_cast<Words>(std::bit_cast<Values>(magnitude) * 0x1p112F);
            const auto special = std::bit_cast<Words>(magnitude >= 0x0f800000u) & 0x7f800000u;
            made = value | special | (bits & 0x8000u) << 16;
        }
        std::memcpy(to, &made, sizeof made);
        return;
    }
    for (uint32_t i = 0; i < 4; ++i) {
        for (uint32_t e = 0; e < kPer; ++e) to[kPer * i + e] = element<type>(words[i], e);
    }
}

// 16 rows of A from sources `first` on: registers hold rows 0 to 7 and 8 to 15 in turn, and two
// registers on the k of 16 bytes further.
template <ptx::Type type, uint32_t kDepth>
void gather_a(Warp& w, const Op& op, uint32_t first, float (*a)[kDepth]) {
    constexpr uint32_t kWide = 4 * kElementsOf<type>;
    if constexpr (kWide == 4 && kDepth == 8) {
        // Both registers of a row at once.
        using Four = uint32_t __attribute__((vector_size(16)));
        for (uint32_t row = 0; row < 16; ++row) {
            Four low, high;
            const size_t at = 4 * (row % 8);
            std::memcpy(&low, w.src<uint32_t>(op, first + row / 8) + at, sizeof low);
            std::memcpy(&high, w.src<uint32_t>(op, first + row / 8 + 2) + at, sizeof high);
            const auto both =
                __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7) & 0xffffe000u;
            std::memcpy(a[row], &both, sizeof both);
        }
        return;
    }
    for (uint32_t r = 0; r < 2 * kDepth / kWide; ++r) {
        const uint32_t* from = w.src<uint32_t>(op, first + r);
        for (uint32_t row = 0; row < 8; ++row)
            row_of_register<type>(from, row, &a[row + 8 * (r & 1)][kWide * (r >> 1)]);
    }
}

// Where column n of B and of the accumulators stands among eight: the columns that one register of
// accumulators holds lie beside each other.
inline constexpr uint32_t kColumnAt[8] = {0, 4, 1, 5, 2, 6, 3, 7};

// kWide elements of each of 8 columns, turned round: b[k] has the columns in the order of
// kColumnAt.
template <uint32_t kWide>
void turn_columns(const float (*columns)[kWide], float (*b)[8]) {
    using Quad = float __attribute__((vector_size(16)));
    for (uint32_t k = 0; k < kWide; k += 4) {
        Quad turned[2][4];
        for (uint32_t half = 0; half < 2; ++half) {
            // Columns half, half + 2, half + 4 and half + 6.
            Quad q[4];
            for (uint32_t i = 0; i < 4; ++i)
                std::memcpy(&q[i], &columns[half + 2 * i][k], sizeof(Quad));
            const Quad a = __builtin_shufflevector(q[0], q[1], 0, 4, 1, 5);
            const Quad c = __builtin_shufflevector(q[2], q[3], 0, 4, 1, 5);
            const Quad e = __builtin_shufflevector(q[0], q[1], 2, 6, 3, 7);
            const Quad g = __builtin_shufflevector(q[2], q[3], 2, 6, 3, 7);
            turned[half][0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
            turned[half][1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
            turned[half][2] = __builtin_shufflevector(e, g, 0, 1, 4, 5);
            turned[half][3] = __builtin_shufflevector(e, g, 2, 3, 6, 7);
        }
        for (uint32_t i = 0; i < 4; ++i) {
            const auto row =
                __builtin_shufflevector(turned[0][i], turned[1][i], 0, 1, 2, 3, 4, 5, 6, 7);
            std::memcpy(b[k + i], &row, sizeof row);
        }
    }
}

// 8 columns of B from sources `first` on, each register with a part of all of them.
template <ptx::Type type, uint32_t kDepth>
void gather_b(Warp& w, const Op& op, uint32_t first, float (*b)[8]) {
    constexpr uint32_t kWide = 4 * kElementsOf<type>;
    for (uint32_t r = 0; r < kDepth / kWide; ++r) {
        const uint32_t* from = w.src<uint32_t>(op, first + r);
        alignas(64) float columns[8][kWide];
        for (uint32_t n = 0; n < 8; ++n) row_of_register<type>(from, n, columns[n]);
        turn_columns<kWide>(columns, b + r * kWide);
    }
}

// 16 rows and 8 columns of accumulators, f32 or s32, or `half`: f16, whose registers hold two
// columns. A row lies in four lanes of a register with the even columns and four of one with the
// odd ones, which is the order of kColumnAt.
template <class T>
void load_accumulators(Warp& w, const Row* registers, bool half, T (*c)[8]) {
    if (!half) {
        for (uint32_t upper = 0; upper < 2; ++upper) {
            const T* const even = w.lanes<T>(registers[2 * upper]);
            const T* const odd = w.lanes<T>(registers[2 * upper + 1]);
            for (uint32_t row = 0; row < 8; ++row) {
                std::memcpy(&c[8 * upper + row][0], even + 4 * row, 16);
                std::memcpy(&c[8 * upper + row][4], odd + 4 * row, 16);
            }
        }
        return;
    }
    for (uint32_t row = 0; row < 16; ++row) {
        const uint32_t upper = row / 8, lane = 4 * (row % 8);
        const uint32_t* from = w.lanes<uint32_t>(registers[upper]) + lane;
        for (uint32_t i = 0; i < 4; ++i) {
            c[row][i] = static_cast<T>(f16_value(static_cast<uint16_t>(from[i])));
            c[row][4 + i] = static_cast<T>(f16_value(static_cast<uint16_t>(from[i] >> 16)));
        }
    }
}

template <class T>
void store_accumulators(Warp& w, const Row* registers, bool half, const T (*c)[8]) {
    if (!half) {
        for (uint32_t upper = 0; upper < 2; ++upper) {
            T* const even = w.lanes<T>(registers[2 * upper]);
            T* const odd = w.lanes<T>(registers[2 * upper + 1]);
            for (uint32_t row = 0; row < 8; ++row) {
                std::memcpy(even + 4 * row, &c[8 * upper + row][0], 16);
                std::memcpy(odd + 4 * row, &c[8 * upper + row][4], 16);
            }
        }
        return;
    }
    for (uint32_t row = 0; row < 16; ++row) {
        const uint32_t upper = row / 8, lane = 4 * (row % 8);
        uint32_t* to = w.lanes<uint32_t>(registers[upper]) + lane;
        for (uint32_t i = 0; i < 4; ++i)
            to[i] = to_f16(c[row][i]) | uint32_t{to_f16(c[row][4 + i])} << 16;
    }
}

}  // namespace fattn::vgpu
