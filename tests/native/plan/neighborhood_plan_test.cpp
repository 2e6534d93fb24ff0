// The neighborhood planner: its boxes against the definition pair by pair, its sums against
// counting, its choice of patches.
#include "plan/neighborhood_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <vector>

#include "plan/small_grids.h"

namespace fattn {
namespace {

constexpr GatherTiles kTiles{.most_rows = 192,
                             .most_keys = 1536,
                             .row_tile = 192,
                             .key_tile = 192,
                             .row_group = 12,
                             .key_group = 32,
                             .gather_rows = 12,
                             .tile_row = 10,
                             .lane_group = 0,
                             .lane_run = 0,
                             .lane_percent = 0,
                             .lane_backward_percent = 0};

/// The same where patches may be groups of lanes.
constexpr GatherTiles with_lanes(GatherTiles tiles) {
    tiles.lane_group = 16;
    tiles.lane_run = 4;
    tiles.lane_percent = 90;
    tiles.lane_backward_percent = 90;
    return tiles;
}
constexpr GatherTiles kLaneTiles = with_lanes(kTiles);

/// For grids of a few tokens: several patches along an axis, several groups of rows in a patch.
constexpr GatherTiles kSmallTiles{.most_rows = 8,
                                  .most_keys = 6,
                                  .row_tile = 6,
                                  .key_tile = 6,
                                  .row_group = 2,
                                  .key_group = 1,
                                  .gather_rows = 1,
                                  .tile_row = 1,
                                  .lane_group = 0,
                                  .lane_run = 0,
                                  .lane_percent = 0,
                                  .lane_backward_percent = 0};

/// Batch entries times query heads of problem_of.
constexpr int64 kCopies = 12;

NeighborhoodProblem problem_of(const NeighborhoodGrid& grid) {
    NeighborhoodProblem problem{};
    problem.grid = grid;
    problem.dense.batch = 2;
    problem.dense.num_q_heads = 6;
    problem.dense.num_k_heads = problem.dense.num_v_heads = 2;
    problem.dense.head_dim = 8;
    problem.dense.head_dim_v = 16;
    problem.dense.backward = true;
    return problem;
}

NeighborhoodGrid square(int32 extent, int32 window, int32 stride = 1) {
    return {{single_token_axis(),
             {extent, 1, window, stride, false},
             {extent, 1, window, stride, false}}};
}

/// By looking at pairs: groups of rows against the lines, along the first axis of several tokens,
/// of which one of the keys they see is part; each as long as what all rows see. Only keys count.
int64 visited_of(const NeighborhoodGrid& grid, const std::vector<int64>& rows,
                 const std::vector<int64>& keys, int64 row_group) {
    const auto group_rows = static_cast<std::size_t>(row_group);
    const int64 plane = int64{grid.axis[1].extent} * grid.axis[2].extent;
    const int64 line_tokens = grid.axis[0].extent > 1   ? plane
                              : grid.axis[1].extent > 1 ? grid.axis[2].extent
                                                        : 1;
    std::set<int64> inner;
    std::vector<std::set<int64>> lines((rows.size() + group_rows - 1) / group_rows);
    for (std::size_t r = 0; r < rows.size(); ++r) {
        for (const int64 j : keys) {
            if (!reference::neighborhood_sees(grid, rows[r], j)) continue;
            inner.insert(j % line_tokens);
            lines[r / group_rows].insert(j / line_tokens);
        }
    }
    std::size_t pairs = 0;
    for (std::size_t n = 0; n < lines.size(); ++n) {
        const std::size_t count = std::min(group_rows, rows.size() - n * group_rows);
        pairs += count * lines[n].size() * inner.size();
    }
    return static_cast<int64>(pairs);
}

/// The same summed over the patches of a grid, whose tokens are queries, or keys whose queries are
/// all tokens that see one of them.
int64 visited_by_pairs(const NeighborhoodGrid& grid, const Patch& patch, Pass pass,
                       int64 row_group) {
    const PatchGrid order = grid.patches(patch.extent);
    std::vector<int64> all;
    for (int64 t = 0; t < grid.num_tokens(); ++t) all.push_back(t);
    int64 visited = 0;
    for (int64 first = 0; first < order.num_slots(); first += patch.num_tokens()) {
        std::vector<int64> tokens;
        for (int64 slot = first; slot < first + patch.num_tokens(); ++slot) {
            if (order.token_of(slot) >= 0) tokens.push_back(order.token_of(slot));
        }
        if (pass == Pass::kForward) {
            visited += visited_of(grid, tokens, all, row_group);
            continue;
        }
        std::vector<int64> rows;
        std::copy_if(all.begin(), all.end(), std::back_inserter(rows), [&](int64 i) {
            return std::any_of(tokens.begin(), tokens.end(),
                               [&](int64 j) { return reference::neighborhood_sees(grid, i, j); });
        });
        visited += visited_of(grid, rows, tokens, row_group);
    }
    return visited;
}

TEST(NeighborhoodPlan, ScheduleIsExactlyWhatThePairsSay) {
    test::for_each_small_grid(
        [](const NeighborhoodGrid& grid, const Patch& tile_q, const Patch& tile_kv) {
            const BoxScheduleData data = neighborhood_schedule(grid, tile_q, tile_kv);
            const BoxSchedule s = data.view();
            const auto counted = test::count_tiles_of(grid, tile_q, tile_kv);
            const std::string problem = test::check_rows(s, 0);
            if (!problem.empty() || to_dense(s, 0) != counted) {
                FAIL() << problem << "\n"
                       << test::describe(grid, tile_q, tile_kv) << draw(s, 0) << "by pairs\n"
                       << draw_tiles(counted, s.num_q_tiles(), s.num_kv_tiles());
            }
        });
}

TEST(NeighborhoodPlan, ScheduleOfKeysIsExactlyTheTranspose) {
    test::for_each_small_grid(
        [](const NeighborhoodGrid& grid, const Patch& tile_q, const Patch& tile_kv) {
            const BoxScheduleData data = neighborhood_schedule_of_keys(grid, tile_kv, tile_q);
            const BoxSchedule s = data.view();
            const auto counted = test::transposed(test::count_tiles_of(grid, tile_q, tile_kv),
                                                  s.num_kv_tiles(), s.num_q_tiles());
            const std::string problem = test::check_rows(s, 0);
            if (!problem.empty() || to_dense(s, 0) != counted) {
                FAIL() << problem << "\n"
                       << test::describe(grid, tile_q, tile_kv) << draw(s, 0) << "by pairs\n"
                       << draw_tiles(counted, s.num_q_tiles(), s.num_kv_tiles());
            }
        });
}

TEST(NeighborhoodPlan, StatsAreTheCountsOverBatchAndHeads) {
    test::for_each_small_grid([](const NeighborhoodGrid& grid, const Patch&, const Patch&) {
        const NeighborhoodPlan plan(problem_of(grid), kTiles);
        const ScheduleStats stats = plan.stats();
        const auto tiles = test::count_tiles_of(grid, plan.patch(), plan.patch());
        int64 counts[3] = {};
        for (const TileState state : tiles) ++counts[static_cast<std::size_t>(state)];
        int64 needed = 0;
        for (int64 i = 0; i < grid.num_tokens(); ++i) {
            for (int64 j = 0; j < grid.num_tokens(); ++j) {
                needed += reference::neighborhood_sees(grid, i, j);
            }
        }
        const PatchGrid order = grid.patches(plan.patch().extent);
        const int64 patch_tokens = plan.patch().num_tokens();
        ASSERT_EQ(stats.tile_q, patch_tokens);
        ASSERT_EQ(stats.num_q_tiles, order.num_slots() / patch_tokens);
        ASSERT_EQ(stats.num_kv_tiles, order.num_slots() / patch_tokens);
        ASSERT_EQ(stats.skipped_tiles, kCopies * counts[0]);
        ASSERT_EQ(stats.partial_tiles, kCopies * counts[1]);
        ASSERT_EQ(stats.full_tiles, kCopies * counts[2]);
        ASSERT_EQ(stats.needed_pairs, static_cast<double>(kCopies * needed));
        ASSERT_EQ(stats.visited_pairs, plan.visited_pairs(Pass::kForward));
        std::vector<uint8> map(tiles.size());
        plan.write_tiles(map.data());
        for (std::size_t n = 0; n < map.size(); ++n) {
            ASSERT_EQ(map[n], static_cast<uint8>(tiles[n]));
        }
    });
}

TEST(NeighborhoodPlan, VisitedPairsAreWhatGroupsOfRowsSeeOfSlots) {
    test::for_each_small_grid([](const NeighborhoodGrid& grid, const Patch&, const Patch&) {
        for (const GatherTiles& tiles : {kTiles, kSmallTiles, kLaneTiles}) {
            const NeighborhoodPlan plan(problem_of(grid), tiles);
            const auto visited = [&](const Patch& patch, Pass pass) {
                // Lanes visit whole boxes.
                const bool lanes = pass == Pass::kForward ? plan.lanes() : plan.lanes_backward();
                return static_cast<double>(
                    kCopies * visited_by_pairs(grid, patch, pass,
                                               lanes ? grid.num_tokens() : tiles.row_group));
            };
            ASSERT_EQ(plan.visited_pairs(Pass::kForward), visited(plan.patch(), Pass::kForward))
                << test::describe(grid, plan.patch(), plan.patch());
            ASSERT_EQ(plan.visited_pairs(Pass::kBackward),
                      visited(plan.key_patch(), Pass::kBackward))
                << test::describe(grid, plan.key_patch(), plan.key_patch());
        }
    });
}

TEST(NeighborhoodPlan, AdditionalKeysAreNeededAndVisitedByAll) {
    NeighborhoodProblem problem = problem_of(square(16, 5));
    const NeighborhoodPlan without(problem, kTiles);
    problem.num_additional = 7;
    const NeighborhoodPlan with(problem, kTiles);
    EXPECT_EQ(with.stats().needed_pairs - without.stats().needed_pairs, kCopies * 256 * 7);
    ASSERT_EQ(with.patch().num_tokens(), without.patch().num_tokens());
    EXPECT_EQ(with.stats().visited_pairs - without.stats().visited_pairs, kCopies * 256 * 7);
    EXPECT_EQ(with.visited_pairs(Pass::kBackward) - without.visited_pairs(Pass::kBackward),
              kCopies * 256 * 7);
}

TEST(NeighborhoodPlan, FlopsAreTwoProductsForwardAndFiveBackward) {
    const NeighborhoodPlan whole(problem_of(square(16, 16)), kTiles);
    constexpr double kPairs = 12.0 * 256 * 256;
    EXPECT_EQ(whole.stats().visited_pairs, kPairs);
    EXPECT_EQ(whole.flops(Pass::kForward), 2 * kPairs * (8 + 16));
    EXPECT_EQ(whole.flops(Pass::kBackward), 2 * kPairs * (3 * 8 + 2 * 16));

    // Patches of queries and of keys are cut apart, so the passes visit different pairs.
    const NeighborhoodPlan plan(problem_of(square(64, 13)), kTiles);
    EXPECT_NE(plan.visited_pairs(Pass::kForward), plan.visited_pairs(Pass::kBackward));
    EXPECT_EQ(plan.flops(Pass::kForward), 2 * plan.visited_pairs(Pass::kForward) * (8 + 16));
    EXPECT_EQ(plan.flops(Pass::kBackward),
              2 * plan.visited_pairs(Pass::kBackward) * (3 * 8 + 2 * 16));
}

TEST(NeighborhoodPlan, PatchesStayWithinTheRowsAndKeysOfATile) {
    test::for_each_small_grid([](const NeighborhoodGrid& grid, const Patch&, const Patch&) {
        for (const int64 heads : {1, 3, 8, 500}) {
            const Patch patch = choose_patch(grid, heads, 0, 128, kTiles.most_rows, kTiles).patch;
            ASSERT_LE(patch.num_tokens() * std::min<int64>(heads, kTiles.most_rows),
                      kTiles.most_rows);
            for (int a = 0; a < 3; ++a) {
                ASSERT_GE(patch.extent[a], 1);
                ASSERT_LE(patch.extent[a], grid.axis[a].group_length(0));
            }
        }
        const ChosenPatch rows{{{1, 1, 1}}, false};
        const Patch patch = choose_key_patch(grid, rows, 0, kTiles.most_keys, kTiles).patch;
        ASSERT_LE(patch.num_tokens(), kTiles.most_keys);
        for (int a = 0; a < 3; ++a) {
            ASSERT_GE(patch.extent[a], 1);
            ASSERT_LE(patch.extent[a], grid.axis[a].group_length(0));
        }
    });
}

TEST(NeighborhoodPlan, ChosenPatchesWorkLittleMoreThanNeeded) {
    struct Case {
        NeighborhoodGrid grid;
        double most;  // visited over needed
    };
    const NeighborhoodAxis none = single_token_axis();
    const Case cases[] = {
        {{{none, none, {16384, 1, 513, 1, false}}}, 1.05},
        {square(128, 13), 1.8},
        {square(128, 8, 8), 1.0},  // blocks: whole patches see whole patches
        {{{none, {128, 2, 25, 1, false}, {128, 2, 25, 1, false}}}, 1.6},
    };
    for (const Case& c : cases) {
        const NeighborhoodPlan plan(problem_of(c.grid), kTiles);
        const ScheduleStats stats = plan.stats();
        EXPECT_LE(stats.visited_pairs / stats.needed_pairs, c.most)
            << test::describe(c.grid, plan.patch(), plan.patch());
    }
}

TEST(NeighborhoodPlan, NarrowWindowsAreGroupsOfLanesWhereThereIsSuchAWay) {
    const NeighborhoodProblem narrow = problem_of(square(128, 13));
    const NeighborhoodPlan lanes(narrow, kLaneTiles);
    EXPECT_TRUE(lanes.lanes());
    EXPECT_EQ(lanes.patch().num_tokens(), 16);
    // 4 x 4 queries against a box of 16 x 16, less at the border.
    EXPECT_LE(lanes.stats().visited_pairs / lanes.stats().needed_pairs, 256.0 / 169);
    EXPECT_FALSE(NeighborhoodPlan(narrow, kTiles).lanes());
    // A run of keys does not fit the last axis.
    const NeighborhoodGrid thin{{single_token_axis(), {128, 1, 13, 1, false}, {3, 1, 3, 1, false}}};
    EXPECT_FALSE(NeighborhoodPlan(problem_of(thin), kLaneTiles).lanes());
    const NeighborhoodGrid dilated{
        {single_token_axis(), {128, 1, 13, 1, false}, {15, 4, 3, 1, false}}};
    EXPECT_FALSE(NeighborhoodPlan(problem_of(dilated), kLaneTiles).lanes());
}

/// The dearest pairs at which queries are lanes.
int32 most_lane_percent(int32 dilation, int64 columns) {
    const NeighborhoodAxis axis{64 * dilation, dilation, 25, 1, false};
    const NeighborhoodGrid grid{{single_token_axis(), axis, axis}};
    GatherTiles tiles = kLaneTiles;
    tiles.lane_percent = 1;
    while (choose_patch(grid, 1, 0, columns, kTiles.most_rows, tiles).lanes) ++tiles.lane_percent;
    return tiles.lane_percent - 1;
}

TEST(NeighborhoodPlan, KeysThatLieApartAreDearerForLanesLongOnesMost) {
    EXPECT_EQ(most_lane_percent(1, 128), most_lane_percent(1, 256));
    EXPECT_GT(most_lane_percent(1, 128), most_lane_percent(2, 128));
    EXPECT_GT(most_lane_percent(2, 128), most_lane_percent(2, 256));
}

TEST(NeighborhoodPlan, KeysAreLanesWhereQueriesAreAndNothingIsAdded) {
    NeighborhoodProblem narrow = problem_of(square(128, 13));
    const NeighborhoodPlan lanes(narrow, kLaneTiles);
    EXPECT_TRUE(lanes.lanes_backward());
    EXPECT_EQ(lanes.key_patch().num_tokens(), 16);
    EXPECT_FALSE(NeighborhoodPlan(narrow, kTiles).lanes_backward());
    GatherTiles dear = kLaneTiles;
    dear.lane_backward_percent = 1000;
    EXPECT_TRUE(NeighborhoodPlan(narrow, dear).lanes());
    EXPECT_FALSE(NeighborhoodPlan(narrow, dear).lanes_backward());
    narrow.num_additional = 1;
    EXPECT_TRUE(NeighborhoodPlan(narrow, kLaneTiles).lanes());
    EXPECT_FALSE(NeighborhoodPlan(narrow, kLaneTiles).lanes_backward());
}

TEST(NeighborhoodPlan, GroupsOfLanesHaveNoMoreTokensThanLanes) {
    test::for_each_small_grid([](const NeighborhoodGrid& grid, const Patch&, const Patch&) {
        for (const int64 heads : {1, 500}) {
            const ChosenPatch chosen =
                choose_patch(grid, heads, 5, 128, kTiles.most_rows, kLaneTiles);
            if (!chosen.lanes) continue;
            ASSERT_LE(chosen.patch.num_tokens(), kLaneTiles.lane_group);
            const ChosenPatch keys =
                choose_key_patch(grid, chosen, 0, kTiles.most_keys, kLaneTiles);
            if (keys.lanes) {
                ASSERT_LE(keys.patch.num_tokens(), kLaneTiles.lane_group);
            }
            ASSERT_GE(grid.axis[2].group_length(grid.axis[2].dilation - 1), kLaneTiles.lane_run);
        }
    });
}

TEST(NeighborhoodPlan, LongAxesStayExact) {
    // Four million tokens: the sums need 64 bits and no tile map is made.
    const NeighborhoodGrid grid{
        {single_token_axis(), single_token_axis(), {1 << 22, 1, 257, 1, false}}};
    const NeighborhoodPlan plan(problem_of(grid), kTiles);
    EXPECT_EQ(plan.stats().needed_pairs, 12.0 * (1 << 22) * 257);
}

}  // namespace
}  // namespace fattn
