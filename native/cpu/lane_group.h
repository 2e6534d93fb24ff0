// A few neighbouring queries against runs of keys that lie evenly spaced in memory, or the other
// way round, the form in which narrow patches of a grid reach the lane kernels; made by
// gather_lanes.cpp, read by cpu/generic/lanes.h and lane_backward.h.
#pragma once

#include "core/types.h"

namespace fattn::cpu {

/// Queries of a group: one a lane of 16.
constexpr int kGroupLanes = 16;
/// Keys of a run.
constexpr int kRunKeys = 4;
/// In LaneGroup::seen: all lanes of a run's first key, and one lane of every key.
constexpr uint64 kLanesOfKey = 0xFFFF;
constexpr uint64 kEveryKeyOfRun = 0x0001000100010001;
static_assert(kRunKeys * kGroupLanes == 64, "what lanes see of a run is one word");

/// What the lanes of groups are. Runs are of the other side then: "keys" below are queries when
/// lanes are keys, which see the queries that see them.
enum class LaneSide { kQueries, kKeys };

/// Queries against runs of keys. A run has kRunKeys keys, whose tokens are origin + first, one step
/// on, ...; all of them exist, also those that no lane sees. Runs lie along the last axis, those of
/// what lines leave over along the axis before it.
struct LaneGroup {
    const int32* tokens;  // [num_lanes] of the lanes
    int64 num_lanes;      // 0: nothing to do
    int64 origin;         // token that keys of the problem count from
    const int32* first;   // [num_runs + num_additional_runs]; of additional runs: additional keys
    /// [num_runs + num_additional_runs]; bit kGroupLanes * j + l: lane l sees key j of the run.
    const uint64* seen;
    int64 num_runs;       // keys of the problem; the additional runs follow
    int64 num_line_runs;  // of these along the last axis; the others follow
    int64 step;
    int64 side_step;  // of the others
    int64 num_additional_runs;
    int64 additional_step;  // 0: runs of one key, its others are the same and seen by nobody
    /// In the forward, blocks of runs are taken from the last to the first, so that those come
    /// first which the group before this one, whose keys are much the same, left in the caches.
    bool backwards;
};

}  // namespace fattn::cpu
