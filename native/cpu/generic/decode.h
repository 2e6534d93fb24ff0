// Forward for few rows and many keys: K and V are read once where they lie, nothing is packed.
// Instantiated per CPU target by table.h.
#pragma once

#include "core/problem.h"
#include "core/softmax_state.h"
#include "core/types.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/math.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/rows.h"
#include "cpu/generic/scores.h"
#include "cpu/generic/scratch.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

constexpr int64 kDecodeKeys = 512;  // most keys of a task
constexpr int kDecodeRows = 8;      // most rows of a task
constexpr int kKeyStep = 4;         // keys whose products are summed together
// Vectors that stay in registers beside the operands of a step; rows whose sums are among them.
constexpr int kAccumulators = kMicroRows * kMicroVecs;
constexpr int kGroupRows = 4 * kKeyStep <= kAccumulators ? 4 : 2;
constexpr int64 kPageAheadBytes = 16384;  // distance of the touches that open pages of memory
constexpr int64 kLinesAheadBytes = 8192;  // distance of the touches that bring whole rows
constexpr int64 kDecodeStride = kDecodeKeys + kPanel;

/// Addresses of rows in the order in which they are read. Hardware reads ahead only inside a page
/// of memory and only along one stream: a touch of a row some pages ahead gets the translation of
/// its page under way, and the lines of a nearer row are asked for outright.
struct TouchAhead {
    const char* const* rows;
    int64 count;      // rows past it are not touched
    int64 row_bytes;  // at least 1

    FATTN_HD void at(int64 j) const {
        const int64 page = j + kPageAheadBytes / row_bytes;
        if (page < count) __builtin_prefetch(rows[page], 0, 3);
        const int64 near = j + kLinesAheadBytes / row_bytes;
        if (near >= count) return;
        for (int64 b = 0; b < row_bytes; b += 64) __builtin_prefetch(rows[near] + b, 0, 3);
    }
};

/// Products of kRows query rows with keys: scores[r * kDecodeStride + j] = q_r . k_j. keys holds
/// num_keys addresses, a multiple of kKeyStep.
template <DType kType, class Dot, int kRows>
[[gnu::noinline]] void key_products(const float* __restrict q, int64 q_stride,
                                    const char* const* __restrict keys, int64 num_keys,
                                    int64 extent, TouchAhead ahead, float* __restrict scores) {
    const int64 words = words_of<Dot>(extent);
    for (int64 j = 0; j < num_keys; j += kKeyStep) {
        for (int i = 0; i < kKeyStep; ++i) ahead.at(j + i);
        Vec acc[kRows][kKeyStep];
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
            for (int i = 0; i < kKeyStep; ++i) acc[r][i] = Vec(0.0F);
        }
        const auto step = [&](int64 w, auto load_key) {
            Vec k[kKeyStep];
#pragma GCC unroll 4
            for (int i = 0; i < kKeyStep; ++i) k[i] = load_key(keys[j + i]);
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) {
                const Vec left = load(q + r * q_stride + w);
#pragma GCC unroll 4
                for (int i = 0; i < kKeyStep; ++i) acc[r][i] = Dot::step(acc[r][i], left, k[i]);
            }
        };
        int64 w = 0;
        for (; (w + kWidth) * Dot::kDepth <= extent; w += kWidth) {
            step(
                w, [&](const char* key) __attribute__((always_inline)) {
                    return load_full_words<kType, Dot>(key, w);
                });
        }
        if (w < words) {
            step(
                w, [&](const char* key) __attribute__((always_inline)) {
                    return load_row_words<kType, Dot>(key, w, extent);
                });
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            store_sums(scores + r * kDecodeStride + j, acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
        }
    }
}

/// o_r[columns] = sum over keys of p[r * kDecodeStride + j] v_j for kVecs vectors of columns
/// starting at byte offset at.
template <DType kType, int kRows, int kVecs, bool kTail>
[[gnu::noinline]] void value_sums(const float* __restrict p, const char* const* __restrict values,
                                  int64 num_keys, int64 at, int64 tail, TouchAhead ahead,
                                  float* __restrict o, int64 o_stride) {
    Vec acc[kRows][kVecs];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int i = 0; i < kVecs; ++i) acc[r][i] = Vec(0.0F);
    }
    for (int64 j = 0; j < num_keys; ++j) {
        ahead.at(j);
        const char* row = values[j] + at;
        Vec v[kVecs];
#pragma GCC unroll 8
        for (int i = 0; i < kVecs; ++i) {
            v[i] = load_as<kType>(row + i * kWidth * bytes_of(kType), kTail ? tail : kWidth);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const Vec weight = broadcast(p + r * kDecodeStride + j);
#pragma GCC unroll 8
            for (int i = 0; i < kVecs; ++i) acc[r][i] = fma(weight, v[i], acc[r][i]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int i = 0; i < kVecs; ++i) store(o + r * o_stride + i * kWidth, acc[r][i]);
    }
}

struct DecodeScratch {
    float* q;           // [kDecodeRows][padded words]
    float* scores;      // [kDecodeRows][kDecodeStride]
    float* o;           // [kDecodeRows][padded_columns(Dv)]
    const char** rows;  // keys (the last one repeated to a whole step), values, next keys

    static uint64 layout(const DenseProblem& problem, void* memory, DecodeScratch* out) {
        Scratch scratch(memory);
        out->q = scratch.take<float>(kDecodeRows * round_up<int64>(problem.head_dim, kWidth));
        out->scores = scratch.take<float>(kDecodeRows * kDecodeStride);
        out->o = scratch.take<float>(kDecodeRows * padded_columns(problem.head_dim_v));
        out->rows = scratch.take<const char*>(3 * kDecodeKeys + kKeyStep);
        return scratch.used();
    }
};

template <class Dot>
class DecodeLoop {
  public:
    explicit DecodeLoop(const ForwardTask& task)
        : task_(task),
          problem_(*task.problem),
          space_(row_space(problem_, *task.args, task.gathered, task.sequence, task.first_head)),
          rule_(score_rule(problem_)),
          num_rows_(static_cast<int>(task.row_end - task.row_begin)),
          q_stride_(round_up<int64>(words_of<Dot>(problem_.head_dim), kWidth)),
          columns_(padded_columns(problem_.head_dim_v)),
          row_bytes_(max_of<int64>(1, problem_.head_dim * bytes_of(problem_.k.dtype))) {
        DecodeScratch::layout(problem_, task.scratch, &s_);
    }

    void run() {
        first_key_ = task_.key_end;
        last_key_ = task_.key_begin;
        for (int r = 0; r < num_rows_; ++r) {
            rows_[r] = space_.row(task_.row_begin + r, task_.key_begin, task_.key_end);
            if (rows_[r].begin >= rows_[r].end) continue;
            first_key_ = min_of(first_key_, rows_[r].begin);
            last_key_ = max_of(last_key_, rows_[r].end);
        }
        // Bits come in whole words.
        if (task_.gathered != nullptr) first_key_ = first_key_ / kBitsOfWord * kBitsOfWord;
        const int64 num_keys = max_of<int64>(0, last_key_ - first_key_);
        if (num_keys > 0) {
            address_rows();
            copy_queries();
            for_row_groups([&]<int kRows>(int row) { products<kRows>(row, num_keys); });
        }
        for (int r = 0; r < num_rows_; ++r) weigh_row(r, num_keys);
        if (num_keys > 0) {
            for_row_groups([&]<int kRows>(int row) { sums<kRows>(row, num_keys); });
            keep_unseen_out(num_keys);
        } else {
            for (int64 i = 0; i < num_rows_ * columns_; ++i) s_.o[i] = 0.0F;
        }
        finish();
    }

  private:
    /// Lists the rows in the order in which they are read.
    void address_rows() {
        const TokenRows keys = k_rows(task_, problem_.k_head(task_.first_head));
        const TokenRows values = v_rows(task_, problem_.v_head(task_.first_head));
        keys_ = s_.rows;
        const char** at = add_rows(keys, first_key_, last_key_, keys_);
        while ((at - keys_) % kKeyStep != 0) {
            *at = at[-1];
            ++at;
        }
        values_ = at;
        at = add_rows(values, first_key_, last_key_, at);
        const int64 next = min_of(last_key_ + kDecodeKeys, task_.next_key_end);
        rows_end_ = add_rows(keys, last_key_, next, at);
    }

    /// Appends the addresses of keys [begin, end).
    static const char** add_rows(const TokenRows& rows, int64 begin, int64 end, const char** out) {
        if (rows.tokens != nullptr) {
            for (int64 key = begin; key < end; ++key) *out++ = rows.row(key);
            return out;
        }
        for (int64 key = begin; key < end;) {
            // Within a page rows are evenly spaced.
            const int64 stop = rows.pages == nullptr
                                   ? end
                                   : min_of(end, (key / rows.page_size + 1) * rows.page_size);
            const char* row = rows.row(key);
            for (; key < stop; ++key, row += rows.stride) *out++ = row;
        }
        return out;
    }

    /// What to touch ahead while the list is read from `from`: the first group of rows only, later
    /// ones find it all in the cache.
    TouchAhead ahead(const char* const* from, int row) const {
        return {from, row == 0 ? rows_end_ - from : 0, row_bytes_};
    }

    void copy_queries() {
        for (int r = 0; r < num_rows_; ++r) {
            const char* row = space_.q_row(problem_.q, task_.args->q, rows_[r]);
            float* to = s_.q + r * q_stride_;
            for (int64 w = 0; w < q_stride_; w += kWidth) {
                if constexpr (Dot::kDepth == 2) {
                    store(to + w, load_row_words<DType::kBF16, Dot>(row, w, problem_.head_dim));
                } else {
                    store(to + w, with_dtype(problem_.q.dtype, [&]<DType kType>() {
                              return load_row_words<kType, Dot>(row, w, problem_.head_dim);
                          }));
                }
            }
        }
    }

    /// Calls f with groups of kGroupRows, then 2, then 1 rows.
    template <class F>
    void for_row_groups(const F& f) const {
        int row = 0;
        for (; row + kGroupRows <= num_rows_; row += kGroupRows)
            f.template operator()<kGroupRows>(row);
        if (kGroupRows > 2 && row + 2 <= num_rows_) {
            f.template operator()<2>(row);
            row += 2;
        }
        if (row < num_rows_) f.template operator()<1>(row);
    }

    template <int kRows>
    void products(int row, int64 num_keys) {
        const float* q = s_.q + row * q_stride_;
        float* scores = s_.scores + row * kDecodeStride;
        const int64 count = round_up<int64>(num_keys, kKeyStep);
        if constexpr (Dot::kDepth == 2) {
            key_products<DType::kBF16, Dot, kRows>(q, q_stride_, keys_, count, problem_.head_dim,
                                                   ahead(keys_, row), scores);
        } else {
            with_dtype(problem_.k.dtype, [&]<DType kType>() {
                key_products<kType, Dot, kRows>(q, q_stride_, keys_, count, problem_.head_dim,
                                                ahead(keys_, row), scores);
            });
        }
    }

    void weigh_row(int r, int64 num_keys) {
        const Row& row = rows_[r];
        SoftmaxState<float> state = problem_.has_sink && task_.key_begin == 0
                                        ? state_of_lse(task_.args->sink_logits[row.head])
                                        : empty_state<float>();
        max_[r] = state.max;
        sum_[r] = state.sum;
        if (num_keys == 0) return;
        float* x = s_.scores + r * kDecodeStride;
        const int64 end = round_up<int64>(num_keys, 2 * kWidth);
        const int64 b = clamp_to<int64>(row.begin - first_key_, 0, num_keys);
        const int64 e = clamp_to<int64>(row.end - first_key_, b, num_keys);
        if (!rule_.plain && b < e)
            logits(space_, rule_, row, first_key_ + b, e - b, x + b, nullptr);
        if (row.bits != nullptr) hide_unset(row, first_key_, b, e, x);
        fill(x, 0, b, -kInfinity);
        fill(x, e, end, -kInfinity);
        raise_max(&state, reduce_max(row_max(x, 0, end)) * rule_.fast_scale);
        max_[r] = state.max;
        sum_[r] = state.sum +
                  reduce_add(row_weights<DotF32>(x, 0, end, rule_.fast_scale, guarded(state.max)));
        if (problem_.dropout_p > 0.0F) row_dropout(space_, row, first_key_, b, e, x);
    }

    template <int kRows>
    void sums(int row, int64 num_keys) {
        constexpr int kVecs = kRows * 8 <= kAccumulators ? 8 : 4;
        const float* p = s_.scores + row * kDecodeStride;
        float* o = s_.o + row * columns_;
        const TouchAhead first = ahead(values_, row);
        const TouchAhead none{nullptr, 0, 1};
        with_dtype(problem_.v.dtype, [&]<DType kType>() {
            int64 c = 0;
            for (; c + kVecs * kWidth <= problem_.head_dim_v; c += kVecs * kWidth) {
                value_sums<kType, kRows, kVecs, false>(p, values_, num_keys, c * bytes_of(kType),
                                                       kWidth, c == 0 ? first : none, o + c,
                                                       columns_);
            }
            for (; c < problem_.head_dim_v; c += kWidth) {
                value_sums<kType, kRows, 1, true>(p, values_, num_keys, c * bytes_of(kType),
                                                  min_of<int64>(kWidth, problem_.head_dim_v - c),
                                                  c == 0 ? first : none, o + c, columns_);
            }
        });
    }

    /// A weight of 0 times a value that is not finite is NaN: rows that came out so are summed
    /// again over the keys they see.
    void keep_unseen_out(int64 num_keys) {
        for (int r = 0; r < num_rows_; ++r) {
            float* o = s_.o + r * columns_;
            Vec finite(0.0F);
            for (int64 c = 0; c < columns_; c += kWidth)
                finite = fma(load(o + c), Vec(0.0F), finite);
            if (!any_nan(finite)) continue;
            for (int64 c = 0; c < columns_; c += kWidth) {
                const int64 left = min_of<int64>(kWidth, problem_.head_dim_v - c);
                Vec acc(0.0F);
                for (int64 j = 0; j < num_keys; ++j) {
                    const int64 key = first_key_ + j;
                    if (!row_sees(space_, rows_[r], key)) continue;
                    const Vec v = with_dtype(problem_.v.dtype, [&]<DType kType>() {
                        return load_as<kType>(values_[j] + c * bytes_of(kType), left);
                    });
                    acc = fma(broadcast(s_.scores + r * kDecodeStride + j), v, acc);
                }
                store(o + c, acc);
            }
        }
    }

    void finish() {
        if (task_.partial != nullptr) {
            write_partial(task_.partial, num_rows_, problem_.head_dim_v, max_, sum_, s_.o,
                          columns_);
            return;
        }
        for (int r = 0; r < num_rows_; ++r) {
            write_row(space_, *task_.args, rows_[r], max_[r], sum_[r], s_.o + r * columns_);
        }
    }

    const ForwardTask& task_;
    const DenseProblem& problem_;
    RowSpace space_;
    ScoreRule rule_;
    int num_rows_;
    int64 q_stride_;
    int64 columns_;
    int64 first_key_ = 0;
    int64 last_key_ = 0;
    int64 row_bytes_;
    const char** keys_ = nullptr;
    const char** values_ = nullptr;
    const char** rows_end_ = nullptr;
    Row rows_[kDecodeRows];
    float max_[kDecodeRows];
    float sum_[kDecodeRows];
    DecodeScratch s_{};
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
