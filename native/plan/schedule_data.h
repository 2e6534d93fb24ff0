// Schedules that own their arrays, for carriers that need arrays; made by planners, retile and
// transpose, handed to kernels as views.
#pragma once

#include <vector>

#include "core/schedule.h"
#include "core/types.h"

namespace fattn {

/// Owner of one BoxAxis.
struct BoxAxisData {
    std::vector<TileSpan> spans;  // [num_groups, num_q_tiles]
    std::vector<int32> extents;   // [num_groups]
    int32 num_q_tiles = 0;
    int32 num_kv_tiles = 0;
    int32 tile_q = 1;
    int32 tile_kv = 1;

    BoxAxis view() const {
        return {spans.data(), extents.data(), narrow<int32>(extents.size()),
                num_q_tiles,  num_kv_tiles,   tile_q,
                tile_kv};
    }
};

/// Owner of a BoxSchedule; a view lives as long as its owner.
struct BoxScheduleData {
    BoxAxisData axis[3];

    BoxSchedule view() const { return {{axis[0].view(), axis[1].view(), axis[2].view()}}; }
};

/// Owner of a ListSchedule; a view lives as long as its owner.
struct ListScheduleData {
    std::vector<int64> row_begin{0};
    std::vector<int32> num_full;
    std::vector<int32> tiles;
    std::vector<int32> pattern_of_head;
    int64 q_len = 0;
    int64 kv_len = 0;
    int32 tile_q = 1;
    int32 tile_kv = 1;
    int32 num_patterns = 0;

    ListSchedule view() const {
        return {row_begin.data(),
                num_full.data(),
                tiles.data(),
                pattern_of_head.data(),
                q_len,
                kv_len,
                tile_q,
                tile_kv,
                num_patterns,
                narrow<int32>(pattern_of_head.size())};
    }

    /// Appends the next row, [num_kv_tiles] states; rows come pattern by pattern, Q tiles
    /// ascending.
    void append_row(const TileState* states, int32 num_kv_tiles) {
        int32 full = 0;
        for (const TileState wanted : {TileState::kFull, TileState::kPartial}) {
            for (int32 t = 0; t < num_kv_tiles; ++t) {
                if (states[t] != wanted) continue;
                tiles.push_back(t);
                full += wanted == TileState::kFull;
            }
        }
        num_full.push_back(full);
        row_begin.push_back(static_cast<int64>(tiles.size()));
    }
};

}  // namespace fattn
