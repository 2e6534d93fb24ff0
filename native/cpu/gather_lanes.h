// Neighborhoods as groups of lanes: patches of at most 16 queries against the box of keys around
// them, or of keys against queries, for the lane kernels; made by the CPU neighborhood kernel.
#pragma once

#include "core/neighborhood.h"
#include "core/schedule.h"
#include "cpu/box_pair.h"
#include "cpu/gather_memory.h"
#include "cpu/lane_group.h"
#include "cpu/patch_shapes.h"

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

class LaneGatherer;

/// What a buffer knows of the lists that are in it.
struct LaneLists {
    const LaneGatherer* maker;      // null: no lists
    int32 shape[PatchGrid::kAxes];  // numbers of its PatchShapes
    int64 num_lanes;
    int64 num_runs;
    int64 num_line_runs;
};

/// Memory of the lists of one group, which the next one that is made in it keeps when it sees the
/// same from another place.
struct LaneBuffer {
    LaneLists* lists;  // [1]
    int32* tokens;     // [kGroupLanes]
    int32* places;     // [kGroupLanes]: tokens, counted from the first
    int32* first;      // [max_runs]
    uint64* seen;      // [max_runs]
    uint64* axis;      // [max_axis]
};

inline LaneBuffer take_lane_buffer(int64 max_runs, int64 max_axis, WorkspaceParts& parts) {
    return {.lists = parts.take<LaneLists>(1),
            .tokens = parts.take<int32>(kGroupLanes),
            .places = parts.take<int32>(kGroupLanes),
            .first = parts.take<int32>(max_runs),
            .seen = parts.take<uint64>(max_runs),
            .axis = parts.take<uint64>(max_axis)};
}

/// Makes memory, whatever it holds, a buffer without lists.
inline void empty_lane_buffer(const LaneBuffer& buffer) { buffer.lists->maker = nullptr; }

class LaneGatherer {
  public:
    /// Lanes are the patches of the schedule, runs its boxes; where lanes are keys, the additional
    /// keys of the problem are left out. Patches have at most kGroupLanes tokens, and every
    /// dilation group at least kRunKeys along the last axis. The problem and the arrays of the
    /// schedule outlive the gatherer.
    LaneGatherer(const NeighborhoodProblem& problem, const BoxSchedule& schedule, LaneSide side);

    int64 max_runs() const { return max_runs_; }
    int64 max_axis() const { return max_axis_; }
    int64 max_heads() const;
    int64 num_shares() const;
    LaneShare share(int64 index) const;
    /// Group number n of a share; lists lie in the buffer, which was emptied before its first
    /// group.
    LaneGroup group(const LaneShare& share, int64 n, const LaneBuffer& buffer) const;

  private:
    class Filler;

    int64 num_additional() const { return side_ == LaneSide::kKeys ? 0 : problem_.num_additional; }

    const NeighborhoodProblem& problem_;
    BoxSchedule schedule_;
    LaneSide side_;
    PatchShapes shapes_;
    int64 step_[PatchGrid::kAxes];           // tokens from one coordinate of the grid to the next
    int64 in_group_step_[PatchGrid::kAxes];  // and of a dilation group
    int32 block_[PatchGrid::kAxes];          // patches of a share along each axis
    int64 max_runs_ = 0;
    int64 max_axis_ = 0;
};

/// Calls visit(group, next) for the groups of a share that have lanes; next is the one after it,
/// without lanes where there is none.
template <class Visit>
void for_each_group(const LaneGatherer& gatherer, const LaneShare& share,
                    const LaneBuffer (&lists)[2], const Visit& visit) {
    LaneGroup next = gatherer.group(share, 0, lists[0]);
    for (int64 n = 0; n < share.num_groups(); ++n) {
        const LaneGroup group = next;
        next = n + 1 < share.num_groups() ? gatherer.group(share, n + 1, lists[(n + 1) % 2])
                                          : LaneGroup{};
        if (group.num_lanes > 0) visit(group, next);
    }
}

}  // namespace fattn::cpu
