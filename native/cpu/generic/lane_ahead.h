// The rows of Q and O that the next group of lanes comes to, which the caches are asked for while
// the current one is computed; used by the lane loop.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/lane_products.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/rows.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Rows of one query head of a task in a tensor that has query heads.
FATTN_HD inline TokenRows query_rows(const LaneTask& task, const TensorLayout& layout,
                                     const void* data, int64 head) {
    const Sequence& sequence = task.sequence;
    return evenly_spaced(layout, data,
                         layout.row(sequence.batch_idx, task.first_head + head, sequence.q_begin));
}

/// A group reads its queries and writes its results all at once, in places that nothing foresees:
/// asked for one after the other between register tiles, they are there by then.
class RowsAhead {
  public:
    /// calls: how often ask will be called for each head.
    RowsAhead(const LaneTask& task, int64 calls)
        : task_(task),
          row_bytes_(max_of(task.problem->head_dim * bytes_of(task.problem->q.dtype),
                            task.problem->head_dim_v * bytes_of(task.problem->o.dtype))),
          rows_of_call_(ceil_div(task.next->num_lanes, calls)) {
        start_head();
    }

    void ask() {
        for (int64 n = 0; n < rows_of_call_ && head_ < task_.num_heads; ++n) {
            const int64 query = task_.next->queries[lane_];
            const char* q = q_.base + query * q_.stride;
            const char* o = o_.base + query * o_.stride;
            for (int64 byte = 0; byte < row_bytes_; byte += kLineBytes) {
                __builtin_prefetch(q + byte, 0, 3);
                __builtin_prefetch(o + byte, 1, 3);
            }
            if (++lane_ < task_.next->num_lanes) continue;
            lane_ = 0;
            if (++head_ < task_.num_heads) start_head();
        }
    }

  private:
    void start_head() {
        q_ = query_rows(task_, task_.problem->q, task_.args->q, head_);
        o_ = query_rows(task_, task_.problem->o, task_.args->o, head_);
    }

    const LaneTask& task_;
    int64 row_bytes_;
    int64 rows_of_call_;
    int64 head_ = 0;  // of the row to ask for next
    int64 lane_ = 0;
    TokenRows q_;  // of the head
    TokenRows o_;
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
