// The backward tile loop of gathered attention: one list of key slots against the rows that see any
// of them, sums added by token. Instantiated per CPU target by table.h.
#pragma once

#include "core/problem.h"
#include "core/types.h"
#include "cpu/generic/backward_rows.h"
#include "cpu/generic/backward_scores.h"
#include "cpu/generic/backward_tiles.h"
#include "cpu/generic/pack.h"
#include "cpu/generic/rows.h"
#include "cpu/generic/scratch.h"
#include "cpu/kernels.h"

namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE {
namespace {

/// Scratch of one key tile of a gathered backward run.
struct GatheredBackwardScratch {
    BackwardScratch tiles;
    float* d_q;  // [kBackwardRows][sum_stride(D)] sums of one row tile

    template <class Dot>
    static GatheredBackwardScratch take(const DenseProblem& problem, int64 num_slots,
                                        Scratch& scratch) {
        GatheredBackwardScratch s{};
        s.tiles = BackwardScratch::take<Dot>(problem, num_slots, scratch);
        s.d_q = scratch.take<float>(kBackwardRows * sum_stride(problem.head_dim));
        return s;
    }
};

template <class Dot>
class GatheredBackwardLoop {
  public:
    GatheredBackwardLoop(const GatheredBackwardTask& task, const GatheredBackwardScratch& scratch)
        : task_(task),
          problem_(*task.problem),
          tile_(*task.gathered->tile),
          d_q_(scratch.d_q),
          scores_(problem_, *task.args, task.gathered, task.sequence, task.first_head, task.delta,
                  BiasGradient::kNone, scratch.tiles.score),
          tiles_(
              problem_, *task.args, scores_, scratch.tiles,
              {task.d_q.sums != nullptr, task.d_k.sums != nullptr, task.d_v.sums != nullptr, false},
              task.cancel) {}

    void run() {
        const TokenRows keys = k_rows(task_, problem_.k_head(task_.first_head));
        const TokenRows values = v_rows(task_, problem_.v_head(task_.first_head));
        const int64 step = backward_tiles(problem_) * kBackwardKeys;
        for (int64 slot = 0; slot < tile_.num_slots; slot += step) {
            const int64 end = min_of(tile_.num_slots, slot + step);
            tiles_.start_keys(slot, end);
            tiles_.pack_keys(keys);
            tiles_.pack_values(values);
            if (!rows_of_block()) return;
            add_key_sums(tiles_.d_k(), problem_.head_dim, task_.d_k, slot, end);
            add_key_sums(tiles_.d_v(), problem_.head_dim_v, task_.d_v, slot, end);
        }
    }

  private:
    /// All rows against the packed keys; false when cancelled.
    bool rows_of_block() {
        const int64 num_rows = task_.num_heads * tile_.num_rows;
        for (int64 row = 0; row < num_rows; row += kBackwardRows) {
            scores_.start_rows(row, min_of<int64>(kBackwardRows, num_rows - row));
            if (!tiles_.rows_see_keys()) continue;
            const int64 stride = sum_stride(problem_.head_dim);
            if (task_.d_q.sums != nullptr) {
                fill(d_q_, 0, scores_.num_groups() * kMicroRows * stride, 0.0F);
            }
            if (!tiles_.row_tile(d_q_)) return false;
            if (task_.d_q.sums == nullptr) continue;
            scatter_rows(d_q_, stride, scores_.num_rows(), problem_.head_dim, task_.d_q,
                         [&](int64 r) {
                             const Row& at = scores_.row(r);
                             return (at.head - task_.first_head) * problem_.q_len + at.query;
                         });
        }
        return true;
    }

    void add_key_sums(const float* from, int64 extent, const TokenSums& to, int64 begin,
                      int64 end) const {
        if (to.sums == nullptr) return;
        scatter_rows(from, padded_columns(extent), end - begin, extent, to,
                     [&](int64 s) { return int64{tile_.tokens[begin + s]}; });
    }

    const GatheredBackwardTask& task_;
    const DenseProblem& problem_;
    const GatheredTile& tile_;
    float* d_q_;
    BackwardScores<Dot> scores_;
    BackwardTiles<Dot> tiles_;
};

}  // namespace
}  // namespace fattn::cpu::FATTN_CPU_TARGET_NAMESPACE
