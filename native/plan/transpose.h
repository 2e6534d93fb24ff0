// Schedules seen from the keys: per KV tile the Q tiles that visit it, as the backward walks them.
// RangeSchedule has its own transpose in core/schedule.h.
#pragma once

#include "core/schedule.h"
#include "plan/schedule_data.h"

namespace fattn {

/// Exact: the tile map of the result is the transpose of the schedule's, pattern by pattern.
ListScheduleData transpose(const ListSchedule& schedule);

/// Exact, because the bounds of every axis never decrease.
BoxScheduleData transpose(const BoxSchedule& schedule);

}  // namespace fattn
