// What a permuted block-sparse run visits, counted for a given selection; made by api/ when a plan
// is created.
#pragma once

#include "core/permuted_block.h"
#include "plan/schedule_stats.h"

namespace fattn {

/// The selection of a run; null as in PermutedBlockForwardArgs.
struct BlockSelection {
    const int32* permutation;
    const uint8* block_mask;
};

/// Tiles are query blocks against key blocks. A tile is visited when some pair of it is visible:
/// all its queries against the tokens that one of them sees, which in the query block's own segment
/// are the kept tokens up to its last position. With a query_block of 1 a tile is one query, so
/// visited pairs are the needed ones, although a run computes neighbouring queries together. Every
/// count is computed when asked.
class PermutedBlockPlan {
  public:
    explicit PermutedBlockPlan(const PermutedBlockProblem& problem) : problem_(problem) {}

    ScheduleStats stats(const BlockSelection& selection) const;
    /// States of one batch entry and query head, [nQ, nK].
    void write_tiles(const BlockSelection& selection, int64 batch, int64 head, uint8* tiles) const;
    /// Floating-point operations of a pass when every block is kept.
    double flops(Pass pass) const;

  private:
    struct Tile;
    Tile tile(const BlockSelection& selection, int64 number_of_head, int64 query_block,
              int64 key_block) const;

    PermutedBlockProblem problem_;
};

}  // namespace fattn
