// Which patches of a box schedule see the same from another place, axis by axis, so that lists made
// for one serve the others; used by the gatherer of lanes.
#pragma once

#include <vector>

#include "core/neighborhood.h"
#include "core/schedule.h"
#include "cpu/box_pair.h"
#include "cpu/lane_group.h"

namespace fattn::cpu {

/// What a coordinate of a patch sees along an axis of a dilation group of so many tokens.
inline KeyInterval window_of(const NeighborhoodAxis& axis, LaneSide side, int64 x, int64 length) {
    return side == LaneSide::kKeys ? axis.queries_of(x, length) : axis.keys_of(x, length);
}

class PatchShapes {
  public:
    /// Patches of at most kGroupLanes tokens; of others nothing is noted.
    PatchShapes(const NeighborhoodGrid& grid, const BoxSchedule& schedule, LaneSide side);

    /// Number of the shape of the patch at a place of a dilation group, along an axis: patches of
    /// one number are as long, their boxes too, every coordinate's window lies alike in its box,
    /// and the next kRunKeys tokens behind the box exist or do not exist alike.
    int32 number(int axis, int32 group, int64 place) const {
        return numbers_[axis][static_cast<size_t>(group * places_[axis] + place)];
    }

  private:
    std::vector<int32> numbers_[PatchGrid::kAxes];  // [groups of the axis][places]
    int64 places_[PatchGrid::kAxes] = {};
};

}  // namespace fattn::cpu
