// Weights and score gradients of a row tile against packed key tiles, recomputed from Q, K, V, dO
// and LSE; called by the gradient loop of backward.h and the bias gradient of backward_bias.h.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/backward_tile.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/micro.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/rows.h"
#include "cpu/generic/scores.h"
#include "cpu/generic/scratch.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

constexpr int kBackwardGroups = kBackwardRows / kMicroRows;

/// Keys of a key tile that a group of kMicroRows rows touches, tile-local.
struct KeyRange {
    int64 begin;  // multiple of kPanel
    int64 end;    // multiple of kPanel, or begin when the group sees nothing
    int64 depth;  // multiple of Dot::kDepth, end of the keys seen
    bool full;    // every row sees every key of [begin, end)
};

/// Scratch of the score part, everything in words.
struct BackwardScoreScratch {
    float* q;    // [row groups][words of D][kMicroRows]
    float* d_o;  // [row groups][words of Dv][kMicroRows]
    ScoreTiles tiles;
    float* shift;    // [kBackwardRows]
    float* delta;    // [kBackwardRows]
    float* factor;   // [kBackwardStride]
    float* keep;     // [kBackwardStride]
    Row* rows;       // [kBackwardRows]
    RowPart* parts;  // [kBackwardRows]

    template <class Dot>
    static BackwardScoreScratch take(const DenseProblem& problem, Scratch& scratch) {
        BackwardScoreScratch s{};
        s.q = scratch.take<float>(kBackwardRows * words_of<Dot>(problem.head_dim));
        s.d_o = scratch.take<float>(kBackwardRows * words_of<Dot>(problem.head_dim_v));
        s.tiles.scores = scratch.take<float>(kBackwardRows * kBackwardStride);
        s.tiles.grads = scratch.take<float>(kBackwardRows * kBackwardStride);
        s.shift = scratch.take<float>(kBackwardRows);
        s.delta = scratch.take<float>(kBackwardRows);
        s.factor = scratch.take<float>(kBackwardStride + kWidth);
        s.keep = scratch.take<float>(kBackwardStride + kWidth);
        s.rows = scratch.take<Row>(kBackwardRows);
        s.parts = scratch.take<RowPart>(kBackwardRows);
        return s;
    }
};

template <class Dot>
class BackwardScores {
  public:
    /// Rows are folded over the heads from first_head on, as in ForwardTask. delta may be null:
    /// then it is zero, which is right where no score gradient is wanted and with sigmoid weights.
    BackwardScores(const DenseProblem& problem, const DenseBackwardArgs& args,
                   const Gathered* gathered, const Sequence& sequence, int64 first_head,
                   const float* delta, BiasGradient bias_gradient,
                   const BackwardScoreScratch& scratch)
        : problem_(problem),
          args_(args),
          sequence_(sequence),
          num_keys_(gathered == nullptr ? sequence.kv_len : gathered->tile->num_slots),
          space_(row_space(problem, args, gathered, sequence, first_head)),
          rule_(score_rule(problem)),
          delta_(delta),
          s_(scratch),
          pass_{&space_, &rule_, bias_gradient, scratch.factor, scratch.keep},
          q_words_(words_of<Dot>(problem.head_dim)),
          v_words_(words_of<Dot>(problem.head_dim_v)) {}

    /// Starts a tile of folded rows [first, first + num_rows), at most kBackwardRows.
    void start_rows(int64 first, int64 num_rows) {
        num_rows_ = num_rows;
        num_groups_ = ceil_div<int64>(num_rows_, kMicroRows);
        first_key_ = num_keys_;
        last_key_ = 0;
        for (int64 r = 0; r < num_groups_ * kMicroRows; ++r) {
            s_.shift[r] = 0.0F;
            s_.delta[r] = 0.0F;
            s_.rows[r] = r < num_rows_ ? start_row(first + r, r) : Row{0, 0, 0, 0, nullptr};
            if (s_.rows[r].begin < s_.rows[r].end) {
                first_key_ = min_of(first_key_, s_.rows[r].begin);
                last_key_ = max_of(last_key_, s_.rows[r].end);
            }
        }
    }

    /// Packs the started rows of Q, and of dO where score gradients are wanted.
    void pack_rows(bool with_gradients) {
        with_gradients_ = with_gradients;
        for (int64 g = 0; g < num_groups_; ++g) {
            pack_group(problem_.q, args_.q, g, problem_.head_dim, s_.q + g * kMicroRows * q_words_);
            if (with_gradients) {
                pack_group(problem_.d_o, args_.d_o, g, problem_.head_dim_v,
                           s_.d_o + g * kMicroRows * v_words_);
            }
        }
        if (!with_gradients) {
            fill(s_.tiles.grads, 0, int64{kBackwardRows} * kBackwardStride, 0.0F);
        }
    }

    /// Weights and gradients of the started rows against keys [key, key + kBackwardKeys): k and v
    /// are panels [keys / kPanel][words][kPanel]. Every element of the tile's row groups is defined
    /// afterwards. Returns whether every row sees every key of a whole tile.
    bool weigh(const float* k, const float* v, int64 key) {
        int64 begin = kBackwardKeys;
        int64 end = 0;
        bool full = num_rows_ == kBackwardRows;
        for (int64 g = 0; g < num_groups_; ++g) {
            ranges_[g] = key_range(g * kMicroRows, key);
            full = full && ranges_[g].full && ranges_[g].end - ranges_[g].begin == kBackwardKeys;
            if (ranges_[g].begin < ranges_[g].end) {
                begin = min_of(begin, ranges_[g].begin);
                end = max_of(end, ranges_[g].end);
            }
        }
        product(s_.q, k, q_words_, begin, end, s_.tiles.scores);
        if (with_gradients_) product(s_.d_o, v, v_words_, begin, end, s_.tiles.grads);
        for (int64 g = 0; g < num_groups_; ++g) weigh_group(g, key);
        return full;
    }

    int64 num_rows() const { return num_rows_; }
    int64 num_groups() const { return num_groups_; }
    /// Keys that the started rows see lie in [first_key, last_key).
    int64 first_key() const { return first_key_; }
    int64 last_key() const { return last_key_; }
    const Row& row(int64 r) const { return s_.rows[r]; }
    /// What a row sees of the tile last weighed.
    const RowPart& part(int64 r) const { return s_.parts[r]; }
    const KeyRange& range(int64 group) const { return ranges_[group]; }
    const ScoreTiles& tiles() const { return s_.tiles; }
    const RowSpace& space() const { return space_; }

    bool sees(int64 r, int64 key) const { return row_sees(space_, s_.rows[r], key); }

  private:
    /// Folded row `folded` as row r of the tile.
    Row start_row(int64 folded, int64 r) {
        Row row = space_.row(folded, 0, num_keys_);
        if (problem_.weights == Weights::kSoftmax) {
            const int64 at = space_.stat_index(row);
            const float lse = args_.lse[at];
            // Nothing was summed: no weight, whatever is visible.
            if (lse == -kInfinity) row.end = row.begin;
            s_.shift[r] = row.begin < row.end ? -lse * kLog2E : 0.0F;
            if (delta_ != nullptr) s_.delta[r] = delta_[at];
        }
        return row;
    }

    void pack_group(const TensorLayout& layout, const void* data, int64 group, int64 extent,
                    float* to) {
        const Row* rows = s_.rows + group * kMicroRows;
        pack_transposed<Dot, kMicroRows>(
            layout.dtype, [&](int64 r) { return space_.q_row(layout, data, rows[r]); },
            num_rows_ - group * kMicroRows, extent, to);
    }

    /// The keys of a tile that kMicroRows rows from `row` on touch; notes the part of each.
    KeyRange key_range(int64 row, int64 key) {
        int64 begin = kBackwardKeys;
        int64 end = 0;
        int64 common_begin = 0;
        int64 common_end = kBackwardKeys;
        bool all = !problem_.has_mask;
        for (int64 r = row; r < row + kMicroRows; ++r) {
            const RowPart part = part_of(s_.rows[r], key, kBackwardKeys);
            s_.parts[r] = part;
            all = all && part.all;
            common_begin = max_of(common_begin, part.begin);
            common_end = min_of(common_end, part.end);
            if (part.begin < part.end) {
                begin = min_of(begin, part.begin);
                end = max_of(end, part.end);
            }
        }
        if (begin >= end) return {0, 0, 0, false};
        const int64 first = begin / kPanel * kPanel;
        const int64 last = round_up<int64>(end, kPanel);
        return {first, last, round_up<int64>(end, Dot::kDepth),
                all && common_begin <= first && common_end >= last};
    }

    void product(const float* left, const float* right, int64 words, int64 begin, int64 end,
                 float* out) {
        for (int64 j = begin; j < end; j += kPanel) {
            for (int64 g = 0; g < num_groups_; ++g) {
                if (j < ranges_[g].begin || j >= ranges_[g].end) continue;
                micro_product<Dot, PanelOrder, kMicroVecs, Start::kZero>(
                    left + g * kMicroRows * words, right + j * words, words,
                    out + g * kMicroRows * kBackwardStride + j, kBackwardStride, nullptr);
            }
        }
    }

    void weigh_group(int64 group, int64 key) {
        const KeyRange& range = ranges_[group];
        float* scores = s_.tiles.scores + group * kMicroRows * kBackwardStride;
        float* grads = s_.tiles.grads + group * kMicroRows * kBackwardStride;
        const int64 first = group * kMicroRows;
        if (rule_.plain && problem_.dropout_p == 0.0F) {
            const RowConstants constants{s_.shift + first, s_.delta + first};
            if (range.full) {
                weigh_plain<Dot, true>(scores, grads, range.begin, range.end, rule_.fast_scale,
                                       constants, s_.rows + first, key);
            } else {
                weigh_plain<Dot, false>(scores, grads, range.begin, range.end, rule_.fast_scale,
                                        constants, s_.rows + first, key);
            }
            clear_keys<Dot>(scores, grads, 0, range.begin);
            clear_keys<Dot>(scores, grads, range.end, kBackwardKeys);
            return;
        }
        for (int64 r = 0; r < kMicroRows; ++r) {
            const Row& row = s_.rows[first + r];
            const int64 b = clamp_to<int64>(row.begin - key, range.begin, range.end);
            const int64 e = clamp_to<int64>(row.end - key, b, range.end);
            weigh_row(pass_, row, key, b, e, scores + r * kBackwardStride,
                      grads + r * kBackwardStride, bias_gradient_row(row, key), s_.shift[first + r],
                      s_.delta[first + r]);
        }
        pack_pairs<Dot>(scores, grads);
    }

    float* bias_gradient_row(const Row& row, int64 key) const {
        if (pass_.bias_gradient == BiasGradient::kNone) return nullptr;
        const TensorLayout& layout = problem_.d_bias;
        return args_.d_bias +
               layout.row(layout.shape[0] == 1 ? 0 : sequence_.entry,
                          layout.shape[1] == 1 ? 0 : row.head, row.query) +
               key;
    }

    const DenseProblem& problem_;
    const DenseBackwardArgs& args_;
    Sequence sequence_;
    int64 num_keys_;  // tokens of the sequence or slots of the tile
    RowSpace space_;
    ScoreRule rule_;
    const float* delta_;  // [B, Hq, Lq]
    BackwardScoreScratch s_;
    RowPass pass_;
    int64 q_words_;
    int64 v_words_;
    int64 num_rows_ = 0;
    int64 num_groups_ = 0;
    int64 first_key_ = 0;
    int64 last_key_ = 0;
    bool with_gradients_ = false;
    KeyRange ranges_[kBackwardGroups];
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
