// The forward tile loop of dense and gathered attention: K and V tiles packed once for all rows of
// a task, then product, row pass, product for each row tile. Instantiated per CPU target by
// table.h.
#pragma once

#include "core/problem.h"
#include "core/softmax_state.h"
#include "core/types.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/math.h"
#include "cpu/generic/micro.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/rows.h"
#include "cpu/generic/scores.h"
#include "cpu/generic/scratch.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

static_assert(kTileQ % kMicroRows == 0 && kTileKv % kPanel == 0 && kPanel % (2 * kWidth) == 0,
              "tiles are whole register tiles");
static_assert(kTileKv % kBitsOfWord == 0, "key tiles begin with a word of bits");

/// Scratch of one forward task. All matrices f32 or words.
struct ForwardScratch {
    Row* rows;      // [padded rows]
    float* q;       // [row groups][words][kMicroRows]
    float* k;       // [kTileKv / kPanel][words][kPanel]
    float* v;       // column panels of [kTileKv words]
    float* scores;  // [kTileQ][kScoreStride]
    float* o;       // [padded rows][padded_columns(Dv)]
    float* max;     // [padded rows] running maximum, base 2
    float* sum;     // [padded rows]
    float* alpha;   // [kTileQ]

    template <class Dot>
    static uint64 layout(const DenseProblem& problem, int64 num_rows, void* memory,
                         ForwardScratch* out) {
        const int64 rows = round_up<int64>(num_rows, kMicroRows) + kWidth;
        const int64 words = words_of<Dot>(problem.head_dim);
        Scratch scratch(memory);
        out->rows = scratch.take<Row>(rows);
        out->q = scratch.take<float>(rows * words);
        out->k = scratch.take<float>(kTileKv * words);
        out->v = scratch.take<float>(kTileKv / Dot::kDepth * padded_columns(problem.head_dim_v));
        out->scores = scratch.take<float>(kTileQ * kScoreStride);
        out->o = scratch.take<float>(rows * padded_columns(problem.head_dim_v));
        out->max = scratch.take<float>(rows);
        out->sum = scratch.take<float>(rows);
        out->alpha = scratch.take<float>(kTileQ + kWidth);
        return scratch.used();
    }
};

/// Rows of a group rounded up to what store_sums and store_maxima take at once.
constexpr int kQuadRows = round_up(kMicroRows, 4);

/// Keys of the current tile that a group of kMicroRows rows touches, tile-local.
struct GroupRange {
    int32 begin;  // multiple of kPanel, start of the score columns computed
    int32 end;    // multiple of kPanel, end of the score columns computed
    int32 start;  // multiple of Dot::kDepth, start of the weights used
    int32 depth;  // multiple of Dot::kDepth, end of the weights used
    bool full;    // every row sees every key of [start, depth)
};

template <class Dot>
class ForwardLoop {
  public:
    explicit ForwardLoop(const ForwardTask& task)
        : task_(task),
          problem_(*task.problem),
          space_(row_space(problem_, *task.args, task.gathered, task.sequence, task.first_head)),
          rule_(score_rule(problem_)),
          num_rows_(task.row_end - task.row_begin),
          num_groups_(ceil_div<int64>(num_rows_, kMicroRows)),
          words_(words_of<Dot>(problem_.head_dim)),
          columns_(padded_columns(problem_.head_dim_v)) {
        ForwardScratch::layout<Dot>(problem_, num_rows_, task.scratch, &s_);
    }

    void run() {
        start_rows();
        pack_queries();
        const TokenRows keys = k_rows(task_, problem_.k_head(task_.first_head));
        const TokenRows values = v_rows(task_, problem_.v_head(task_.first_head));
        for (int64 key = first_key_ / kTileKv * kTileKv; key < last_key_; key += kTileKv) {
            if (task_.cancel != nullptr && __atomic_load_n(task_.cancel, __ATOMIC_RELAXED) != 0)
                return;
            pack_tile(keys, values, key);
            for (int64 g = 0; g < num_groups_; g += kTileQ / kMicroRows) {
                row_tile(g, min_of<int64>(num_groups_, g + kTileQ / kMicroRows), key);
            }
        }
        finish();
    }

  private:
    void start_rows() {
        first_key_ = task_.key_end;
        last_key_ = task_.key_begin;
        const bool sinks = problem_.has_sink && task_.key_begin == 0;
        for (int64 r = 0; r < num_groups_ * kMicroRows; ++r) {
            SoftmaxState<float> state = empty_state<float>();
            if (r < num_rows_) {
                const Row row = space_.row(task_.row_begin + r, task_.key_begin, task_.key_end);
                s_.rows[r] = row;
                if (row.begin < row.end) {
                    first_key_ = min_of(first_key_, row.begin);
                    last_key_ = max_of(last_key_, row.end);
                }
                if (sinks) state = state_of_lse(task_.args->sink_logits[row.head]);
            } else {
                s_.rows[r] = Row{0, 0, 0, 0, nullptr};
            }
            s_.max[r] = state.max;
            s_.sum[r] = state.sum;
        }
        fill(s_.o, 0, num_groups_ * kMicroRows * columns_, 0.0F);
    }

    void pack_queries() {
        for (int64 g = 0; g < num_groups_; ++g) {
            const Row* rows = s_.rows + g * kMicroRows;
            pack_transposed<Dot, kMicroRows>(
                problem_.q.dtype,
                [&](int64 r) { return space_.q_row(problem_.q, task_.args->q, rows[r]); },
                num_rows_ - g * kMicroRows, problem_.head_dim, s_.q + g * kMicroRows * words_);
        }
    }

    /// Packs the panels of keys [key, key + kTileKv) that some row sees.
    void pack_tile(const TokenRows& keys, const TokenRows& values, int64 key) {
        const int64 begin = max_of<int64>(first_key_ - key, 0) / kPanel * kPanel;
        const int64 end = min_of<int64>(last_key_ - key, kTileKv);
        for (int64 j = begin; j < end; j += kPanel) {
            pack_transposed<Dot, kPanel>(
                problem_.k.dtype, [&](int64 r) { return keys.row(key + j + r); }, end - j,
                problem_.head_dim, s_.k + j * words_);
        }
        v_begin_ = begin;
        v_words_ = words_of<Dot>(round_up<int64>(end - begin, kPanel));
        v_not_finite_ = pack_panels<Dot>(
            problem_.v.dtype, [&](int64 r) { return values.row(key + begin + r); }, end - begin,
            round_up<int64>(end - begin, kPanel), problem_.head_dim_v, s_.v);
    }

    GroupRange group_range(const Row* rows, int64 key) const {
        int64 begin = kTileKv;
        int64 end = 0;
        int64 common_begin = 0;
        int64 common_end = kTileKv;
        bool all = !problem_.has_mask;
        for (int r = 0; r < kMicroRows; ++r) {
            const RowPart part = part_of(rows[r], key, kTileKv);
            all = all && part.all;
            common_begin = max_of(common_begin, part.begin);
            common_end = min_of(common_end, part.end);
            if (part.begin < part.end) {
                begin = min_of(begin, part.begin);
                end = max_of(end, part.end);
            }
        }
        if (begin >= end) return {0, 0, 0, 0, false};
        const int64 start = begin / Dot::kDepth * Dot::kDepth;
        const int64 depth = round_up<int64>(end, Dot::kDepth);
        return {static_cast<int32>(begin / kPanel * kPanel),
                static_cast<int32>(round_up<int64>(end, kPanel)), static_cast<int32>(start),
                static_cast<int32>(depth), all && common_begin <= start && common_end >= depth};
    }

    /// Row groups [group, group_end), at most kTileQ rows, against the packed tile.
    void row_tile(int64 group, int64 group_end, int64 key) {
        GroupRange ranges[kTileQ / kMicroRows];
        int64 begin = kTileKv;
        int64 end = 0;
        for (int64 g = group; g < group_end; ++g) {
            const GroupRange range = group_range(s_.rows + g * kMicroRows, key);
            ranges[g - group] = range;
            if (range.begin < range.end) {
                begin = min_of<int64>(begin, range.begin);
                end = max_of<int64>(end, range.end);
            }
        }
        for (int64 j = begin; j < end; j += kPanel) {
            for (int64 g = group; g < group_end; ++g) {
                const GroupRange& range = ranges[g - group];
                if (j < range.begin || j >= range.end) continue;
                multiply_keys(g, (g - group) * kMicroRows, j, range.depth - j);
            }
        }
        for (int64 g = group; g < group_end; ++g) {
            if (ranges[g - group].begin < ranges[g - group].end) {
                weigh_group(g * kMicroRows, (g - group) * kMicroRows, ranges[g - group], key);
            }
        }
        for (int64 c = 0; c < columns_;) {
            const int64 width = panel_width(c, columns_);
            for (int64 g = group; g < group_end; ++g) {
                const GroupRange& range = ranges[g - group];
                if (range.begin >= range.end || (v_not_finite_ && !range.full)) continue;
                accumulate(g * kMicroRows, (g - group) * kMicroRows, range, c, width);
            }
            c += width;
        }
        if (v_not_finite_) {
            for (int64 g = group; g < group_end; ++g) {
                const GroupRange& range = ranges[g - group];
                if (range.begin < range.end && !range.full) {
                    accumulate_visible(g * kMicroRows, (g - group) * kMicroRows, range, key);
                }
            }
        }
    }

    /// Rows of the group that starts at a row; the last one may have fewer than others.
    int64 rows_of_group(int64 row) const { return min_of<int64>(kMicroRows, num_rows_ - row); }

    /// Products of a group with the panel of keys at j, of which the group uses the first count.
    void multiply_keys(int64 group, int64 tile_row, int64 j, int64 count) {
        if (rows_of_group(group * kMicroRows) <= kFewRows) {
            multiply_keys<kFewRows>(group, tile_row, j, count);
        } else {
            multiply_keys<kMicroRows>(group, tile_row, j, count);
        }
    }
    template <int kRows>
    void multiply_keys(int64 group, int64 tile_row, int64 j, int64 count) {
        const float* q = s_.q + group * kMicroRows * words_;
        const float* k = s_.k + j * words_;
        float* scores = s_.scores + tile_row * kScoreStride + j;
        if (count > kPanel - kWidth) {
            micro_product<Dot, PanelOrder, kMicroVecs, Start::kZero, kMicroVecs, kRows>(
                q, k, words_, scores, kScoreStride, nullptr);
        } else {
            for (int64 at = 0; at < count; at += kWidth) {
                micro_product<Dot, PanelOrder, 1, Start::kZero, kMicroVecs, kRows>(
                    q, k + at, words_, scores + at, kScoreStride, nullptr);
            }
        }
    }

    /// Scores of one group to weights; updates its rows' state and the factors of their old sums.
    void weigh_group(int64 row, int64 tile_row, GroupRange range, int64 key) {
        float* scores = s_.scores + tile_row * kScoreStride;
        const bool softmax = problem_.weights == Weights::kSoftmax;
        const int64 num_rows = rows_of_group(row);
        Vec lanes[kQuadRows];
        for (Vec& of_row : lanes) of_row = Vec(-kInfinity);
        for (int64 r = 0; r < num_rows; ++r) {
            float* x = scores + r * kScoreStride;
            const Row& info = s_.rows[row + r];
            // A full range is what every row sees, also where a row's interval goes on with slots
            // whose bits are not set.
            const int64 b = range.full ? range.start
                                       : clamp_to<int64>(info.begin - key, range.begin, range.end);
            const int64 e =
                range.full ? range.depth : clamp_to<int64>(info.end - key, b, range.end);
            if (!rule_.plain && b < e) logits(space_, rule_, info, key + b, e - b, x + b, nullptr);
            if (info.bits != nullptr && !range.full) hide_unset(info, key, b, e, x);
            fill(x, range.begin, b, -kInfinity);
            fill(x, e, range.end, -kInfinity);
            if (softmax) lanes[r] = row_max(x, range.begin, range.end);
        }
        if (!softmax) {
            weigh_sigmoid(row, tile_row, range, key);
            return;
        }
        float shift[kQuadRows + kWidth];
        for (int r = 0; r < kQuadRows; r += 4) {
            store_maxima(shift + r, lanes[r], lanes[r + 1], lanes[r + 2], lanes[r + 3]);
        }
        for (int r = 0; r < kMicroRows; r += kWidth) {
            const int64 count = min_of<int64>(kWidth, kMicroRows - r);
            SoftmaxState<Vec> state{load_first(s_.max + row + r, count),
                                    load_first(s_.sum + row + r, count)};
            const Vec tile_max = load_first(shift + r, count) * Vec(rule_.fast_scale);
            store_first(s_.alpha + tile_row + r, raise_max(&state, tile_max), count);
            store_first(s_.max + row + r, state.max, count);
            store_first(s_.sum + row + r, state.sum, count);
            store(shift + r, guarded(state.max));
        }
        const bool dropout = problem_.dropout_p > 0.0F;
        for (Vec& of_row : lanes) of_row = Vec(0.0F);
        for (int64 r = 0; r < num_rows; ++r) {
            float* x = scores + r * kScoreStride;
            if (!dropout) {
                lanes[r] = row_weights<Dot>(x, range.begin, range.end, rule_.fast_scale, shift[r]);
                continue;
            }
            lanes[r] = row_weights<DotF32>(x, range.begin, range.end, rule_.fast_scale, shift[r]);
            row_dropout(space_, s_.rows[row + r], key, range.begin, range.end, x);
            pack_weights<Dot>(x, range.begin, range.end);
        }
        for (int r = 0; r < kQuadRows; r += 4) {
            store_sums(shift + r, lanes[r], lanes[r + 1], lanes[r + 2], lanes[r + 3]);
        }
        for (int r = 0; r < kMicroRows; r += kWidth) {
            const int64 count = min_of<int64>(kWidth, kMicroRows - r);
            store_first(s_.sum + row + r,
                        load_first(s_.sum + row + r, count) + load_first(shift + r, count), count);
        }
    }

    void weigh_sigmoid(int64 row, int64 tile_row, GroupRange range, int64 key) {
        float* scores = s_.scores + tile_row * kScoreStride;
        for (int64 r = 0; r < rows_of_group(row); ++r) {
            float* x = scores + r * kScoreStride;
            row_sigmoid(x, range.begin, range.end, problem_.sigmoid_bias);
            if (problem_.dropout_p > 0.0F) {
                row_dropout(space_, s_.rows[row + r], key, range.begin, range.end, x);
            }
            pack_weights<Dot>(x, range.begin, range.end);
            s_.sum[row + r] = 1.0F;
            s_.alpha[tile_row + r] = 1.0F;
        }
    }

    /// O[group, columns c..] = alpha O + P V.
    void accumulate(int64 row, int64 tile_row, GroupRange range, int64 c, int64 width) {
        if (rows_of_group(row) <= kFewRows) {
            accumulate<kFewRows>(row, tile_row, range, c, width);
        } else {
            accumulate<kMicroRows>(row, tile_row, range, c, width);
        }
    }
    template <int kRows>
    void accumulate(int64 row, int64 tile_row, GroupRange range, int64 c, int64 width) {
        const float* p = s_.scores + tile_row * kScoreStride + range.start / Dot::kDepth;
        const float* v = s_.v + c * v_words_ + (range.start - v_begin_) / Dot::kDepth * width;
        const int64 depth = (range.depth - range.start) / Dot::kDepth;
        float* o = s_.o + row * columns_ + c;
        if (width == kPanel) {
            micro_product<Dot, ScoreRows, kMicroVecs, Start::kScaled, kMicroVecs, kRows>(
                p, v, depth, o, columns_, s_.alpha + tile_row);
        } else {
            micro_product<Dot, ScoreRows, 1, Start::kScaled, 1, kRows>(p, v, depth, o, columns_,
                                                                       s_.alpha + tile_row);
        }
    }

    /// As accumulate, row by row, leaving out values of keys that the row does not see: a partial
    /// group whose tile holds a value that is not finite.
    void accumulate_visible(int64 row, int64 tile_row, GroupRange range, int64 key) {
        for (int64 r = 0; r < rows_of_group(row); ++r) {
            const Row& info = s_.rows[row + r];
            const float* p = s_.scores + (tile_row + r) * kScoreStride;
            float* o = s_.o + (row + r) * columns_;
            for (int64 c = 0; c < columns_;) {
                const int64 width = panel_width(c, columns_);
                for (int64 end = c + width; c < end; c += kWidth) {
                    const float* v = s_.v + (end - width) * v_words_ + (c - (end - width));
                    Vec acc = load(o + c) * Vec(s_.alpha[tile_row + r]);
                    for (int64 j = range.start; j < range.depth; j += Dot::kDepth) {
                        const Vec x = load(v + (j - v_begin_) / Dot::kDepth * width);
                        acc = visible_step(info, key + j, p + j / Dot::kDepth, x, acc);
                    }
                    store(o + c, acc);
                }
            }
        }
    }

    Vec visible_step(const Row& info, int64 key, const float* p, Vec x, Vec acc) const {
        const bool first = row_sees(space_, info, key);
        if constexpr (Dot::kDepth == 1) {
            return first ? Dot::step(acc, broadcast(p), x) : acc;
        } else {
            const bool second = row_sees(space_, info, key + 1);
            if (!first && !second) return acc;
            if (!first || !second) {
                x = pair_bf16(first ? low_bf16(x) : Vec(0.0F), second ? high_bf16(x) : Vec(0.0F));
            }
            return Dot::step(acc, broadcast(p), x);
        }
    }

    void finish() {
        if (task_.partial != nullptr) {
            write_partial(task_.partial, num_rows_, problem_.head_dim_v, s_.max, s_.sum, s_.o,
                          columns_);
            return;
        }
        for (int64 r = 0; r < num_rows_; ++r) {
            write_row(space_, *task_.args, s_.rows[r], s_.max[r], s_.sum[r], s_.o + r * columns_);
        }
    }

    const ForwardTask& task_;
    const DenseProblem& problem_;
    RowSpace space_;
    ScoreRule rule_;
    int64 num_rows_;
    int64 num_groups_;
    int64 words_;    // of a row of Q or K
    int64 columns_;  // of V and O, padded
    int64 first_key_ = 0;
    int64 last_key_ = 0;
    int64 v_begin_ = 0;  // tile-local key of the first packed value
    int64 v_words_ = 0;
    bool v_not_finite_ = false;
    ForwardScratch s_{};
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
