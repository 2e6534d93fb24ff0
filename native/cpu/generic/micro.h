// The register-tile matrix products of a CPU target; they know nothing of attention. Called by the
// tile loops.
#pragma once

#include "core/types.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Columns of a full panel of the right operand.
constexpr int kPanel = kMicroVecs * kWidth;
/// Row stride of a score tile in words: off a power of two, so that rows do not share cache sets.
constexpr int kScoreStride = kTileKv + kPanel;

/// What a register tile starts from.
enum class Start { kZero, kScaled, kAdd };

/// Where element (row, depth) of the left operand lies, in words.
struct PanelOrder {  // [depth][kMicroRows], as pack_rows makes it
    static constexpr int kRow = 1;
    static constexpr int kDepth = kMicroRows;
};
struct ScoreRows {  // rows of a score tile, depth along its keys
    static constexpr int kRow = kScoreStride;
    static constexpr int kDepth = 1;
};
struct ScoreColumns {  // keys of a score tile are the rows, depth along its rows
    static constexpr int kRow = 1;
    static constexpr int kDepth = kScoreStride;
};

/// Rows of a product with what is left over of kMicroRows rows.
constexpr int kFewRows = kMicroRows < 6 ? kMicroRows / 2 : kMicroRows / 3;

/// C[kRows x kVecs vectors] = start + A B over depth words. b is a panel of kVecs vectors a word of
/// depth; scale holds kRows factors for Start::kScaled. Accumulates in f32, ascending depth.
template <class Dot, class Order, int kVecs, Start kStart, int kPanelVecs = kVecs,
          int kRows = kMicroRows>
[[gnu::noinline]] void micro_product(const float* __restrict a, const float* __restrict b,
                                     int64 depth, float* __restrict c, int64 c_stride,
                                     const float* __restrict scale) {
    Vec acc[kRows][kVecs];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) {
            if constexpr (kStart == Start::kZero) {
                acc[r][v] = Vec(0.0F);
            } else if constexpr (kStart == Start::kAdd) {
                acc[r][v] = load(c + r * c_stride + v * kWidth);
            } else {
                acc[r][v] = load(c + r * c_stride + v * kWidth) * broadcast(scale + r);
            }
        }
    }
    for (int64 k = 0; k < depth; ++k) {
        Vec right[kVecs];
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) right[v] = load(b + v * kWidth);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const Vec left = broadcast(a + r * Order::kRow);
#pragma GCC unroll 4
            for (int v = 0; v < kVecs; ++v) acc[r][v] = Dot::step(acc[r][v], left, right[v]);
        }
        a += Order::kDepth;
        b += kPanelVecs * kWidth;
        // One step of depth after the other: with one lane the compiler would else vectorise this
        // loop along depth and shuffle every product into place.
        __asm__ volatile("");
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVecs; ++v) store(c + r * c_stride + v * kWidth, acc[r][v]);
    }
}

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
