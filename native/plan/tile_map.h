// Any schedule as a dense map of tile states, as text, and counted; called by plan queries and by
// tests that show a schedule.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/schedule.h"
#include "core/types.h"

namespace fattn {

/// Writes the states of one head, [num_q_tiles, num_kv_tiles] row-major, as TileState or as bytes.
template <class Schedule, class State>
void write_tile_map(const Schedule& schedule, int64 head, State* tiles) {
    const auto columns = static_cast<std::size_t>(schedule.num_kv_tiles());
    for (int32 q = 0; q < schedule.num_q_tiles(); ++q) {
        State* row = tiles + static_cast<std::size_t>(q) * columns;
        for (std::size_t t = 0; t < columns; ++t) row[t] = static_cast<State>(TileState::kSkipped);
        for_each_tile(schedule.row(head, q), [&](int32 t, bool full) {
            row[t] = static_cast<State>(full ? TileState::kFull : TileState::kPartial);
        });
    }
}

template <class Schedule>
std::vector<TileState> to_dense(const Schedule& schedule, int64 head) {
    std::vector<TileState> tiles(static_cast<std::size_t>(schedule.num_q_tiles()) *
                                 static_cast<std::size_t>(schedule.num_kv_tiles()));
    write_tile_map(schedule, head, tiles.data());
    return tiles;
}

/// One line per Q tile, one character per KV tile: '#' full, '+' partial, '.' skipped.
std::string draw_tiles(const std::vector<TileState>& tiles, int32 num_q_tiles, int32 num_kv_tiles);

template <class Schedule>
std::string draw(const Schedule& schedule, int64 head) {
    return draw_tiles(to_dense(schedule, head), schedule.num_q_tiles(), schedule.num_kv_tiles());
}

/// Sums over the tiles of one or more heads.
struct TileCounts {
    int64 full = 0;
    int64 partial = 0;
    int64 skipped = 0;
};

template <class Schedule>
TileCounts count_tiles(const Schedule& schedule, int64 head) {
    TileCounts counts;
    for (int32 q = 0; q < schedule.num_q_tiles(); ++q) {
        const auto row = schedule.row(head, q);
        counts.full += row.num_full();
        counts.partial += row.num_tiles() - row.num_full();
        counts.skipped += schedule.num_kv_tiles() - row.num_tiles();
    }
    return counts;
}

}  // namespace fattn
