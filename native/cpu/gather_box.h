// Neighborhoods as lists for the gathered loops: a patch of queries against the box of keys around
// it, and a patch of keys against the box of queries that see it; made by the CPU neighborhood
// kernel.
#pragma once

#include "core/neighborhood.h"
#include "core/schedule.h"
#include "cpu/box_pair.h"
#include "cpu/gatherer.h"

namespace fattn::cpu {

/// Boxes are gathered token by token, row-major inside their dilation group with the grid's first
/// axis outermost, so a row's interval follows its window along that axis; bits hide what lies
/// between along the others. Additional keys stand between two lines of the box that all rows see,
/// where there are such, so that intervals stay whole.
class BoxGatherer final : public Gatherer {
  public:
    /// Both schedules against single tokens; queries_of_keys is read by the backward only. The
    /// problem and the schedules outlive the gatherer.
    BoxGatherer(const NeighborhoodProblem& problem, const BoxSchedule& keys_of_queries,
                const BoxSchedule& queries_of_keys);

    GatherCapacity forward_capacity() const override { return forward_capacity_; }
    int64 num_forward_shares() const override;
    GatheredShare forward_share(int64 index, const GatherBuffer& buffer) const override;

    GatherCapacity backward_capacity() const override { return backward_capacity_; }
    int64 num_equal_heads(int64 entry, int64 head) const override;
    int64 num_key_tiles(int64 entry, int64 head, KeyChunk chunk) const override;
    GatheredTile key_tile(int64 entry, int64 head, KeyChunk chunk, int64 tile,
                          const GatherBuffer& buffer) const override;

  private:
    class Filler;

    GatherCapacity capacity(const BoxSchedule& schedule, bool patch_is_rows) const;
    GatheredTile additional_tile(KeyChunk chunk, int64 part, const GatherBuffer& buffer) const;
    /// Query heads [first_head(n), first_head(n + 1)) share key head n.
    int64 first_head(int64 kv_head) const;

    const NeighborhoodProblem& problem_;
    BoxSchedule keys_of_queries_;
    BoxSchedule queries_of_keys_;
    int lead_;  // the first axis that has several tokens
    GatherCapacity forward_capacity_;
    GatherCapacity backward_capacity_;
};

}  // namespace fattn::cpu
