// The backward tile loop of dense attention: blocks of keys outside, query tiles inside.
// Instantiated per CPU target by table.h.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/backward_rows.h"
#include "cpu/generic/backward_scores.h"
#include "cpu/generic/backward_tiles.h"
#include "cpu/generic/epilogue.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/rows.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

template <class Dot>
class BackwardLoop {
  public:
    BackwardLoop(const BackwardTask& task, const BackwardScratch& scratch)
        : task_(task),
          problem_(*task.problem),
          args_(*task.args),
          wanted_{args_.d_q != nullptr, args_.d_k != nullptr, args_.d_v != nullptr,
                  task.stores_d_bias},
          d_q_stride_(sum_stride(problem_.head_dim)),
          scores_(problem_, args_, nullptr, task.sequence, task.first_head, task.delta,
                  task.stores_d_bias ? BiasGradient::kStore : BiasGradient::kNone, scratch.score),
          tiles_(problem_, args_, scores_, scratch, wanted_, task.cancel) {}

    void run() {
        for (int64 h = 0; wanted_.d_q && h < task_.num_heads; ++h) {
            fill(task_.d_q + h * task_.d_q_head_stride, 0,
                 round_up<int64>(task_.sequence.q_len, kMicroRows) * d_q_stride_, 0.0F);
        }
        const int64 step = backward_tiles(problem_) * kBackwardKeys;
        for (int64 key = task_.key_begin; key < task_.key_end; key += step) {
            if (!key_block(key, min_of<int64>(task_.key_end, key + step))) return;
        }
        if (wanted_.d_q && !task_.partial) write_d_q();
    }

  private:
    /// Keys [begin, end) against all heads; false when cancelled.
    bool key_block(int64 begin, int64 end) {
        begin_ = begin;
        end_ = end;
        tiles_.start_keys(begin, end);
        int64 k_head = -1;
        int64 v_head = -1;
        for (int64 h = 0; h < task_.num_heads; ++h) {
            const int64 head = task_.first_head + h;
            if (problem_.k_head(head) != k_head) {
                write_d_k(k_head);
                k_head = problem_.k_head(head);
                tiles_.pack_keys(
                    token_rows(problem_, problem_.k, args_.k, nullptr, task_.sequence, k_head));
            }
            if (problem_.v_head(head) != v_head) {
                write_d_v(v_head);
                v_head = problem_.v_head(head);
                tiles_.pack_values(
                    token_rows(problem_, problem_.v, args_.v, nullptr, task_.sequence, v_head));
            }
            const int64 q_len = task_.sequence.q_len;
            for (int64 query = 0; query < q_len; query += kBackwardRows) {
                scores_.start_rows(h * q_len + query, min_of<int64>(kBackwardRows, q_len - query));
                if (!tiles_.rows_see_keys()) continue;
                float* d_q = task_.d_q + h * task_.d_q_head_stride + query * d_q_stride_;
                if (!tiles_.row_tile(d_q)) return false;
            }
        }
        write_d_k(k_head);
        write_d_v(v_head);
        return true;
    }

    void write_d_k(int64 head) {
        if (head < 0 || !wanted_.d_k) return;
        write_keys(problem_.d_k, args_.d_k, head, problem_.head_dim, tiles_.d_k(), problem_.scale);
    }
    void write_d_v(int64 head) {
        if (head < 0 || !wanted_.d_v) return;
        write_keys(problem_.d_v, args_.d_v, head, problem_.head_dim_v, tiles_.d_v(), 1.0F);
    }

    void write_keys(const TensorLayout& layout, void* data, int64 head, int64 extent,
                    const float* sums, float factor) {
        const Sequence& seq = task_.sequence;
        const int64 stride = padded_columns(extent);
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

    const BackwardTask& task_;
    const DenseProblem& problem_;
    const DenseBackwardArgs& args_;
    WantedGradients wanted_;
    int64 d_q_stride_;
    BackwardScores<Dot> scores_;
    BackwardTiles<Dot> tiles_;
    int64 begin_ = 0;  // keys [begin_, end_) of the current block
    int64 end_ = 0;
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
