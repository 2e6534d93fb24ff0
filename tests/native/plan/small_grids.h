// Small token grids with neighborhood windows and patches, for the tests of the planner and of box
// schedules.
#pragma once

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "core/neighborhood.h"
#include "plan/neighborhood_plan.h"
#include "reference/neighborhood.h"
#include "support/schedule_checks.h"

namespace fattn::test {

/// Calls visit(grid, tile_q, tile_kv): one axis with every window, two and three axes with many,
/// until one fails.
template <class Visit>
void for_each_small_grid(const Visit& visit) {
    const auto run = [&](const NeighborhoodGrid& grid, const Patch& tile_q, const Patch& tile_kv) {
        if (!testing::Test::HasFatalFailure()) visit(grid, tile_q, tile_kv);
    };
    const auto for_each_axis = [](int32 extent, const auto& use) {
        for (int32 dilation = 1; dilation <= 3; ++dilation) {
            for (int32 window = 1; window * dilation <= extent; ++window) {
                for (int32 stride = 1; stride <= window; ++stride) {
                    use(NeighborhoodAxis{extent, dilation, window, stride, false});
                    use(NeighborhoodAxis{extent, dilation, window, stride, true});
                }
            }
        }
    };
    const NeighborhoodAxis none = single_token_axis();
    for (const int32 extent : {1, 2, 3, 4, 5, 7, 9, 12}) {
        for_each_axis(extent, [&](const NeighborhoodAxis& axis) {
            for (const int32 tile_q : {1, 2, 3, 4}) {
                for (const int32 tile_kv : {1, 2, 3}) {
                    run({{none, none, axis}}, {{1, 1, tile_q}}, {{1, 1, tile_kv}});
                }
            }
        });
    }
    for_each_axis(5, [&](const NeighborhoodAxis& axis) {
        const int32 dilation = axis.dilation;
        run({{none, axis, {7, 1, 4, 2, false}}}, {{1, 2, 3}}, {{1, 1, 2}});
        run({{none, {6, 2, 3, 1, true}, axis}}, {{1, 2, 2}}, {{1, 2, 2}});
        run({{{3, 1, 2, 1, true}, {7, dilation, 2, 2, false}, axis}}, {{2, 2, 1}}, {{1, 2, 2}});
        run({{axis, {4, 2, 2, 1, false}, {3, 1, 3, 1, false}}}, {{2, 1, 2}}, {{1, 1, 1}});
        run({{{4, 3, 1, 1, false}, axis, {3, 1, 2, 1, true}}}, {{1, 3, 2}}, {{1, 2, 1}});
    });
}

inline std::string describe(const NeighborhoodGrid& grid, const Patch& tile_q,
                            const Patch& tile_kv) {
    std::ostringstream text;
    for (int a = 0; a < PatchGrid::kAxes; ++a) {
        const NeighborhoodAxis& axis = grid.axis[a];
        text << "axis " << a << " extent " << axis.extent << " dilation " << axis.dilation
             << " window " << axis.window << " stride " << axis.stride
             << (axis.causal ? " causal" : "") << " patch " << tile_q.extent[a] << " / "
             << tile_kv.extent[a] << "\n";
    }
    return text.str();
}

/// Tiles of patches of slots against patches of slots, by asking every pair of tokens.
inline std::vector<TileState> count_tiles_of(const NeighborhoodGrid& grid, const Patch& tile_q,
                                             const Patch& tile_kv) {
    const PatchGrid q_order = grid.patches(tile_q.extent);
    const PatchGrid kv_order = grid.patches(tile_kv.extent);
    return map_by_pairs(tile_q.num_tokens(), q_order.num_slots(), tile_kv.num_tokens(),
                        kv_order.num_slots(), [&](int64 i, int64 j) {
                            const int64 query = q_order.token_of(i);
                            const int64 key = kv_order.token_of(j);
                            return query >= 0 && key >= 0 &&
                                           reference::neighborhood_sees(grid, query, key)
                                       ? TileState::kFull
                                       : TileState::kSkipped;
                        });
}

}  // namespace fattn::test
