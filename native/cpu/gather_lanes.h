// Neighborhoods as groups of lanes: patches of at most 16 queries against the box of keys around
// them, for the lane kernel; made by the CPU neighborhood kernel.
#pragma once

#include "core/neighborhood.h"
#include "core/schedule.h"
#include "cpu/box_pair.h"
#include "cpu/lane_group.h"

namespace fattn::cpu {

/// Some neighbouring groups of one batch entry and key head, which read much the same keys.
struct LaneShare {
    int64 entry;  // of the batch
    int64 first_head;
    int64 num_heads;  // query heads that share the key head
    int32 group[PatchGrid::kAxes];
    GridBox patches;  // their places in the schedule, some of which may be past the group's end

    int64 num_groups() const { return patches.size(0) * patches.size(1) * patches.size(2); }
};

/// Numbers that tell the lists of one group from those of another: of each axis the sizes of patch
/// and box and the window of each coordinate, and where the last runs along the last two axes
/// begin.
constexpr int kLaneShapeNumbers = 2 * PatchGrid::kAxes + 2 * (kGroupLanes + PatchGrid::kAxes) + 2;

/// Memory of the lists of one group, which the next one that is made in it keeps when it sees the
/// same from another place.
struct LaneBuffer {
    int32* shape;    // [kLaneShapeNumbers] of the lists that are there
    int32* queries;  // [kGroupLanes]
    int32* first;    // [max_runs]
    uint64* seen;    // [max_runs]
    uint64* axis;    // [max_axis]
};

class LaneGatherer {
  public:
    /// Patches have at most kGroupLanes tokens, and every dilation group at least kRunKeys along
    /// the last axis. The problem and the arrays of the schedule outlive the gatherer.
    LaneGatherer(const NeighborhoodProblem& problem, const BoxSchedule& keys_of_queries);

    int64 max_runs() const { return max_runs_; }
    int64 max_axis() const { return max_axis_; }
    int64 max_heads() const;
    int64 num_shares() const;
    LaneShare share(int64 index) const;
    /// Group number n of a share; lists lie in the buffer, in which group 0 or 1 of the share was
    /// made before any other.
    LaneGroup group(const LaneShare& share, int64 n, const LaneBuffer& buffer) const;

  private:
    class Filler;

    const NeighborhoodProblem& problem_;
    BoxSchedule schedule_;
    int32 block_[PatchGrid::kAxes];  // patches of a share along each axis
    int64 max_runs_ = 0;
    int64 max_axis_ = 0;
};

}  // namespace fattn::cpu
