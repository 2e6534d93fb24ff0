// The schedule contract in code: what every carrier must satisfy, checked tile by tile against a
// per-token predicate; called by the tests of planners and carriers.
#pragma once

#include <string>
#include <vector>

#include "core/schedule.h"
#include "plan/tile_map.h"

namespace fattn::test {

/// Empty when the rows of a head are well-formed, else what is wrong: every tile at most once, full
/// ones first, both runs ascending, state() and tile() of one mind.
template <class Schedule>
std::string check_rows(const Schedule& schedule, int64 head) {
    const int32 columns = schedule.num_kv_tiles();
    for (int32 q = 0; q < schedule.num_q_tiles(); ++q) {
        const auto row = schedule.row(head, q);
        const std::string where = "row " + std::to_string(q) + ": ";
        if (row.num_full() < 0 || row.num_full() > row.num_tiles()) return where + "bad counts";
        std::vector<TileState> seen(static_cast<std::size_t>(columns), TileState::kSkipped);
        int32 previous = -1;
        for (int32 n = 0; n < row.num_tiles(); ++n) {
            if (n == row.num_full()) previous = -1;
            const int32 t = row.tile(n);
            if (t < 0 || t >= columns) return where + "tile " + std::to_string(t) + " out of range";
            if (t <= previous) return where + "tile " + std::to_string(t) + " out of order";
            TileState& state = seen[static_cast<std::size_t>(t)];
            if (state != TileState::kSkipped) return where + "tile " + std::to_string(t) + " twice";
            state = n < row.num_full() ? TileState::kFull : TileState::kPartial;
            previous = t;
        }
        for (int32 t = 0; t < columns; ++t) {
            if (row.state(t) != seen[static_cast<std::size_t>(t)]) {
                return where + "state of tile " + std::to_string(t) + " disagrees";
            }
        }
    }
    return {};
}

/// What a tile is by looking at its pairs of slots: state(i, j) is kFull for a visible pair. Slots
/// at or past a length are ends, which keep a tile from being full.
template <class State>
TileState tile_by_pairs(KeyInterval queries, int64 q_len, KeyInterval keys, int64 kv_len,
                        const State& state) {
    bool visited = false;
    bool full = queries.end <= q_len && keys.end <= kv_len;
    for (int64 i = queries.begin; i < min_of(queries.end, q_len); ++i) {
        for (int64 j = keys.begin; j < min_of(keys.end, kv_len); ++j) {
            const TileState of_pair = state(i, j);
            visited = visited || of_pair != TileState::kSkipped;
            full = full && of_pair == TileState::kFull;
        }
    }
    return full ? TileState::kFull : visited ? TileState::kPartial : TileState::kSkipped;
}

/// The whole map by looking at pairs. Serves planners (state says what is visible) and retile
/// (state says what the old tile of the pair was).
template <class State>
std::vector<TileState> map_by_pairs(int64 tile_q, int64 q_len, int64 tile_kv, int64 kv_len,
                                    const State& state) {
    std::vector<TileState> map;
    for (int64 i = 0; i < q_len; i += tile_q) {
        for (int64 j = 0; j < kv_len; j += tile_kv) {
            map.push_back(tile_by_pairs({i, i + tile_q}, q_len, {j, j + tile_kv}, kv_len, state));
        }
    }
    return map;
}

/// Rows and columns exchanged.
inline std::vector<TileState> transposed(const std::vector<TileState>& map, int32 num_q_tiles,
                                         int32 num_kv_tiles) {
    std::vector<TileState> result;
    for (int32 t = 0; t < num_kv_tiles; ++t) {
        for (int32 q = 0; q < num_q_tiles; ++q) {
            result.push_back(map[static_cast<std::size_t>(q * num_kv_tiles + t)]);
        }
    }
    return result;
}

}  // namespace fattn::test
