// The schedule of a neighborhood problem: tokens in patches, for every query patch the box of keys
// that one of its queries sees, and the same from the keys; made by api/ when a plan is created.
#pragma once

#include "core/neighborhood.h"
#include "core/problem.h"
#include "core/schedule.h"
#include "plan/neighborhood_patch.h"
#include "plan/schedule_data.h"
#include "plan/schedule_stats.h"

namespace fattn {

/// Per patch of queries the keys that one of them sees, in patches of the given sizes; exact: a key
/// patch is full when every query sees every key, skipped when none sees any.
BoxScheduleData neighborhood_schedule(const NeighborhoodGrid& grid, const Patch& queries,
                                      const Patch& keys);

/// Per patch of keys the queries that see one of them: the transpose, from inverse windows.
BoxScheduleData neighborhood_schedule_of_keys(const NeighborhoodGrid& grid, const Patch& keys,
                                              const Patch& queries);

/// Making one costs time linear in the extents of the axes, not in the tokens.
class NeighborhoodPlan {
  public:
    NeighborhoodPlan(const NeighborhoodProblem& problem, const GatherTiles& tiles);

    const Patch& patch() const { return patch_.patch; }
    /// Whether the queries of a patch are the lanes of a vector.
    bool lanes() const { return patch_.lanes; }
    /// Of the backward; heads are not folded there.
    const Patch& key_patch() const { return key_patch_.patch; }
    /// Whether the keys of a key patch are the lanes of a vector, and the queries of a patch too.
    bool lanes_backward() const { return key_patch_.lanes; }
    /// Query patches against single keys, and key patches against single queries. Shared by all
    /// batch entries and heads. A view lives as long as the plan.
    BoxSchedule keys_of_queries() const { return keys_of_queries_.view(); }
    BoxSchedule queries_of_keys() const { return queries_of_keys_.view(); }

    /// Tiles are patches of queries against patches of keys of the same size. Visited pairs are
    /// those of a forward run. Pairs with additional keys are needed and visited, but no tiles.
    ScheduleStats stats() const;

    /// Pairs that a pass computes, over all batch entries and heads: for every group of
    /// neighbouring rows the lines of slots that one of them sees along the first axis, whole along
    /// the others. Rows are the patch of a forward tile and the box of a backward one, slots the
    /// other way round, so the two differ; where keys are lanes, those of patch and box. kBackward:
    /// of plans with a backward.
    double visited_pairs(Pass pass) const;

    /// Floating-point operations of a pass over its visited pairs: two products forward, five
    /// backward, however often lanes make the scores again.
    double flops(Pass pass) const;

    /// States of the tiles of stats(), [num_q_tiles, num_kv_tiles], in patch order.
    void write_tiles(uint8* tiles) const;

  private:
    double needed_pairs() const;            // of one head
    double pairs_of_head(Pass pass) const;  // visited, without additional keys

    NeighborhoodGrid grid_;
    ChosenPatch patch_;
    ChosenPatch key_patch_;  // in plans with a backward
    int32 row_group_;        // of the backward
    int32 query_group_;
    BoxScheduleData keys_of_queries_;
    BoxScheduleData queries_of_keys_;
    int64 num_heads_;  // batch entries times query heads
    int64 num_additional_;
    int64 head_dim_;
    int64 head_dim_v_;
};

}  // namespace fattn
