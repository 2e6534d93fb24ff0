// The two schedule carriers with arrays, cut into other tiles; called by planners.
#include "plan/retile.h"

#include <algorithm>
#include <vector>

namespace fattn {
namespace {

/// Tiles of one size that lie under a tile of another: [begin, end).
struct Under {
    int32 begin;
    int32 end;
    bool ragged;  // the upper tile reaches past the end of the sequence
};

Under tiles_under(int32 tile, int32 size, int32 lower_size, int64 num_tokens) {
    const int64 first = int64{tile} * size;
    const int64 extent = tile_extent(tile, size, num_tokens);
    return {narrow<int32>(first / lower_size),
            narrow<int32>(ceil_div<int64>(first + extent, lower_size)), extent < size};
}

/// Span of a new patch over the old spans of the old patches under it.
TileSpan retile_span(const TileSpan* old, const Under& rows, const BoxAxis& axis, int32 tile_kv,
                     int32 extent) {
    int32 begin = axis.num_kv_tiles;
    int32 end = 0;
    int32 full_begin = 0;
    int32 full_end = rows.ragged ? 0 : axis.num_kv_tiles;
    for (int32 q = rows.begin; q < rows.end; ++q) {
        full_begin = std::max(full_begin, old[q].full_begin);
        full_end = std::min(full_end, old[q].full_end);
        if (old[q].num_tiles() == 0) continue;
        begin = std::min(begin, old[q].begin);
        end = std::max(end, old[q].end);
    }
    if (end <= begin) return {0, 0, 0, 0};
    const int64 last = std::min<int64>(int64{end} * axis.tile_kv, extent);
    TileSpan span{narrow<int32>(int64{begin} * axis.tile_kv / tile_kv), 0, 0,
                  narrow<int32>(ceil_div<int64>(last, tile_kv))};
    span.full_begin = narrow<int32>(ceil_div<int64>(int64{full_begin} * axis.tile_kv, tile_kv));
    // A full old tile ends inside the group, so a new tile under full ones only does too.
    span.full_end = narrow<int32>(int64{full_end} * axis.tile_kv / tile_kv);
    if (full_end <= full_begin || span.full_end <= span.full_begin) {
        span.full_begin = span.full_end = span.begin;
    }
    return span;
}

BoxAxisData retile_axis(const BoxAxis& axis, int32 tile_q, int32 tile_kv) {
    BoxAxisData result;
    result.extents.assign(axis.extents, axis.extents + axis.num_groups);
    const int32 longest = *std::max_element(result.extents.begin(), result.extents.end());
    result.num_q_tiles = ceil_div(longest, tile_q);
    result.num_kv_tiles = ceil_div(longest, tile_kv);
    result.tile_q = tile_q;
    result.tile_kv = tile_kv;
    for (int32 g = 0; g < axis.num_groups; ++g) {
        const TileSpan* old = axis.spans + int64{g} * axis.num_q_tiles;
        const int32 extent = axis.extents[g];
        for (int32 q = 0; q < result.num_q_tiles; ++q) {
            const bool past_end = int64{q} * tile_q >= extent;
            result.spans.push_back(
                past_end ? TileSpan{0, 0, 0, 0}
                         : retile_span(old, tiles_under(q, tile_q, axis.tile_q, extent), axis,
                                       tile_kv, extent));
        }
    }
    return result;
}

}  // namespace

ListScheduleData retile(const ListSchedule& schedule, int32 tile_q, int32 tile_kv) {
    ListScheduleData result;
    result.pattern_of_head.assign(schedule.pattern_of_head,
                                  schedule.pattern_of_head + schedule.num_heads);
    result.q_len = schedule.q_len;
    result.kv_len = schedule.kv_len;
    result.tile_q = tile_q;
    result.tile_kv = tile_kv;
    result.num_patterns = schedule.num_patterns;

    const int32 num_q_tiles = narrow<int32>(ceil_div<int64>(schedule.q_len, tile_q));
    const int32 num_kv_tiles = narrow<int32>(ceil_div<int64>(schedule.kv_len, tile_kv));
    const auto old_kv_tiles = static_cast<std::size_t>(schedule.num_kv_tiles());
    std::vector<int32> visits(old_kv_tiles);  // rows under the new one that visit an old tile
    std::vector<int32> fulls(old_kv_tiles);   // of those, rows where it is full
    std::vector<TileState> states(static_cast<std::size_t>(num_kv_tiles));
    for (int32 pattern = 0; pattern < schedule.num_patterns; ++pattern) {
        for (int32 q = 0; q < num_q_tiles; ++q) {
            const Under rows = tiles_under(q, tile_q, schedule.tile_q, schedule.q_len);
            std::fill(visits.begin(), visits.end(), 0);
            std::fill(fulls.begin(), fulls.end(), 0);
            for (int32 old_q = rows.begin; old_q < rows.end; ++old_q) {
                for_each_tile(schedule.pattern_row(pattern, old_q), [&](int32 tile, bool full) {
                    ++visits[static_cast<std::size_t>(tile)];
                    fulls[static_cast<std::size_t>(tile)] += full;
                });
            }
            for (int32 t = 0; t < num_kv_tiles; ++t) {
                const Under columns = tiles_under(t, tile_kv, schedule.tile_kv, schedule.kv_len);
                bool visited = false;
                bool full = !rows.ragged && !columns.ragged;
                for (int32 old_t = columns.begin; old_t < columns.end; ++old_t) {
                    visited = visited || visits[static_cast<std::size_t>(old_t)] > 0;
                    full = full && fulls[static_cast<std::size_t>(old_t)] == rows.end - rows.begin;
                }
                states[static_cast<std::size_t>(t)] = full      ? TileState::kFull
                                                      : visited ? TileState::kPartial
                                                                : TileState::kSkipped;
            }
            result.append_row(states.data(), num_kv_tiles);
        }
    }
    return result;
}

BoxScheduleData retile(const BoxSchedule& schedule, const int32 (&tile_q)[3],
                       const int32 (&tile_kv)[3]) {
    BoxScheduleData result;
    for (int a = 0; a < 3; ++a) {
        result.axis[a] = retile_axis(schedule.axis[a], tile_q[a], tile_kv[a]);
    }
    return result;
}

}  // namespace fattn
