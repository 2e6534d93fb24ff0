// Dense planner: closed-form schedule from the problem, sums on query; called by api/.
#include "plan/dense_plan.h"

#include "core/predicate.h"
#include "plan/tile_map.h"

namespace fattn {
namespace {

Sequence capacity_of(const DenseProblem& problem) {
    return {.batch_idx = 0,
            .entry = 0,
            .q_begin = 0,
            .k_begin = 0,
            .q_len = problem.q_len,
            .kv_len = problem.kv_len};
}

}  // namespace

DensePlan::DensePlan(const DenseProblem& problem, int32 tile_q, int32 tile_kv)
    : schedule_(range_schedule(problem, range_predicate(problem, capacity_of(problem), 0, 0),
                               problem.q_len, tile_q, tile_kv)),
      num_heads_(problem.batch * problem.num_q_heads),
      head_dim_(problem.head_dim),
      head_dim_v_(problem.head_dim_v) {}

double DensePlan::visited_pairs() const {
    double pairs = 0;
    for (int32 q = 0; q < schedule_.num_q_tiles(); ++q) {
        const TileSpan row = schedule_.row(0, q);
        if (row.num_tiles() == 0) continue;
        const int64 first = int64{row.begin} * schedule_.tile_kv;
        const int64 last = min_of<int64>(int64{row.end} * schedule_.tile_kv, schedule_.kv_len());
        pairs += static_cast<double>(tile_extent(q, schedule_.tile_q, schedule_.q_len)) *
                 static_cast<double>(last - first);
    }
    return pairs * static_cast<double>(num_heads_);
}

ScheduleStats DensePlan::stats() const {
    const TileCounts counts = count_tiles(schedule_, 0);
    double needed = 0;
    for (int64 i = 0; i < schedule_.q_len; ++i) {
        needed += static_cast<double>(schedule_.predicate.visible(i).size());
    }
    return {.tile_q = schedule_.tile_q,
            .tile_kv = schedule_.tile_kv,
            .num_q_tiles = schedule_.num_q_tiles(),
            .num_kv_tiles = schedule_.num_kv_tiles(),
            .full_tiles = counts.full * num_heads_,
            .partial_tiles = counts.partial * num_heads_,
            .skipped_tiles = counts.skipped * num_heads_,
            .needed_pairs = needed * static_cast<double>(num_heads_),
            .visited_pairs = visited_pairs()};
}

double DensePlan::flops(Pass pass) const {
    const auto qk = static_cast<double>(head_dim_);
    const auto pv = static_cast<double>(head_dim_v_);
    const double depth = pass == Pass::kForward ? qk + pv : 3 * qk + 2 * pv;
    return 2 * depth * visited_pairs();
}

}  // namespace fattn
