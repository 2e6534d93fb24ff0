// The backward tile loop of dense attention: blocks of keys outside, query tiles inside, all five
// products on register tiles. Instantiated per CPU target by table.h.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/backward_rows.h"
#include "cpu/generic/backward_scores.h"
#include "cpu/generic/backward_tile.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/micro.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/scratch.h"
#include "cpu/kernels.h"

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

    template <class Dot>
    static BackwardScratch take(const DenseProblem& problem, Scratch& scratch) {
        const int64 keys =
            kBackwardKeys * clamp_to<int64>(ceil_div<int64>(problem.kv_len, kBackwardKeys), 1,
                                            backward_tiles(problem));
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

template <class Dot>
class BackwardLoop {
  public:
    BackwardLoop(const BackwardTask& task, const BackwardScratch& scratch)
        : task_(task),
          problem_(*task.problem),
          args_(*task.args),
          wants_d_q_(args_.d_q != nullptr),
          wants_d_k_(args_.d_k != nullptr),
          wants_d_v_(args_.d_v != nullptr),
          columns_(padded_columns(problem_.head_dim)),
          columns_v_(padded_columns(problem_.head_dim_v)),
          d_q_stride_(d_q_sum_stride(problem_)),
          s_(scratch),
          scores_(problem_, args_, task.sequence, task.delta,
                  task.stores_d_bias ? BiasGradient::kStore : BiasGradient::kNone, s_.score) {}

    void run() {
        for (int64 h = 0; wants_d_q_ && h < task_.num_heads; ++h) {
            fill(task_.d_q + h * task_.d_q_head_stride, 0,
                 round_up<int64>(task_.sequence.q_len, kMicroRows) * d_q_stride_, 0.0F);
        }
        const int64 step = backward_tiles(problem_) * kBackwardKeys;
        for (int64 key = task_.key_begin; key < task_.key_end; key += step) {
            if (!key_block(key, min_of<int64>(task_.key_end, key + step))) return;
        }
        if (wants_d_q_ && !task_.partial) write_d_q();
    }

  private:
    /// Keys [begin, end) against all heads; false when cancelled.
    bool key_block(int64 begin, int64 end) {
        begin_ = begin;
        end_ = end;
        int64 k_head = -1;
        int64 v_head = -1;
        for (int64 h = task_.first_head; h < task_.first_head + task_.num_heads; ++h) {
            if (problem_.k_head(h) != k_head) {
                write_d_k(k_head);
                k_head = problem_.k_head(h);
                pack_keys(k_head);
            }
            if (problem_.v_head(h) != v_head) {
                write_d_v(v_head);
                v_head = problem_.v_head(h);
                pack_values(v_head);
            }
            for (int64 query = 0; query < task_.sequence.q_len; query += kBackwardRows) {
                if (!row_tile(h, query)) return false;
            }
        }
        write_d_k(k_head);
        write_d_v(v_head);
        return true;
    }

    bool wants_gradients() const { return wants_d_q_ || wants_d_k_ || task_.stores_d_bias; }

    void pack_keys(int64 head) {
        const TokenRows rows =
            token_rows(problem_, problem_.k, args_.k, nullptr, task_.sequence, head);
        const int64 words = words_of<Dot>(problem_.head_dim);
        for (int64 key = begin_; key < end_; key += kPanel) {
            pack_transposed<Dot, kPanel>(
                problem_.k.dtype, [&](int64 r) { return rows.row(key + r); }, end_ - key,
                problem_.head_dim, s_.k + (key - begin_) * words);
        }
        for (int64 t = 0; wants_d_q_ && begin_ + t * kBackwardKeys < end_; ++t) {
            const int64 key = begin_ + t * kBackwardKeys;
            k_not_finite_[t] = pack_panels<Dot>(
                problem_.k.dtype, [&](int64 r) { return rows.row(key + r); },
                min_of<int64>(kBackwardKeys, end_ - key), kBackwardKeys, problem_.head_dim,
                s_.k_columns + words_of<Dot>(t * kBackwardKeys) * columns_);
        }
        if (wants_d_k_) {
            fill(s_.d_k, 0, round_up<int64>(end_ - begin_, kMicroRows) * columns_, 0.0F);
        }
    }

    void pack_values(int64 head) {
        const TokenRows rows =
            token_rows(problem_, problem_.v, args_.v, nullptr, task_.sequence, head);
        const int64 words = words_of<Dot>(problem_.head_dim_v);
        for (int64 key = begin_; wants_gradients() && key < end_; key += kPanel) {
            pack_transposed<Dot, kPanel>(
                problem_.v.dtype, [&](int64 r) { return rows.row(key + r); }, end_ - key,
                problem_.head_dim_v, s_.v + (key - begin_) * words);
        }
        if (wants_d_v_) {
            fill(s_.d_v, 0, round_up<int64>(end_ - begin_, kMicroRows) * columns_v_, 0.0F);
        }
    }

    /// Queries [query, query + kBackwardRows) of a head against the packed keys.
    bool row_tile(int64 head, int64 query) {
        scores_.start_rows(head, query);
        const int64 first = max_of(begin_, scores_.first_key());
        const int64 last = min_of(end_, scores_.last_key());
        if (first >= last) return true;
        scores_.pack_rows(wants_gradients());
        if (wants_d_k_) {
            q_not_finite_ = pack_row_columns(problem_.q, args_.q, problem_.head_dim, s_.q_columns);
        }
        if (wants_d_v_) {
            d_o_not_finite_ =
                pack_row_columns(problem_.d_o, args_.d_o, problem_.head_dim_v, s_.d_o_columns);
        }
        for (int64 t = (first - begin_) / kBackwardKeys; begin_ + t * kBackwardKeys < last; ++t) {
            if (task_.cancel != nullptr && __atomic_load_n(task_.cancel, __ATOMIC_RELAXED) != 0) {
                return false;
            }
            tile(head, query, t);
        }
        return true;
    }

    bool pack_row_columns(const TensorLayout& layout, const void* data, int64 extent, float* to) {
        return pack_panels<Dot>(
            layout.dtype,
            [&](int64 r) { return scores_.space().q_row(layout, data, scores_.row(r)); },
            scores_.num_rows(), kBackwardRows, extent, to);
    }

    /// The started rows against packed key tile t.
    void tile(int64 head, int64 query, int64 t) {
        const int64 local = t * kBackwardKeys;
        const int64 key = begin_ + local;
        const bool full = scores_.weigh(s_.k + local * words_of<Dot>(problem_.head_dim),
                                        s_.v + local * words_of<Dot>(problem_.head_dim_v), key);
        if (wants_d_q_) {
            float* d_q =
                task_.d_q + (head - task_.first_head) * task_.d_q_head_stride + query * d_q_stride_;
            add_d_q(s_.k_columns + words_of<Dot>(local) * columns_, d_q, key,
                    full || !k_not_finite_[t]);
        }
        find_row_spans(key);
        if (wants_d_v_) {
            add_key_gradient(scores_.tiles().scores, s_.d_o_columns, columns_v_,
                             s_.d_v + local * columns_v_, key, full || !d_o_not_finite_);
        }
        if (wants_d_k_) {
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

    /// For each group of kMicroRows keys of the tile at key, the rows that see any of them.
    void find_row_spans(int64 key) {
        const int64 num_rows = scores_.num_rows();
        int64 first = 0;
        int64 last = 0;  // both only grow with the key: bounds do not fall from row to row
        for (int64 g = 0; g < kBackwardKeys / kMicroRows; ++g) {
            const int64 low = key + g * kMicroRows;
            while (first < num_rows && scores_.row(first).end <= low) ++first;
            while (last < num_rows && scores_.row(last).begin < low + kMicroRows) ++last;
            const bool none = low >= end_ || first >= last;
            spans_[g] = {none ? 0 : first, none ? 0 : last};
        }
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

    void write_d_k(int64 head) {
        if (head < 0 || !wants_d_k_) return;
        write_keys(problem_.d_k, args_.d_k, head, problem_.head_dim, s_.d_k, columns_,
                   problem_.scale);
    }
    void write_d_v(int64 head) {
        if (head < 0 || !wants_d_v_) return;
        write_keys(problem_.d_v, args_.d_v, head, problem_.head_dim_v, s_.d_v, columns_v_, 1.0F);
    }

    void write_keys(const TensorLayout& layout, void* data, int64 head, int64 extent,
                    const float* sums, int64 stride, float factor) {
        const Sequence& seq = task_.sequence;
        for (int64 key = begin_; key < end_; ++key) {
            const int64 at = layout.row(seq.batch_idx, head, seq.k_begin + key);
            store_columns(layout.dtype, static_cast<char*>(data) + at * bytes_of(layout.dtype),
                          sums + (key - begin_) * stride, extent, factor);
        }
    }

    void write_d_q() {
        const RowSpace& space = scores_.space();
        for (int64 h = 0; h < task_.num_heads; ++h) {
            const float* sums = task_.d_q + h * task_.d_q_head_stride;
            for (int64 i = 0; i < task_.sequence.q_len; ++i) {
                store_columns(problem_.d_q.dtype,
                              space.q_row(problem_.d_q, args_.d_q,
                                          Row{i, task_.first_head + h, 0, 0, nullptr}),
                              sums + i * d_q_stride_, problem_.head_dim, problem_.scale);
            }
        }
    }

    /// Rows [begin, end) of a row tile.
    struct RowSpan {
        int64 begin;
        int64 end;
    };

    const BackwardTask& task_;
    const DenseProblem& problem_;
    const DenseBackwardArgs& args_;
    bool wants_d_q_;
    bool wants_d_k_;
    bool wants_d_v_;
    int64 columns_;    // of Q and K, padded
    int64 columns_v_;  // of V and dO, padded
    int64 d_q_stride_;
    BackwardScratch s_;
    BackwardScores<Dot> scores_;
    int64 begin_ = 0;  // packed keys [begin_, end_)
    int64 end_ = 0;
    bool k_not_finite_[kBackwardTiles] = {};
    bool q_not_finite_ = false;
    bool d_o_not_finite_ = false;
    RowSpan spans_[kBackwardKeys / kMicroRows] = {};
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
