// The schedule of sharded (S2) attention at plan time, with what a caller may ask about it; made by
// api/ when a plan is queried.
#pragma once

#include <vector>

#include "core/problem.h"
#include "core/s2.h"
#include "plan/dense_plan.h"
#include "plan/schedule_data.h"

namespace fattn {

/// How much of the context the heads see together, in blocks of the pattern.
struct S2Coverage {
    int64 allowed_blocks;  // pairs of a query block and a key block that dense attention would see
    int64 unseen_blocks;   // those that no head sees
    int64 num_shards;      // residues of distant blocks; 1 when the pattern is not causal
    int64 unseen_shards;   // those that no head sees; 0 when the pattern is not causal
};

/// Making one costs a few assignments; everything else is computed when asked.
///
/// Tiles are blocks of the pattern. Query tile t holds the positions of block first_query_block() +
/// t, so where Lk - Lq is no multiple of the block the first tile begins with lead() positions that
/// hold no query; slot s of the schedule's queries is query s - lead().
class S2Plan {
  public:
    S2Plan(const DenseProblem& problem, const S2Pattern& pattern);

    const S2Pattern& pattern() const { return pattern_; }
    int64 first_query_block() const { return first_query_block_; }
    int64 lead() const { return lead_; }

    /// Heads with the same pattern share its rows.
    ListScheduleData schedule() const;
    ScheduleStats stats() const;
    /// As of DensePlan::flops.
    double flops(Pass pass) const;
    S2Coverage coverage() const;

    /// Whether queries at first_position or later, also past the plan's last one, see key blocks of
    /// a key head: [num_kv_blocks()] of 0 and 1. Not causal: queries up to the last key.
    void needed_blocks(int64 k_head, int64 first_position, uint8* needed) const;
    int64 num_kv_blocks() const { return num_kv_blocks_; }

  private:
    int64 num_query_blocks() const { return num_query_blocks_; }
    /// The query heads that first show each distinct pattern, and the pattern of every query head.
    std::vector<int64> distinct_heads(std::vector<int32>* pattern_of_head) const;
    int64 rows_of(int64 query_tile) const;  // queries that exist
    double pairs(bool needed_only) const;   // over all batch entries and heads

    S2Pattern pattern_;
    int64 batch_;
    int64 q_len_;
    int64 kv_len_;
    int64 head_dim_;
    int64 head_dim_v_;
    int64 num_kv_blocks_;
    int64 first_query_block_;
    int64 num_query_blocks_;
    int64 lead_;
};

}  // namespace fattn
