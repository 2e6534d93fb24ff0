// Sums over the schedule of a plan, in every family the same; filled by the planners, reported by
// api/.
#pragma once

#include "core/types.h"

namespace fattn {

/// Sums over all batch entries and query heads.
struct ScheduleStats {
    int64 tile_q;
    int64 tile_kv;
    int64 num_q_tiles;   // of one head
    int64 num_kv_tiles;  // of one head
    int64 full_tiles;
    int64 partial_tiles;
    int64 skipped_tiles;
    double needed_pairs;   // pairs that the predicate leaves visible; a mask may hide more
    double visited_pairs;  // pairs of existing tokens in visited tiles
};

}  // namespace fattn
