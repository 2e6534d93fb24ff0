// Keeps infinities and NaNs of a tile from rows that do not see them; called by the softmax kernels
// before a tile's rows are weighed and summed.
//
// A hidden row of a tile has weight 0, and 0 times an infinity is NaN. So tiles that hold hidden
// pairs are looked through as they arrive. Where one holds such numbers, the block adds them by
// themselves to the sums whose weight is not 0, and puts 0 in their place for the matrix product.
#pragma once

#include "core/convert.h"
#include "core/float_ops.h"
#include "core/types.h"
#include "cuda/device/prim/lanes.h"
#include "cuda/device/prim/memory.h"
#include "cuda/device/score_blocks.h"
#include "cuda/device/tile_rows.h"

namespace fattn::cuda {

/// How the numbers of an element type lie in words of 32 bits.
template <class Element>
struct WordsOf;
template <>
struct WordsOf<float> {
    static constexpr uint32 kExponents = 0x7F800000u;
    static constexpr uint32 kLowest = 1;  // the lowest bit of each number
    static constexpr uint32 kSigns = 0x80000000u;
    __device__ static float number(uint32 word, int) { return float_of_bits(word); }
};
template <>
struct WordsOf<f16> {
    static constexpr uint32 kExponents = 0x7C007C00u;
    static constexpr uint32 kLowest = 0x00010001u;
    static constexpr uint32 kSigns = 0x80008000u;
    __device__ static float number(uint32 word, int n) {
        return to_float(f16{static_cast<uint16>(word >> (16 * n))});
    }
};
template <>
struct WordsOf<bf16> {
    static constexpr uint32 kExponents = 0x7F807F80u;
    static constexpr uint32 kLowest = 0x00010001u;
    static constexpr uint32 kSigns = 0x80008000u;
    __device__ static float number(uint32 word, int n) {
        return to_float(bf16{static_cast<uint16>(word >> (16 * n))});
    }
};

/// Not 0 when a number of the word is infinite or NaN.
template <class Element>
__device__ inline uint32 non_finite_signs(uint32 word) {
    using Words = WordsOf<Element>;
    // A number's exponent is all ones where the rest is 0, and 0 alone borrows its sign bit.
    return ((~word & Words::kExponents) - Words::kLowest) & Words::kSigns;
}

/// Calls visit(address, words) for the 16-byte chunks that the calling thread copied into a tile.
template <class Tile, int kRows, int kThreads, class Visit>
__device__ inline void for_each_own_chunk(uint32 s_tile, const Visit& visit) {
    using Share = CopyShare<Tile, kThreads>;
    const Share share;
#pragma unroll 1
    for (int r = 0; r < kRows; r += Share::kRowStep) {
#pragma unroll
        for (int c = 0; c < Tile::kChunks; c += Share::kLanes) {
            const uint32 s_at = s_tile + Tile::at(static_cast<uint32>(share.row + r),
                                                  static_cast<uint32>(share.chunk + c));
            visit(s_at, prim::load_shared_16(s_at));
        }
    }
}

/// Whether any number of a tile is infinite or NaN. A barrier of the block, after the copies of
/// each thread have arrived: all of the tile is there behind it.
template <class Element, class Tile, int kRows, int kThreads>
__device__ inline bool sync_non_finite(uint32 s_tile) {
    uint32 signs = 0;
    for_each_own_chunk<Tile, kRows, kThreads>(s_tile, [&](uint32, const prim::Words& w) {
        signs |= non_finite_signs<Element>(w.x) | non_finite_signs<Element>(w.y) |
                 non_finite_signs<Element>(w.z) | non_finite_signs<Element>(w.w);
    });
    return prim::sync_block_any(signs != 0);
}

/// Puts 0 where the calling thread copied an infinity or NaN.
template <class Element, class Tile, int kRows, int kThreads>
__device__ inline void clear_non_finite(uint32 s_tile) {
    for_each_own_chunk<Tile, kRows, kThreads>(s_tile, [](uint32 s_at, const prim::Words& w) {
        // A borrow may reach the upper number of a word: numbers are looked at by themselves.
        const auto finite = [](uint32 word) {
            if constexpr (sizeof(Element) == 4) {
                return non_finite_signs<Element>(word) != 0 ? 0u : word;
            } else {
                const uint32 low = non_finite_signs<Element>(word & 0xFFFFu) & 0x8000u;
                const uint32 high = non_finite_signs<Element>(word & 0xFFFF0000u) & 0x80000000u;
                return (low != 0 ? 0u : word & 0xFFFFu) | (high != 0 ? 0u : word & 0xFFFF0000u);
            }
        };
        prim::store_shared_16(s_at, {finite(w.x), finite(w.y), finite(w.z), finite(w.w)});
    });
}

/// r_o += the products of weights in r_p that are not 0 and the infinities and NaNs of a tile.
template <class Element, class Tile, int kRowBlocks, int kColumnBlocks, int kDimBlocks>
__device__ inline void add_non_finite(float (&r_o)[kRowBlocks][kDimBlocks][4],
                                      float (&r_p)[kRowBlocks][kColumnBlocks][4], uint32 s_tile) {
    const uint32 lane = prim::thread_idx() % prim::kWarpSize;
#pragma unroll 1
    for (uint32 n = 0; n < kColumnBlocks; ++n) {
#pragma unroll 1
        for (uint32 j = 0; j < 8; ++j) {
#pragma unroll 1
            for (uint32 d = 0; d < kDimBlocks; ++d) {
#pragma unroll
                for (uint32 e = 0; e < 2; ++e) {
                    const uint32 byte = (8 * d + lane % 4 * 2 + e) * sizeof(Element);
                    const uint32 s_at = s_tile + Tile::at(8 * n + j, byte / 16) + byte % 16 / 4 * 4;
                    const float x =
                        WordsOf<Element>::number(prim::load_shared(s_at), byte % 4 == 0 ? 0 : 1);
                    const bool finite = fattn::abs(x) < kInfinity;
                    if (!prim::any_lane(!finite)) continue;
#pragma unroll
                    for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
                        for (int half = 0; half < 2; ++half) {
                            const float own =
                                j % 2 == 0 ? r_p[m][0][2 * half] : r_p[m][0][2 * half + 1];
                            const float weight = prim::shuffle(own, (lane & ~3u) + j / 2);
                            if (!finite && weight != 0.0F) r_o[m][0][2 * half + e] += weight * x;
                        }
                    }
                }
                rotate_blocks(r_o);
            }
        }
        rotate_blocks(r_p);
    }
}

/// What sync_non_finite() found is taken out of the tile and added to r_o; the product of weights
/// and tile may follow. All threads of the block.
template <class Element, class Tile, int kRows, int kThreads, int kRowBlocks, int kColumnBlocks,
          int kDimBlocks>
__device__ inline void take_non_finite(float (&r_o)[kRowBlocks][kDimBlocks][4],
                                       float (&r_p)[kRowBlocks][kColumnBlocks][4], uint32 s_tile) {
    add_non_finite<Element, Tile>(r_o, r_p, s_tile);
    prim::sync_block();
    clear_non_finite<Element, Tile, kRows, kThreads>(s_tile);
    prim::sync_block();
}

}  // namespace fattn::cuda
