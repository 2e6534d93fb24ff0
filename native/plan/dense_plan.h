// The schedule of a dense problem at plan time, with what a caller may ask about it; made by api/
// when a plan is created.
#pragma once

#include "core/problem.h"
#include "core/schedule.h"
#include "plan/schedule_stats.h"

namespace fattn {

/// Making one costs a few assignments; every sum is computed when asked, in time linear in the
/// queries.
class DensePlan {
  public:
    /// Where lengths or positions come with a run, the schedule is that of the capacities at offset
    /// 0.
    DensePlan(const DenseProblem& problem, int32 tile_q, int32 tile_kv);

    /// Shared by all batch entries and heads.
    const RangeSchedule& schedule() const { return schedule_; }

    ScheduleStats stats() const;

    /// Floating-point operations of a pass over the visited pairs: two products forward, five
    /// backward.
    double flops(Pass pass) const;

  private:
    double visited_pairs() const;

    RangeSchedule schedule_;
    int64 num_heads_;  // batch entries times query heads
    int64 head_dim_;
    int64 head_dim_v_;
};

}  // namespace fattn
