// The two matrix products of a tile for f16 and bf16: scores of queries and keys, and weights times
// values; called by the softmax kernels.
#pragma once

#include "core/types.h"
#include "cuda/device/prim/arithmetic.h"
#include "cuda/device/prim/matrix.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

/// Where a lane's rows for ldmatrix are: steps of 32 bytes along a row whose chunks are exchanged.
template <class Rows>
struct RowCursor {
    uint32 first;

    /// row and half: the lane's row and 16-byte chunk (0 or 1) of the first step.
    __device__ RowCursor(uint32 s_tile, uint32 row, uint32 half)
        : first(s_tile + Rows::at(row, half)) {}
    /// Address of step n, rows further down the tile, a multiple of 8. Chunks are exchanged inside
    /// 128 bytes, or inside 64 where rows are no multiple of 128 bytes; tiles start at multiples of
    /// 128, so that steps inside such a group are an exclusive or on the address.
    __device__ uint32 at(int n, int rows) const {
        constexpr int kPeriod = Rows::kWholeLines ? 4 : 2;
        return (first ^ static_cast<uint32>(n % kPeriod * 32)) +
               static_cast<uint32>(n / kPeriod * kPeriod * 32 + rows * Rows::kRowBytes);
    }
};

/// Element is f16 or bf16; every warp has kRowBlocks blocks of 16 queries against kTileKv keys.
/// kEarlyKeys: keys and queries are asked for one step before their products, for kernels where the
/// compiler does not see to that.
template <class Element, int kHeadDim, int kRowBlocks, int kTileKv, bool kEarlyKeys>
struct Products16 {
    using Rows = RowTile<kHeadDim, 2>;
    static constexpr int kKeyBlocks = kTileKv / 8;
    static constexpr int kDimBlocks = kHeadDim / 8;
    static constexpr int kSteps = kHeadDim / 16;

    RowCursor<Rows> q;
    RowCursor<Rows> k;
    RowCursor<Rows> v;

    /// first_row: the warp's first row of the query tile.
    __device__ Products16(uint32 s_q, uint32 s_k, uint32 s_v, uint32 first_row, uint32 lane)
        : q(s_q, first_row + (lane & 8) + (lane & 7), lane >> 4),
          k(s_k, (lane >> 4) * 8 + (lane & 7), lane >> 3 & 1),
          v(s_v, (lane & 8) + (lane & 7), lane >> 4) {}

    /// r_s = Q K^T.
    __device__ void scores(float (&r_s)[kRowBlocks][kKeyBlocks][4]) const {
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int n = 0; n < kKeyBlocks; ++n) {
#pragma unroll
                for (int e = 0; e < 4; ++e) r_s[m][n][e] = 0.0F;
            }
        }
        prim::Blocks r_next_q[kRowBlocks];
        prim::Blocks r_next_k;
        if constexpr (kEarlyKeys) {
            load_queries(r_next_q, 0);
            r_next_k = prim::load_blocks(k.at(0, 0));
        }
#pragma unroll
        for (int d = 0; d < kSteps; ++d) {
            prim::Blocks r_q[kRowBlocks];
            if constexpr (!kEarlyKeys) load_queries(r_q, d);
#pragma unroll
            for (int m = 0; kEarlyKeys && m < kRowBlocks; ++m) r_q[m] = r_next_q[m];
#pragma unroll
            for (int n = 0; n < kKeyBlocks; n += 2) {
                const bool is_last = n + 2 == kKeyBlocks;
                const prim::Blocks r_k = kEarlyKeys ? r_next_k : prim::load_blocks(k.at(d, 8 * n));
                if (kEarlyKeys && is_last && d + 1 < kSteps) {
                    load_queries(r_next_q, d + 1);
                    r_next_k = prim::load_blocks(k.at(d + 1, 0));
                } else if (kEarlyKeys && !is_last) {
                    r_next_k = prim::load_blocks(k.at(d, 8 * (n + 2)));
                }
#pragma unroll
                for (int m = 0; m < kRowBlocks; ++m) {
                    prim::multiply_add(Element{}, r_s[m][n], r_q[m].x, r_k.x[0], r_k.x[1]);
                    prim::multiply_add(Element{}, r_s[m][n + 1], r_q[m].x, r_k.x[2], r_k.x[3]);
                }
            }
        }
    }

    /// r_o += P V with the weights P in r_p, in the places of the scores. Values are asked for one
    /// step before their products: the compiler does not always see to that.
    __device__ void values(float (&r_o)[kRowBlocks][kDimBlocks][4],
                           const float (&r_p)[kRowBlocks][kKeyBlocks][4]) const {
        prim::Blocks r_next = prim::load_blocks_transposed(v.at(0, 0));
#pragma unroll
        for (int j = 0; j < kTileKv / 16; ++j) {
            uint32 r_a[kRowBlocks][4];
#pragma unroll
            for (int m = 0; m < kRowBlocks; ++m) {
                const float(&left)[4] = r_p[m][2 * j];
                const float(&right)[4] = r_p[m][2 * j + 1];
                r_a[m][0] = prim::pack(Element{}, left[0], left[1]);
                r_a[m][1] = prim::pack(Element{}, left[2], left[3]);
                r_a[m][2] = prim::pack(Element{}, right[0], right[1]);
                r_a[m][3] = prim::pack(Element{}, right[2], right[3]);
            }
#pragma unroll
            for (int d = 0; d < kDimBlocks; d += 2) {
                const prim::Blocks r_v = r_next;
                const int next = j * kDimBlocks + d + 2;
                if (next < kTileKv / 16 * kDimBlocks) {
                    r_next = prim::load_blocks_transposed(
                        v.at(next % kDimBlocks / 2, 16 * (next / kDimBlocks)));
                }
#pragma unroll
                for (int m = 0; m < kRowBlocks; ++m) {
                    prim::multiply_add(Element{}, r_o[m][d], r_a[m], r_v.x[0], r_v.x[1]);
                    prim::multiply_add(Element{}, r_o[m][d + 1], r_a[m], r_v.x[2], r_v.x[3]);
                }
            }
        }
    }

  private:
    __device__ void load_queries(prim::Blocks (&r_q)[kRowBlocks], int step) const {
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) r_q[m] = prim::load_blocks(q.at(step, 16 * m));
    }
};

}  // namespace fattn::cuda
