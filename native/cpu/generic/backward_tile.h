// The sizes of a backward tile and the row pass of the backward: raw products to weights and score
// gradients, in the orders that the gradient products read. Called by backward_scores.h.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/math.h"
#include "cpu/generic/micro.h"
#include "cpu/generic/rows.h"
#include "cpu/generic/scores.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

constexpr int common_multiple(int a, int b) {
    int x = a;
    while (x % b != 0) x += a;
    return x;
}

/// Keys of a backward tile are columns of the score products and rows of the key gradients: whole
/// panels and whole register tiles.
constexpr int kBackwardKeyStep = common_multiple(kMicroRows, kPanel);
constexpr int kBackwardKeys = kTileKv / kBackwardKeyStep * kBackwardKeyStep;
constexpr int kBackwardRows = kTileQ;
/// Row stride of the two score tiles in words, off a power of two.
constexpr int kBackwardStride = kBackwardKeys + kWidth;

static_assert(kBackwardKeys > 0, "a key tile holds at least one panel of whole register tiles");
static_assert(kBackwardRows % kMicroRows == 0 && kMicroRows % 2 == 0,
              "row groups are whole register tiles and whole pairs of rows");

/// The two score tiles of a row tile and a key tile. Before the row pass scores holds raw q.k and
/// grads raw dO.v, f32. After it a target without pairs has the weights in scores and the score
/// gradients in grads, f32. With pairs, rows 2i and 2i + 1 lie together as words (row 2i in the low
/// half): weights in row 2i of scores, gradients in its row 2i + 1; and grads holds the gradients
/// once more, keys 2j and 2j + 1 in word j of a row.
struct ScoreTiles {
    float* scores;  // [kBackwardRows][kBackwardStride]
    float* grads;   // [kBackwardRows][kBackwardStride]
};

/// Left operands of the gradient products in score tiles, see ScoreTiles.
struct TileRows {  // rows of the tile, depth along keys: d_q
    static constexpr int kRow = kBackwardStride;
    static constexpr int kDepth = 1;
};
template <class Dot>
struct TileColumns {  // keys of the tile, depth along rows: d_k and d_v
    static constexpr int kRow = 1;
    static constexpr int kDepth = Dot::kDepth * kBackwardStride;
};
template <class Dot>
FATTN_HD inline const float* gradient_columns(const ScoreTiles& tiles) {
    return Dot::kDepth == 1 ? tiles.grads : tiles.scores + kBackwardStride;
}

/// What the rows of a register tile need to find their weights again: weight = 2^(logit + shift),
/// gradient = weight * (dO.v - delta).
struct RowConstants {
    const float* shift;  // -lse in base 2
    const float* delta;  // sum of dO * O less the gradient of lse
};

/// Weights and gradients of two rows and 2 * kWidth keys, to where ScoreTiles says. p and g hold
/// first row, second row; first kWidth keys, next kWidth keys.
FATTN_HD inline void store_pairs(float* scores, float* grads, int64 key, const Vec (&p)[2][2],
                                 const Vec (&g)[2][2]) {
    store(scores + key, pair_bf16(p[0][0], p[1][0]));
    store(scores + key + kWidth, pair_bf16(p[0][1], p[1][1]));
    store(scores + kBackwardStride + key, pair_bf16(g[0][0], g[1][0]));
    store(scores + kBackwardStride + key + kWidth, pair_bf16(g[0][1], g[1][1]));
    store(grads + key / 2, concat_bf16(g[0][0], g[0][1]));
    store(grads + kBackwardStride + key / 2, concat_bf16(g[1][0], g[1][1]));
}

/// Zeros in keys [begin, end), multiples of 2 * kWidth or of the row's end, of a finished row
/// group.
template <class Dot>
FATTN_HD inline void clear_keys(float* scores, float* grads, int64 begin, int64 end) {
    for (int r = 0; begin < end && r < kMicroRows; ++r) {
        fill(scores + r * kBackwardStride, begin, end, 0.0F);
        fill(grads + r * kBackwardStride, begin / Dot::kDepth, end / Dot::kDepth, 0.0F);
    }
}

/// The row pass of kMicroRows rows and keys [begin, end), a multiple of 2 * kWidth, of the tile at
/// key, with no feature but the scale. With kAll every row sees every one of them.
template <class Dot, bool kAll>
[[gnu::noinline]] void weigh_plain(float* scores, float* grads, int64 begin, int64 end, float scale,
                                   RowConstants constants, const Row* rows, int64 key) {
    constexpr int kStep = Dot::kDepth;  // rows of a step
    const Vec c(scale);
    for (int r = 0; r < kMicroRows; r += kStep) {
        float* s = scores + r * kBackwardStride;
        float* d = grads + r * kBackwardStride;
        Vec shift[kStep];
        Vec delta[kStep];
        for (int i = 0; i < kStep; ++i) {
            shift[i] = broadcast(constants.shift + r + i);
            delta[i] = broadcast(constants.delta + r + i);
        }
        for (int64 k = begin; k < end; k += 2 * kWidth) {
            Vec p[kStep][2];
            Vec g[kStep][2];
#pragma GCC unroll 2
            for (int i = 0; i < kStep; ++i) {
#pragma GCC unroll 2
                for (int h = 0; h < 2; ++h) {
                    const int64 at = i * kBackwardStride + k + h * kWidth;
                    p[i][h] = exp2(fma(load(s + at), c, shift[i]));
                    g[i][h] = p[i][h] * (load(d + at) - delta[i]);
                    if constexpr (!kAll) {
                        // Zero also where what is hidden, or the row, is not finite.
                        const uint32 lanes = shown_lanes(rows[r + i], key + k + h * kWidth);
                        p[i][h] = select_bits(lanes, p[i][h], Vec(0.0F));
                        g[i][h] = select_bits(lanes, g[i][h], Vec(0.0F));
                    }
                }
            }
            if constexpr (Dot::kDepth == 1) {
                store(s + k, p[0][0]);
                store(s + k + kWidth, p[0][1]);
                store(d + k, g[0][0]);
                store(d + k + kWidth, g[0][1]);
            } else {
                store_pairs(s, d, k, p, g);
            }
        }
    }
}

/// Rounds a finished f32 row group to the pairs of ScoreTiles; nothing to do without pairs.
template <class Dot>
FATTN_HD inline void pack_pairs(float* scores, float* grads) {
    if constexpr (Dot::kDepth == 2) {
        for (int r = 0; r < kMicroRows; r += 2) {
            float* s = scores + r * kBackwardStride;
            float* d = grads + r * kBackwardStride;
            for (int64 k = 0; k < kBackwardKeys; k += 2 * kWidth) {
                Vec p[2][2];
                Vec g[2][2];
                for (int i = 0; i < 2; ++i) {
                    for (int h = 0; h < 2; ++h) {
                        const int64 at = i * kBackwardStride + k + h * kWidth;
                        p[i][h] = load(s + at);
                        g[i][h] = load(d + at);
                    }
                }
                store_pairs(s, d, k, p, g);
            }
        }
    }
}

/// What becomes of the gradient of the bias in a row pass.
enum class BiasGradient { kNone, kStore, kAdd };

/// What the general row pass of a task needs to know.
struct RowPass {
    const RowSpace* space;
    const ScoreRule* rule;
    BiasGradient bias_gradient;
    float* factor;  // [kBackwardStride] derivative of the soft-cap, of one row at a time
    float* keep;    // [kBackwardStride] factors of the dropout, likewise
};

/// Weight and gradient of kWidth keys; grad comes with dO.v.
FATTN_HD inline void weigh_keys(const RowPass& pass, Vec logit, Vec* weight, Vec* grad, float shift,
                                float delta) {
    const DenseProblem& problem = *pass.space->problem;
    if (problem.weights == Weights::kSoftmax) {
        *weight = exp2(fma(logit, Vec(pass.rule->fast_scale), Vec(shift)));
        *grad = *weight * (*grad - Vec(delta));
    } else {
        *weight = sigmoid(fma(logit, Vec(kLn2), Vec(problem.sigmoid_bias)));
        *grad = *weight * (Vec(1.0F) - *weight) * *grad;
    }
}

/// The row pass of one row with any feature, f32, keys [begin, end) of the tile at `key`; a mask
/// or the row's bits may hide some of them. Keys outside become zero. d_bias, unless bias_gradient
/// is kNone, is the bias gradient of the row at the tile's first key.
[[gnu::noinline]] void weigh_row(const RowPass& pass, const Row& row, int64 key, int64 begin,
                                 int64 end, float* scores, float* grads, float* d_bias, float shift,
                                 float delta) {
    const DenseProblem& problem = *pass.space->problem;
    const bool dropout = problem.dropout_p > 0.0F;
    const bool softcap = pass.rule->softcap != 0.0F;
    if (!pass.rule->plain && begin < end) {
        logits(*pass.space, *pass.rule, row, key + begin, end - begin, scores + begin,
               softcap ? pass.factor + begin : nullptr);
    }
    if (dropout) {
        fill(pass.keep, begin, end, 1.0F);
        row_dropout(*pass.space, row, key, begin, end, pass.keep);
    }
    const auto* mask = static_cast<const uint8*>(pass.space->mask);
    const int64 mask_at =
        problem.has_mask ? problem.mask.row(pass.space->sequence.entry, row.head, row.query) + key
                         : 0;
    for (int64 i = begin; i < end; i += kWidth) {
        const int64 n = min_of<int64>(kWidth, end - i);
        const Vec kept = dropout ? load_first(pass.keep + i, n) : Vec(1.0F);
        Vec p;
        Vec g = load(grads + i);
        if (dropout) g = g * kept;
        weigh_keys(pass, load(scores + i), &p, &g, shift, delta);
        if (problem.has_mask) {
            // Zero also where what is hidden, or the row, is not finite.
            p = select_shown(problem.mask.dtype, mask, mask_at + i, n, p, Vec(0.0F));
            g = select_shown(problem.mask.dtype, mask, mask_at + i, n, g, Vec(0.0F));
        }
        if (pass.bias_gradient == BiasGradient::kStore) store_first(d_bias + i, g, n);
        if (pass.bias_gradient == BiasGradient::kAdd) {
            store_first(d_bias + i, load_first(d_bias + i, n) + g, n);
        }
        if (softcap) g = g * load_first(pass.factor + i, n);
        store_first(scores + i, dropout ? p * kept : p, n);
        store_first(grads + i, g, n);
    }
    if (row.bits != nullptr) {
        for (int64 i = begin / kWidth * kWidth; i < end; i += kWidth) {
            const uint32 lanes = shown_lanes(row, key + i);
            store(scores + i, select_bits(lanes, load(scores + i), Vec(0.0F)));
            store(grads + i, select_bits(lanes, load(grads + i), Vec(0.0F)));
        }
    }
    fill(scores, 0, begin, 0.0F);
    fill(grads, 0, begin, 0.0F);
    fill(scores, end, kBackwardKeys, 0.0F);
    fill(grads, end, kBackwardKeys, 0.0F);
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
