// Boxes of patches, made from neighborhood windows of small grids, through retile and transpose.
#include <gtest/gtest.h>

#include "core/order.h"
#include "plan/retile.h"
#include "plan/schedule_data.h"
#include "plan/small_grids.h"
#include "plan/transpose.h"

namespace fattn {
namespace {

TEST(TransposeBox, MapOfTransposeIsTransposeOfMap) {
    test::for_each_small_grid([](const NeighborhoodGrid& grid, const Patch& tile_q,
                                 const Patch& tile_kv) {
        const BoxScheduleData data = neighborhood_schedule(grid, tile_q, tile_kv);
        const BoxSchedule s = data.view();
        const BoxScheduleData transposed_data = transpose(s);
        const BoxSchedule t = transposed_data.view();
        const BoxScheduleData twice = transpose(t);
        const auto expected = test::transposed(to_dense(s, 0), s.num_q_tiles(), s.num_kv_tiles());
        if (to_dense(t, 0) != expected || !test::check_rows(t, 0).empty() ||
            to_dense(twice.view(), 0) != to_dense(s, 0)) {
            FAIL() << test::describe(grid, tile_q, tile_kv) << draw(s, 0) << "transposed\n"
                   << draw(t, 0);
        }
    });
}

TEST(RetileBox, NewTilesFollowFromTheOldTilesOfTheirPairs) {
    test::for_each_small_grid(
        [](const NeighborhoodGrid& grid, const Patch& tile_q, const Patch& tile_kv) {
            const BoxScheduleData data = neighborhood_schedule(grid, tile_q, tile_kv);
            const BoxSchedule s = data.view();
            const auto map = to_dense(s, 0);
            const PatchGrid q_order = grid.patches(tile_q.extent);
            const PatchGrid kv_order = grid.patches(tile_kv.extent);
            for (const int32 longer : {0, 1, 3}) {
                const Patch new_q{{tile_q.extent[0], tile_q.extent[1], tile_q.extent[2] + longer}};
                const Patch new_kv{{tile_kv.extent[0], tile_kv.extent[1], 1 + longer}};
                const BoxScheduleData retiled = retile(s, new_q.extent, new_kv.extent);
                const BoxSchedule r = retiled.view();
                const PatchGrid new_q_order = grid.patches(new_q.extent);
                const PatchGrid new_kv_order = grid.patches(new_kv.extent);
                const auto expected = test::map_by_pairs(
                    new_q.num_tokens(), new_q_order.num_slots(), new_kv.num_tokens(),
                    new_kv_order.num_slots(), [&](int64 i, int64 j) {
                        const int64 query = new_q_order.token_of(i);
                        const int64 key = new_kv_order.token_of(j);
                        if (query < 0 || key < 0) return TileState::kSkipped;
                        const int64 q = q_order.slot_of(query) / tile_q.num_tokens();
                        const int64 t = kv_order.slot_of(key) / tile_kv.num_tokens();
                        return map[static_cast<std::size_t>(q * s.num_kv_tiles() + t)];
                    });
                const std::string problem = test::check_rows(r, 0);
                if (!problem.empty() || to_dense(r, 0) != expected) {
                    FAIL() << problem << "\n"
                           << test::describe(grid, tile_q, tile_kv) << draw(s, 0) << "in patches\n"
                           << test::describe(grid, new_q, new_kv) << draw(r, 0) << "expected\n"
                           << draw_tiles(expected, r.num_q_tiles(), r.num_kv_tiles());
                }
            }
        });
}

TEST(BoxSchedule, LackingAxesAreASingleTile) {
    BoxScheduleData data;
    data.axis[0] = data.axis[1] = {{{0, 0, 1, 1}}, {1}, 1, 1, 1, 1};
    data.axis[2] = {{{0, 0, 1, 2}, {1, 2, 2, 2}}, {4}, 2, 2, 2, 2};
    const BoxSchedule s = data.view();
    EXPECT_EQ(draw(s, 0), "#+\n.+\n");
}

}  // namespace
}  // namespace fattn
