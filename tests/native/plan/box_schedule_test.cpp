// Boxes of patches, made from neighborhood windows of small grids: against the windows pair by
// pair, through retile and transpose.
#include <gtest/gtest.h>

#include <sstream>
#include <vector>

#include "core/order.h"
#include "plan/retile.h"
#include "plan/schedule_data.h"
#include "plan/transpose.h"
#include "support/schedule_checks.h"

namespace fattn {
namespace {

/// Window of one axis of neighborhood attention.
struct AxisWindow {
    int32 size;
    int32 stride;
    bool causal;
};

/// Keys that in-group coordinate i sees in a dilation group of the given extent.
KeyInterval window_of(const AxisWindow& window, int32 extent, int32 i) {
    const int32 size = window.size;
    const int32 stride = window.stride;
    if (window.causal) {
        const int32 leader = min_of(i / stride * stride + stride - 1, extent - 1);
        return {max_of(leader - (size - 1), 0), min_of(i + 1, extent)};
    }
    const int32 left = size / 2;
    const int32 right = left + size % 2 - 1;
    const int32 leader = min_of(i / stride * stride + stride / 2, extent - 1);
    int32 begin = max_of(leader - left, 0);
    if (leader + right >= extent) begin += extent - right - leader - 1;
    return {begin, begin + size};
}

struct Grid {
    int32 extent[3];
    int32 dilation[3];
    AxisWindow window[3];
};

PatchGrid patches(const Grid& grid, const int32 (&patch)[3]) {
    PatchGrid result{};
    for (int a = 0; a < 3; ++a) {
        result.extent[a] = grid.extent[a];
        result.dilation[a] = grid.dilation[a];
        result.patch[a] = patch[a];
    }
    return result;
}

BoxScheduleData plan(const Grid& grid, const int32 (&tile_q)[3], const int32 (&tile_kv)[3]) {
    BoxScheduleData schedule;
    const PatchGrid q_order = patches(grid, tile_q);
    const PatchGrid kv_order = patches(grid, tile_kv);
    for (int a = 0; a < 3; ++a) {
        BoxAxisData& axis = schedule.axis[a];
        axis.tile_q = tile_q[a];
        axis.tile_kv = tile_kv[a];
        axis.num_q_tiles = q_order.num_patches(a);
        axis.num_kv_tiles = kv_order.num_patches(a);
        for (int32 g = 0; g < grid.dilation[a]; ++g) {
            const int32 extent = q_order.group_extent(a, g);
            axis.extents.push_back(extent);
            for (int32 q = 0; q < axis.num_q_tiles; ++q) {
                const int32 first = q * tile_q[a];
                const int32 last = min_of(first + tile_q[a], extent) - 1;
                if (last < first) {
                    axis.spans.push_back({0, 0, 0, 0});
                    continue;
                }
                const KeyInterval top = window_of(grid.window[a], extent, first);
                const KeyInterval bottom = window_of(grid.window[a], extent, last);
                TileSpan span{narrow<int32>(top.begin / tile_kv[a]), 0, 0,
                              narrow<int32>(ceil_div<int64>(bottom.end, tile_kv[a]))};
                span.full_begin = narrow<int32>(ceil_div<int64>(bottom.begin, tile_kv[a]));
                span.full_end = narrow<int32>(top.end / tile_kv[a]);
                if (last - first + 1 < tile_q[a] || span.full_end <= span.full_begin) {
                    span.full_begin = span.full_end = span.begin;
                }
                axis.spans.push_back(span);
            }
        }
    }
    return schedule;
}

/// Whether query token i sees key token j.
bool token_visible(const Grid& grid, int64 i, int64 j) {
    for (int a = 2; a >= 0; --a) {
        const auto x = static_cast<int32>(i % grid.extent[a]);
        const auto y = static_cast<int32>(j % grid.extent[a]);
        i /= grid.extent[a];
        j /= grid.extent[a];
        const int32 d = grid.dilation[a];
        if (x % d != y % d) return false;
        const int32 extent = ceil_div(grid.extent[a] - x % d, d);
        const KeyInterval keys = window_of(grid.window[a], extent, x / d);
        if (y / d < keys.begin || y / d >= keys.end) return false;
    }
    return true;
}

constexpr AxisWindow kNoWindow{1, 1, false};

/// Calls visit(grid, tile_q, tile_kv): one and two axes with every window, three axes with a few,
/// until one fails.
template <class Visit>
void for_each_plan(const Visit& visit) {
    const auto run = [&](const Grid& grid, const int32(&tile_q)[3], const int32(&tile_kv)[3]) {
        if (!testing::Test::HasFatalFailure()) visit(grid, tile_q, tile_kv);
    };
    const auto for_each_window = [](int32 extent, const auto& use) {
        for (int32 dilation = 1; dilation <= 2; ++dilation) {
            for (int32 size = 1; size * dilation <= extent; ++size) {
                for (int32 stride = 1; stride <= size; ++stride) {
                    use(dilation, AxisWindow{size, stride, false});
                    use(dilation, AxisWindow{size, stride, true});
                }
            }
        }
    };
    for (const int32 extent : {1, 2, 5, 9, 12}) {
        for_each_window(extent, [&](int32 dilation, const AxisWindow& window) {
            for (const int32 tile_q : {1, 2, 3, 4}) {
                for (const int32 tile_kv : {1, 2, 3}) {
                    run({{1, 1, extent}, {1, 1, dilation}, {kNoWindow, kNoWindow, window}},
                        {1, 1, tile_q}, {1, 1, tile_kv});
                }
            }
        });
    }
    for_each_window(5, [&](int32 dilation, const AxisWindow& window) {
        run({{1, 5, 7}, {1, dilation, 1}, {kNoWindow, window, {4, 2, false}}}, {1, 2, 3},
            {1, 1, 2});
        run({{1, 6, 5}, {1, 2, dilation}, {kNoWindow, {3, 1, true}, window}}, {1, 2, 2}, {1, 2, 2});
        run({{3, 4, 5}, {1, 2, dilation}, {{2, 1, true}, {2, 2, false}, window}}, {2, 2, 1},
            {1, 2, 2});
    });
}

std::string describe(const Grid& grid, const int32 (&tile_q)[3], const int32 (&tile_kv)[3]) {
    std::ostringstream text;
    for (int a = 0; a < 3; ++a) {
        text << "axis " << a << " extent " << grid.extent[a] << " dilation " << grid.dilation[a]
             << " window " << grid.window[a].size << " stride " << grid.window[a].stride
             << (grid.window[a].causal ? " causal" : "") << " patch " << tile_q[a] << " / "
             << tile_kv[a] << "\n";
    }
    return text.str();
}

int64 volume(const int32 (&extents)[3]) { return int64{extents[0]} * extents[1] * extents[2]; }

TEST(BoxSchedule, MapIsExactlyWhatThePairsSay) {
    for_each_plan([](const Grid& grid, const int32(&tile_q)[3], const int32(&tile_kv)[3]) {
        const BoxScheduleData data = plan(grid, tile_q, tile_kv);
        const BoxSchedule s = data.view();
        const PatchGrid q_order = patches(grid, tile_q);
        const PatchGrid kv_order = patches(grid, tile_kv);
        const auto counted =
            test::map_by_pairs(volume(tile_q), q_order.num_slots(), volume(tile_kv),
                               kv_order.num_slots(), [&](int64 i, int64 j) {
                                   const int64 query = q_order.token_of(i);
                                   const int64 key = kv_order.token_of(j);
                                   return query >= 0 && key >= 0 && token_visible(grid, query, key)
                                              ? TileState::kFull
                                              : TileState::kSkipped;
                               });
        const std::string problem = test::check_rows(s, 0);
        if (!problem.empty() || to_dense(s, 0) != counted) {
            FAIL() << problem << "\n"
                   << describe(grid, tile_q, tile_kv) << draw(s, 0) << "by pairs\n"
                   << draw_tiles(counted, s.num_q_tiles(), s.num_kv_tiles());
        }
    });
}

TEST(TransposeBox, MapOfTransposeIsTransposeOfMap) {
    for_each_plan([](const Grid& grid, const int32(&tile_q)[3], const int32(&tile_kv)[3]) {
        const BoxScheduleData data = plan(grid, tile_q, tile_kv);
        const BoxSchedule s = data.view();
        const BoxScheduleData transposed_data = transpose(s);
        const BoxSchedule t = transposed_data.view();
        const BoxScheduleData twice = transpose(t);
        const auto expected = test::transposed(to_dense(s, 0), s.num_q_tiles(), s.num_kv_tiles());
        if (to_dense(t, 0) != expected || !test::check_rows(t, 0).empty() ||
            to_dense(twice.view(), 0) != to_dense(s, 0)) {
            FAIL() << describe(grid, tile_q, tile_kv) << draw(s, 0) << "transposed\n" << draw(t, 0);
        }
    });
}

TEST(RetileBox, NewTilesFollowFromTheOldTilesOfTheirPairs) {
    for_each_plan([](const Grid& grid, const int32(&tile_q)[3], const int32(&tile_kv)[3]) {
        const BoxScheduleData data = plan(grid, tile_q, tile_kv);
        const BoxSchedule s = data.view();
        const auto map = to_dense(s, 0);
        const PatchGrid q_order = patches(grid, tile_q);
        const PatchGrid kv_order = patches(grid, tile_kv);
        for (const int32 longer : {0, 1, 3}) {
            const int32 new_q[3] = {tile_q[0], tile_q[1], tile_q[2] + longer};
            const int32 new_kv[3] = {tile_kv[0], tile_kv[1], 1 + longer};
            const BoxScheduleData retiled = retile(s, new_q, new_kv);
            const BoxSchedule r = retiled.view();
            const PatchGrid new_q_order = patches(grid, new_q);
            const PatchGrid new_kv_order = patches(grid, new_kv);
            const auto expected = test::map_by_pairs(
                volume(new_q), new_q_order.num_slots(), volume(new_kv), new_kv_order.num_slots(),
                [&](int64 i, int64 j) {
                    const int64 query = new_q_order.token_of(i);
                    const int64 key = new_kv_order.token_of(j);
                    if (query < 0 || key < 0) return TileState::kSkipped;
                    const int64 q = q_order.slot_of(query) / volume(tile_q);
                    const int64 t = kv_order.slot_of(key) / volume(tile_kv);
                    return map[static_cast<std::size_t>(q * s.num_kv_tiles() + t)];
                });
            const std::string problem = test::check_rows(r, 0);
            if (!problem.empty() || to_dense(r, 0) != expected) {
                FAIL() << problem << "\n"
                       << describe(grid, tile_q, tile_kv) << draw(s, 0) << "in patches\n"
                       << describe(grid, new_q, new_kv) << draw(r, 0) << "expected\n"
                       << draw_tiles(expected, r.num_q_tiles(), r.num_kv_tiles());
            }
        }
    });
}

TEST(BoxSchedule, LackingAxesAreASingleTile) {
    BoxScheduleData data;
    data.axis[0] = single_tile_axis();
    data.axis[1] = single_tile_axis();
    data.axis[2] = {{{0, 0, 1, 2}, {1, 2, 2, 2}}, {4}, 2, 2, 2, 2};
    const BoxSchedule s = data.view();
    EXPECT_EQ(draw(s, 0), "#+\n.+\n");
}

}  // namespace
}  // namespace fattn
