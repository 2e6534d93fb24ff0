// The schedule of a neighborhood problem: tokens in patches, for every query patch the box of keys
// that one of its queries sees, and the same from the keys; made by api/ when a plan is created.
#pragma once

#include "core/neighborhood.h"
#include "core/problem.h"
#include "core/schedule.h"
#include "plan/schedule_data.h"
#include "plan/schedule_stats.h"

namespace fattn {

/// Tokens of a patch along each axis.
struct Patch {
    int32 extent[PatchGrid::kAxes];

    int64 num_tokens() const { return int64{extent[0]} * extent[1] * extent[2]; }
};

/// Per patch of queries the keys that one of them sees, in patches of the given sizes; exact: a key
/// patch is full when every query sees every key, skipped when none sees any.
BoxScheduleData neighborhood_schedule(const NeighborhoodGrid& grid, const Patch& queries,
                                      const Patch& keys);

/// Per patch of keys the queries that see one of them: the transpose, from inverse windows.
BoxScheduleData neighborhood_schedule_of_keys(const NeighborhoodGrid& grid, const Patch& keys,
                                              const Patch& queries);

/// The patch of least estimated work per token. heads: query heads that share a key head, folded
/// into the rows of a patch, at most most_rows; num_additional: keys that every query sees besides.
Patch choose_patch(const NeighborhoodGrid& grid, int64 heads, int64 num_additional, int64 most_rows,
                   const GatherTiles& tiles);

/// Making one costs time linear in the extents of the axes, not in the tokens.
class NeighborhoodPlan {
  public:
    NeighborhoodPlan(const NeighborhoodProblem& problem, const GatherTiles& tiles);

    const Patch& patch() const { return patch_; }
    /// Query patches against single keys, and key patches against single queries. Shared by all
    /// batch entries and heads. A view lives as long as the plan.
    BoxSchedule keys_of_queries() const { return keys_of_queries_.view(); }
    BoxSchedule queries_of_keys() const { return queries_of_keys_.view(); }

    /// Tiles are patches of queries against patches of keys of the same size. Visited are, for
    /// every group of neighbouring rows, the lines of its patch's box that one of them sees along
    /// the first axis, whole along the others. Pairs with additional keys are needed and visited,
    /// but no tiles.
    ScheduleStats stats() const;

    /// Floating-point operations of a pass over the visited pairs: two products forward, five
    /// backward (whose patches are cut alike).
    double flops(Pass pass) const;

    /// States of the tiles of stats(), [num_q_tiles, num_kv_tiles], in patch order.
    void write_tiles(uint8* tiles) const;

  private:
    double needed_pairs() const;   // of one head
    double visited_pairs() const;  // of one head
    double visited_along(const NeighborhoodAxis& axis, int32 patch, int64 line) const;

    NeighborhoodGrid grid_;
    Patch patch_;
    Patch key_patch_;  // of the backward; heads are not folded there
    int32 row_group_;
    BoxScheduleData keys_of_queries_;
    BoxScheduleData queries_of_keys_;
    int64 num_heads_;  // batch entries times query heads
    int64 num_additional_;
    int64 head_dim_;
    int64 head_dim_v_;
};

}  // namespace fattn
