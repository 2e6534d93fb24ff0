// Weights and gradients of scores of a tile's pairs, where nothing but the scale stands between
// products and scores; called by the backward kernels of the softmax family.
#pragma once

#include "core/types.h"
#include "cuda/device/approx.h"
#include "cuda/device/backward_tile.h"
#include "cuda/device/lane_place.h"
#include "cuda/device/prim/memory.h"

namespace fattn::cuda {

/// The two words that a row's terms are in shared memory.
__device__ inline RowTerms terms_of(uint32 shift, uint32 delta) {
    return {float_of_bits(shift), float_of_bits(delta)};
}

/// r_s: products to weights; r_g: gradients of weights to those of scores. s_terms: of the queries,
/// which are columns with kKeys and rows without. score_factor: from products to scores in base 2.
template <bool kKeys, class Value, int kRowBlocks, int kColumnBlocks>
__device__ inline void weigh_pairs(float (&r_s)[kRowBlocks][kColumnBlocks][4],
                                   float (&r_g)[kRowBlocks][kColumnBlocks][4], uint32 s_terms,
                                   float score_factor) {
    const LanePlace<kRowBlocks> at;
    const Value factor(score_factor);
    const auto weigh = [&](float& s, float& g, const RowTerms& terms) {
        const Value weight = exp2(fma(Value(s), factor, Value(0.0F - terms.shift)));
        s = plain(weight);
        g = s * (g - terms.delta);
    };
    if constexpr (kKeys) {
#pragma unroll
        for (int n = 0; n < kColumnBlocks; ++n) {
            const prim::Words x =
                prim::load_shared_16(s_terms + static_cast<uint32>(at.column(n, 0)) * 8);
            const RowTerms terms[2] = {terms_of(x.x, x.y), terms_of(x.z, x.w)};
#pragma unroll
            for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
                for (int e = 0; e < 4; ++e) weigh(r_s[m][n][e], r_g[m][n][e], terms[e % 2]);
            }
        }
    } else {
#pragma unroll
        for (int m = 0; m < kRowBlocks; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const prim::WordPair x =
                    prim::load_shared_8(s_terms + static_cast<uint32>(at.row(m, half)) * 8);
                const RowTerms terms = terms_of(x.x, x.y);
#pragma unroll
                for (int n = 0; n < kColumnBlocks; ++n) {
                    weigh(r_s[m][n][2 * half], r_g[m][n][2 * half], terms);
                    weigh(r_s[m][n][2 * half + 1], r_g[m][n][2 * half + 1], terms);
                }
            }
        }
    }
}

}  // namespace fattn::cuda
