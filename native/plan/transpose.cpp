// Transposes of the two schedule carriers with arrays; called by planners for the backward.
#include "plan/transpose.h"

#include <algorithm>
#include <vector>

namespace fattn {
namespace {

/// Takes tile q into the interval [*begin, *end), which is empty before the first.
void widen(int32* begin, int32* end, int32 q) {
    if (*end == *begin) *begin = q;
    *end = q + 1;
}

BoxAxisData transpose_axis(const BoxAxis& axis) {
    BoxAxisData result;
    result.extents.assign(axis.extents, axis.extents + axis.num_groups);
    result.num_q_tiles = axis.num_kv_tiles;
    result.num_kv_tiles = axis.num_q_tiles;
    result.tile_q = axis.tile_kv;
    result.tile_kv = axis.tile_q;
    result.spans.assign(
        static_cast<std::size_t>(axis.num_groups) * static_cast<std::size_t>(axis.num_kv_tiles),
        TileSpan{0, 0, 0, 0});
    for (int32 g = 0; g < axis.num_groups; ++g) {
        TileSpan* spans = result.spans.data() + int64{g} * axis.num_kv_tiles;
        for (int32 q = 0; q < axis.num_q_tiles; ++q) {
            const TileSpan& old = axis.spans[int64{g} * axis.num_q_tiles + q];
            for (int32 t = old.begin; t < old.end; ++t) {
                TileSpan& span = spans[t];
                widen(&span.begin, &span.end, q);
                if (old.state(t) == TileState::kFull) widen(&span.full_begin, &span.full_end, q);
            }
        }
        for (int32 t = 0; t < axis.num_kv_tiles; ++t) {
            TileSpan& span = spans[t];
            if (span.num_full() == 0) span.full_begin = span.full_end = span.begin;
        }
    }
    return result;
}

}  // namespace

ListScheduleData transpose(const ListSchedule& schedule) {
    ListScheduleData result;
    result.pattern_of_head.assign(schedule.pattern_of_head,
                                  schedule.pattern_of_head + schedule.num_heads);
    result.q_len = schedule.kv_len;
    result.kv_len = schedule.q_len;
    result.tile_q = schedule.tile_kv;
    result.tile_kv = schedule.tile_q;
    result.num_patterns = schedule.num_patterns;

    const int32 num_q_tiles = schedule.num_q_tiles();
    const int32 num_kv_tiles = schedule.num_kv_tiles();
    const auto num_rows =
        static_cast<std::size_t>(schedule.num_patterns) * static_cast<std::size_t>(num_kv_tiles);
    result.num_full.assign(num_rows, 0);
    result.row_begin.assign(num_rows + 1, 0);
    // Calls visit(row of the result, old Q tile, is_full), old Q tiles ascending for every row.
    const auto for_each = [&](auto&& visit) {
        for (int32 pattern = 0; pattern < schedule.num_patterns; ++pattern) {
            for (int32 q = 0; q < num_q_tiles; ++q) {
                for_each_tile(schedule.pattern_row(pattern, q), [&](int32 t, bool full) {
                    const int64 row = int64{pattern} * num_kv_tiles + t;
                    visit(static_cast<std::size_t>(row), q, full);
                });
            }
        }
    };
    for_each([&](std::size_t row, int32, bool full) {
        ++result.row_begin[row + 1];
        result.num_full[row] += full;
    });
    for (std::size_t row = 0; row < num_rows; ++row) {
        result.row_begin[row + 1] += result.row_begin[row];
    }
    result.tiles.resize(static_cast<std::size_t>(result.row_begin.back()));
    std::vector<int64> next_full(result.row_begin.begin(), result.row_begin.end() - 1);
    std::vector<int64> next_partial(next_full);
    for (std::size_t row = 0; row < num_rows; ++row) next_partial[row] += result.num_full[row];
    for_each([&](std::size_t row, int32 q, bool full) {
        int64& next = full ? next_full[row] : next_partial[row];
        result.tiles[static_cast<std::size_t>(next++)] = q;
    });
    return result;
}

BoxScheduleData transpose(const BoxSchedule& schedule) {
    BoxScheduleData result;
    for (int a = 0; a < 3; ++a) result.axis[a] = transpose_axis(schedule.axis[a]);
    return result;
}

}  // namespace fattn
