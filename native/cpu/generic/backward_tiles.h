// The part of the backward tile loop that dense and gathered attention share: key tiles packed
// once, row tiles against them, all five products on register tiles. Used by backward.h and
// gathered_backward.h.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/backward_rows.h"
#include "cpu/generic/backward_scores.h"
#include "cpu/generic/backward_tile.h"
#include "cpu/generic/micro.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/scratch.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Most key tiles that share one packing of a query tile.
constexpr int64 kBackwardTiles = 8;

/// Key tiles of a block of keys: with small head dims more of them, so that packing queries stays a
/// small part of the work; with large ones fewer, so that the block stays near the second cache.
FATTN_HD constexpr int64 backward_tiles(const DenseProblem& problem) {
    const int64 columns = max_of<int64>(problem.head_dim + problem.head_dim_v, 1);
    return clamp_to<int64>(1024 / columns, 1, kBackwardTiles);
}

/// Scratch of one backward task; the key side holds up to backward_tiles tiles.
struct BackwardScratch {
    BackwardScoreScratch score;
    float* k;            // [tiles][panels of keys][words of D][kPanel]
    float* v;            // [tiles][panels of keys][words of Dv][kPanel]
    float* k_columns;    // [tiles] column panels of [kBackwardKeys words]
    float* d_k;          // [tiles * kBackwardKeys][padded D] f32 sums
    float* d_v;          // [tiles * kBackwardKeys][padded Dv]
    float* q_columns;    // column panels of [kBackwardRows words]
    float* d_o_columns;  // column panels of [kBackwardRows words]

    /// num_keys: that a task may have, as far as more of them take more memory.
    template <class Dot>
    static BackwardScratch take(const DenseProblem& problem, int64 num_keys, Scratch& scratch) {
        const int64 keys = kBackwardKeys * clamp_to<int64>(ceil_div<int64>(num_keys, kBackwardKeys),
                                                           1, backward_tiles(problem));
        const int64 columns = padded_columns(problem.head_dim);
        const int64 columns_v = padded_columns(problem.head_dim_v);
        BackwardScratch s{};
        s.score = BackwardScoreScratch::take<Dot>(problem, scratch);
        s.k = scratch.take<float>(keys * words_of<Dot>(problem.head_dim));
        s.v = scratch.take<float>(keys * words_of<Dot>(problem.head_dim_v));
        s.k_columns = scratch.take<float>(words_of<Dot>(keys) * columns);
        s.d_k = scratch.take<float>(keys * columns);
        s.d_v = scratch.take<float>(keys * columns_v);
        s.q_columns = scratch.take<float>(words_of<Dot>(kBackwardRows) * columns);
        s.d_o_columns = scratch.take<float>(words_of<Dot>(kBackwardRows) * columns_v);
        return s;
    }
};

/// c += a b over one word of depth, leaving out halves that are not seen.
template <class Dot>
FATTN_HD inline Vec add_seen(Vec acc, const float* a, Vec b, bool first, bool second) {
    if constexpr (Dot::kDepth == 1) {
        return first ? Dot::step(acc, broadcast(a), b) : acc;
    } else {
        if (!first && !second) return acc;
        if (!first || !second) {
            b = pair_bf16(first ? low_bf16(b) : Vec(0.0F), second ? high_bf16(b) : Vec(0.0F));
        }
        return Dot::step(acc, broadcast(a), b);
    }
}

/// One row of C += A B where B, column panels of `words` words, holds values that are not finite:
/// takes part only what sees(d) admits of depth [begin, end).
template <class Dot, class Sees>
inline void add_seen_row(const float* a, int64 a_depth, const float* b, int64 words, int64 begin,
                         int64 end, int64 columns, float* c, const Sees& sees) {
    for (int64 d = begin / Dot::kDepth * Dot::kDepth; d < end; d += Dot::kDepth) {
        const bool first = sees(d);
        const bool second = Dot::kDepth == 2 && sees(d + 1);
        const int64 word = d / Dot::kDepth;
        for (int64 panel = 0; panel < columns;) {
            const int64 width = panel_width(panel, columns);
            const float* right = b + panel * words + word * width;
            for (int64 i = 0; i < width; i += kWidth) {
                float* at = c + panel + i;
                store(at,
                      add_seen<Dot>(load(at), a + word * a_depth, load(right + i), first, second));
            }
            panel += width;
        }
    }
}

/// C[kMicroRows x width] += A B, one column panel.
template <class Dot, class Order>
FATTN_HD inline void add_product(const float* a, const float* b, int64 depth, int64 width, float* c,
                                 int64 c_stride) {
    if (width == kPanel) {
        micro_product<Dot, Order, kMicroVecs, Start::kAdd>(a, b, depth, c, c_stride, nullptr);
    } else {
        micro_product<Dot, Order, 1, Start::kAdd>(a, b, depth, c, c_stride, nullptr);
    }
}

/// Which sums a task adds to.
struct WantedGradients {
    bool d_q;
    bool d_k;
    bool d_v;
    bool d_bias;
};

/// A block of packed keys, at most backward_tiles tiles, that row tiles are taken against one after
/// the other. Keys are tokens or slots.
template <class Dot>
class BackwardTiles {
  public:
    BackwardTiles(const DenseProblem& problem, const DenseBackwardArgs& args,
                  BackwardScores<Dot>& scores, const BackwardScratch& scratch,
                  WantedGradients wanted, const int32* cancel)
        : problem_(problem),
          args_(args),
          scores_(scores),
          s_(scratch),
          wanted_(wanted),
          cancel_(cancel),
          columns_(padded_columns(problem.head_dim)),
          columns_v_(padded_columns(problem.head_dim_v)),
          d_q_stride_(sum_stride(problem.head_dim)) {}

    /// Starts the block of keys [begin, end); begin is a multiple of kBackwardKeys.
    void start_keys(int64 begin, int64 end) {
        begin_ = begin;
        end_ = end;
    }

    /// Packs the keys of the block and clears the sums of their gradients.
    void pack_keys(const TokenRows& rows) {
        const int64 words = words_of<Dot>(problem_.head_dim);
        for (int64 key = begin_; key < end_; key += kPanel) {
            pack_transposed<Dot, kPanel>(
                problem_.k.dtype, [&](int64 r) { return rows.row(key + r); }, end_ - key,
                problem_.head_dim, s_.k + (key - begin_) * words);
        }
        for (int64 t = 0; wanted_.d_q && begin_ + t * kBackwardKeys < end_; ++t) {
            const int64 key = begin_ + t * kBackwardKeys;
            k_not_finite_[t] = pack_panels<Dot>(
                problem_.k.dtype, [&](int64 r) { return rows.row(key + r); },
                min_of<int64>(kBackwardKeys, end_ - key), kBackwardKeys, problem_.head_dim,
                s_.k_columns + words_of<Dot>(t * kBackwardKeys) * columns_);
        }
        if (wanted_.d_k) {
            fill(s_.d_k, 0, round_up<int64>(end_ - begin_, kMicroRows) * columns_, 0.0F);
        }
    }
    void pack_values(const TokenRows& rows) {
        const int64 words = words_of<Dot>(problem_.head_dim_v);
        for (int64 key = begin_; wants_score_gradients() && key < end_; key += kPanel) {
            pack_transposed<Dot, kPanel>(
                problem_.v.dtype, [&](int64 r) { return rows.row(key + r); }, end_ - key,
                problem_.head_dim_v, s_.v + (key - begin_) * words);
        }
        if (wanted_.d_v) {
            fill(s_.d_v, 0, round_up<int64>(end_ - begin_, kMicroRows) * columns_v_, 0.0F);
        }
    }

    /// Whether the rows that the scores have started see any key of the block.
    bool rows_see_keys() const {
        return max_of(begin_, scores_.first_key()) < min_of(end_, scores_.last_key());
    }

    /// The started rows, which see some key, against the block. Adds to d_q, rows of
    /// sum_stride(head_dim) floats, of which whole register tiles of rows are touched. Returns
    /// false when cancelled.
    bool row_tile(float* d_q) {
        scores_.pack_rows(wants_score_gradients());
        if (wanted_.d_k) {
            q_not_finite_ = pack_row_columns(problem_.q, args_.q, problem_.head_dim, s_.q_columns);
        }
        if (wanted_.d_v) {
            d_o_not_finite_ =
                pack_row_columns(problem_.d_o, args_.d_o, problem_.head_dim_v, s_.d_o_columns);
        }
        const int64 first = max_of(begin_, scores_.first_key());
        const int64 last = min_of(end_, scores_.last_key());
        for (int64 t = (first - begin_) / kBackwardKeys; begin_ + t * kBackwardKeys < last; ++t) {
            if (cancel_ != nullptr && __atomic_load_n(cancel_, __ATOMIC_RELAXED) != 0) {
                return false;
            }
            tile(d_q, t);
        }
        return true;
    }

    /// Sums of the block's key gradients, unscaled, rows of padded_columns(head_dim).
    const float* d_k() const { return s_.d_k; }
    /// The same of the value gradients.
    const float* d_v() const { return s_.d_v; }

  private:
    bool wants_score_gradients() const { return wanted_.d_q || wanted_.d_k || wanted_.d_bias; }

    bool pack_row_columns(const TensorLayout& layout, const void* data, int64 extent, float* to) {
        return pack_panels<Dot>(
            layout.dtype,
            [&](int64 r) { return scores_.space().q_row(layout, data, scores_.row(r)); },
            scores_.num_rows(), kBackwardRows, extent, to);
    }

    /// The started rows against packed key tile t.
    void tile(float* d_q, int64 t) {
        const int64 local = t * kBackwardKeys;
        const int64 key = begin_ + local;
        const bool full = scores_.weigh(s_.k + local * words_of<Dot>(problem_.head_dim),
                                        s_.v + local * words_of<Dot>(problem_.head_dim_v), key);
        if (wanted_.d_q) {
            add_d_q(s_.k_columns + words_of<Dot>(local) * columns_, d_q, key,
                    full || !k_not_finite_[t]);
        }
        find_row_spans(key);
        if (wanted_.d_v) {
            add_key_gradient(scores_.tiles().scores, s_.d_o_columns, columns_v_,
                             s_.d_v + local * columns_v_, key, full || !d_o_not_finite_);
        }
        if (wanted_.d_k) {
            add_key_gradient(gradient_columns<Dot>(scores_.tiles()), s_.q_columns, columns_,
                             s_.d_k + local * columns_, key, full || !q_not_finite_);
        }
    }

    /// d_q += gradients K; together says that zero weights are as good as none.
    void add_d_q(const float* k, float* d_q, int64 key, bool together) {
        const float* grads = scores_.tiles().grads;
        const int64 words = words_of<Dot>(kBackwardKeys);
        for (int64 c = 0; together && c < columns_;) {
            const int64 width = panel_width(c, columns_);
            for (int64 g = 0; g < scores_.num_groups(); ++g) {
                const KeyRange& range = scores_.range(g);
                if (range.begin >= range.end) continue;
                const int64 first = range.begin / Dot::kDepth;
                add_product<Dot, TileRows>(grads + g * kMicroRows * kBackwardStride + first,
                                           k + c * words + first * width,
                                           range.depth / Dot::kDepth - first, width,
                                           d_q + g * kMicroRows * d_q_stride_ + c, d_q_stride_);
            }
            c += width;
        }
        for (int64 r = 0; !together && r < scores_.num_rows(); ++r) {
            const KeyRange& range = scores_.range(r / kMicroRows);
            add_seen_row<Dot>(grads + r * kBackwardStride, TileRows::kDepth, k, words, range.begin,
                              range.depth, columns_, d_q + r * d_q_stride_,
                              [&](int64 j) { return scores_.sees(r, key + j); });
        }
    }

    /// For each group of kMicroRows keys of the tile at key, the rows that see any of them: looks
    /// from both ends until every group has met a row.
    void find_row_spans(int64 key) {
        const int64 num_rows = scores_.num_rows();
        const int64 num_groups =
            ceil_div<int64>(min_of<int64>(kBackwardKeys, end_ - key), kMicroRows);
        for (RowSpan& span : spans_) span = {0, 0, false};
        int64 left = num_groups;
        for (int64 r = 0; r < num_rows && left > 0; ++r) {
            left -= visit_groups(r, [&](RowSpan& span) {
                if (span.end != 0) return false;
                span = {r, r + 1, false};
                return true;
            });
        }
        left = num_groups - left;
        for (int64 r = num_rows - 1; r >= 0 && left > 0; --r) {
            left -= visit_groups(r, [&](RowSpan& span) {
                if (span.closed) return false;
                span.end = r + 1;
                span.closed = true;
                return true;
            });
        }
    }

    /// Calls visit with the span of every group of keys that row r sees some of; returns how many
    /// of the calls gave true.
    template <class Visit>
    int64 visit_groups(int64 r, const Visit& visit) {
        const RowPart& part = scores_.part(r);
        int64 count = 0;
        for (int64 at = part.begin / kMicroRows * kMicroRows; at < part.end; at += kMicroRows) {
            count += visit(spans_[at / kMicroRows]) ? 1 : 0;
        }
        return count;
    }

    /// C[keys] += (tile columns)^T B over the rows of the tile, B column panels of the rows.
    void add_key_gradient(const float* tile, const float* b, int64 columns, float* out, int64 key,
                          bool together) {
        constexpr int64 kWords = kBackwardRows / Dot::kDepth;
        for (int64 c = 0; together && c < columns;) {
            const int64 width = panel_width(c, columns);
            for (int64 g = 0; g < kBackwardKeys / kMicroRows; ++g) {
                if (spans_[g].begin >= spans_[g].end) continue;
                const int64 first = spans_[g].begin / Dot::kDepth;
                const int64 depth = words_of<Dot>(spans_[g].end) - first;
                add_product<Dot, TileColumns<Dot>>(
                    tile + first * TileColumns<Dot>::kDepth + g * kMicroRows,
                    b + c * kWords + first * width, depth, width,
                    out + g * kMicroRows * columns + c, columns);
            }
            c += width;
        }
        for (int64 j = 0; !together && j < min_of<int64>(kBackwardKeys, end_ - key); ++j) {
            const RowSpan& span = spans_[j / kMicroRows];
            add_seen_row<Dot>(tile + j, TileColumns<Dot>::kDepth, b, kWords, span.begin, span.end,
                              columns, out + j * columns,
                              [&](int64 r) { return scores_.sees(r, key + j); });
        }
    }

    /// Rows [begin, end) of a row tile.
    struct RowSpan {
        int64 begin;
        int64 end;
        bool closed;  // end is final
    };

    const DenseProblem& problem_;
    const DenseBackwardArgs& args_;
    BackwardScores<Dot>& scores_;
    BackwardScratch s_;
    WantedGradients wanted_;
    const int32* cancel_;
    int64 columns_;    // of Q and K, padded
    int64 columns_v_;  // of V and dO, padded
    int64 d_q_stride_;
    int64 begin_ = 0;  // packed keys [begin_, end_)
    int64 end_ = 0;
    bool k_not_finite_[kBackwardTiles] = {};
    bool q_not_finite_ = false;
    bool d_o_not_finite_ = false;
    RowSpan spans_[kBackwardKeys / kMicroRows] = {};
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
