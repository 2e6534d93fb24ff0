// Schedules in tiles of another size than their planner emitted; called when a kernel's tiles
// differ from the pattern's. RangeSchedule has its own retile in core/schedule.h.
#pragma once

#include "core/schedule.h"
#include "plan/schedule_data.h"

namespace fattn {

/// A new tile is visited when any old tile under it is, full when it lies inside the sequences and
/// all of them are.
ListScheduleData retile(const ListSchedule& schedule, int32 tile_q, int32 tile_kv);

/// Per axis, by the rule above; tile_q and tile_kv are patches of three extents. The visited
/// patches stay a box: where the old spans of one new patch leave a gap, the gap is visited too.
BoxScheduleData retile(const BoxSchedule& schedule, const int32 (&tile_q)[3],
                       const int32 (&tile_kv)[3]);

}  // namespace fattn
