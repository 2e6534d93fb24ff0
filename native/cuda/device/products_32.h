// The two matrix products of a tile for f32 on tensor cores: every factor is the sum of two tf32
// numbers, and three of the four products are made; called by the softmax kernels.
//
// Tensor cores truncate where they add. So products of 16 dims (scores) and of 16 keys (output) go
// to zeroed sums first, which are then added with one rounding each. Products with low parts go
// into a sum before all of high parts, while it is so small that what is cut does not matter.
// (native/notes/0035-cuda-forward.md)
#pragma once

#include "core/float_ops.h"
#include "core/types.h"
#include "cuda/device/prim/arithmetic.h"
#include "cuda/device/prim/matrix.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

/// Numbers as high + low, each with 11 bits; what is lost is below 2^-22 of the number. Tensor
/// cores ignore the last 13 bits of what they multiply, which are cleared in high alone. The low
/// part of an infinity or NaN is NaN.
template <int kCount>
struct SplitNumbers {
    uint32 high[kCount];
    uint32 low[kCount];

    __device__ void set(int n, float x) {
        // Nearest, ties away from 0, as cvt.rna.tf32, which is more than twice as many
        // instructions.
        high[n] = (bits_of_float(x) + 0x1000u) & 0xFFFFE000u;
        low[n] = bits_of_float(x - float_of_bits(high[n]));
    }
};

/// c += a b without the product of high parts.
__device__ inline void multiply_add_low(float (&c)[4], const SplitNumbers<4>& a,
                                        const SplitNumbers<2>& b) {
    prim::multiply_add_tf32(c, a.low, b.high[0], b.high[1]);
    prim::multiply_add_tf32(c, a.high, b.low[0], b.low[1]);
}

/// c += the product of high parts.
__device__ inline void multiply_add_high(float (&c)[4], const SplitNumbers<4>& a,
                                         const SplitNumbers<2>& b) {
    prim::multiply_add_tf32(c, a.high, b.high[0], b.high[1]);
}

/// Every warp has kRowBlocks blocks of 16 queries against kTileKv keys.
template <int kHeadDim, int kRowBlocks, int kTileKv>
class Products32 {
  public:
    using Rows = RowTile<kHeadDim, 4>;
    static constexpr int kKeyBlocks = kTileKv / 8;
    static constexpr int kDimBlocks = kHeadDim / 8;
    static_assert(kRowBlocks == 1, "registers hold one block of 16 queries");
    static_assert(kKeyBlocks % 2 == 0 && kDimBlocks % 2 == 0, "sums are of two blocks each");

    __device__ Products32(uint32 s_q, uint32 s_k, uint32 s_v_tile, uint32 first_row,
                          uint32 lane_idx)
        : s_q_row(s_q + (first_row + (lane_idx & 15)) * Rows::kRowBytes),
          s_k_row(s_k + ((lane_idx >> 4) * 8 + (lane_idx & 7)) * Rows::kRowBytes),
          s_v(s_v_tile),
          lane(lane_idx) {}

    /// r_s = Q K^T, the products of 16 numbers of a row in sums of their own.
    __device__ void scores(float (&r_s)[kRowBlocks][kKeyBlocks][4]) const {
#pragma unroll
        for (int n = 0; n < kKeyBlocks; ++n) {
#pragma unroll
            for (int e = 0; e < 4; ++e) r_s[0][n][e] = 0.0F;
        }
#pragma unroll 1
        for (uint32 d = 0; d < kDimBlocks; d += 2) add_scores(r_s[0], d);
    }

    /// r_o += P V with the weights P in r_p, in the places of the scores. A lane holds the weights
    /// of keys 2t and 2t + 1 of a block where A has columns t and t + 4: the values' rows are taken
    /// in the same order. Two blocks of keys at a time go through one body, and their products have
    /// sums of their own.
    __device__ void values(float (&r_o)[kRowBlocks][kDimBlocks][4],
                           const float (&r_p)[kRowBlocks][kKeyBlocks][4]) const {
        constexpr uint32 kGroup = 2;
        float r_left[kKeyBlocks][4];  // weights that are left, the next ones first
#pragma unroll
        for (int j = 0; j < kKeyBlocks; ++j) {
#pragma unroll
            for (int e = 0; e < 4; ++e) r_left[j][e] = r_p[0][j][e];
        }
#pragma unroll 1
        for (uint32 first = 0; first < kKeyBlocks; first += kGroup) {
            SplitNumbers<4> a[kGroup];
#pragma unroll
            for (uint32 j = 0; j < kGroup; ++j) {
                a[j].set(0, r_left[j][0]);
                a[j].set(1, r_left[j][2]);
                a[j].set(2, r_left[j][1]);
                a[j].set(3, r_left[j][3]);
            }
#pragma unroll
            for (uint32 j = kGroup; j < kKeyBlocks; ++j) {
#pragma unroll
                for (int e = 0; e < 4; ++e) r_left[j - kGroup][e] = r_left[j][e];
            }
            add_values(r_o, a, s_v + first * 8 * Rows::kRowBytes);
        }
    }

  private:
    /// Adds the products of 16 numbers of a row, from the d-th block of 8 on.
    __device__ void add_scores(float (&r_s)[kKeyBlocks][4], uint32 d) const {
        // Rows of all blocks have the lane's last three bits, which alone exchange chunks.
        uint32 k_chunk[2];
        SplitNumbers<4> a[2];
#pragma unroll
        for (uint32 i = 0; i < 2; ++i) {
            const uint32 q_chunk = (2 * (d + i) + (lane >> 4)) ^ (lane & 7);
            k_chunk[i] = (2 * (d + i) + (lane >> 3 & 1)) ^ (lane & 7);
            const prim::Blocks r_q = prim::load_blocks(s_q_row + q_chunk * 16);
#pragma unroll
            for (int e = 0; e < 4; ++e) a[i].set(e, float_of_bits(r_q.x[e]));
        }
#pragma unroll
        for (uint32 n = 0; n < kKeyBlocks; n += 2) {
            SplitNumbers<2> b[2][2];  // of two blocks of keys
#pragma unroll
            for (uint32 i = 0; i < 2; ++i) {
                const prim::Blocks r_k =
                    prim::load_blocks(s_k_row + n * 8 * Rows::kRowBytes + k_chunk[i] * 16);
#pragma unroll
                for (int e = 0; e < 4; ++e) b[e / 2][i].set(e % 2, float_of_bits(r_k.x[e]));
            }
#pragma unroll
            for (uint32 half = 0; half < 2; ++half) {
                float sum[4] = {};
#pragma unroll
                for (uint32 i = 0; i < 2; ++i) multiply_add_low(sum, a[i], b[half][i]);
#pragma unroll
                for (uint32 i = 0; i < 2; ++i) multiply_add_high(sum, a[i], b[half][i]);
#pragma unroll
                for (int e = 0; e < 4; ++e) r_s[n + half][e] += sum[e];
            }
        }
    }

    /// Adds the products of some blocks of keys, whose rows start at s_rows.
    template <uint32 kCount>
    __device__ void add_values(float (&r_o)[kRowBlocks][kDimBlocks][4],
                               const SplitNumbers<4> (&a)[kCount], uint32 s_rows) const {
        const uint32 first = lane % 4 * 2;
#pragma unroll
        for (uint32 d = 0; d < kDimBlocks; ++d) {
            float sum[4] = {};
            const uint32 column = d * 8 + lane / 4;
            SplitNumbers<2> b[kCount];
#pragma unroll
            for (uint32 j = 0; j < kCount; ++j) {
#pragma unroll
                for (uint32 n = 0; n < 2; ++n) {
                    const uint32 s_from = s_rows + j * 8 * Rows::kRowBytes +
                                          Rows::at(first + n, column / 4) + column % 4 * 4;
                    b[j].set(static_cast<int>(n), float_of_bits(prim::load_shared(s_from)));
                }
                multiply_add_low(sum, a[j], b[j]);
            }
#pragma unroll
            for (uint32 j = 0; j < kCount; ++j) multiply_add_high(sum, a[j], b[j]);
#pragma unroll
            for (int e = 0; e < 4; ++e) r_o[0][d][e] += sum[e];
        }
    }

    uint32 s_q_row;  // the lane's rows for ldmatrix
    uint32 s_k_row;
    uint32 s_v;
    uint32 lane;
};

}  // namespace fattn::cuda
