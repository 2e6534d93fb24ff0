// Groups of lanes that the lane gatherer makes, against the definition of neighborhood attention
// pair by pair.
#include "cpu/gather_lanes.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "plan/neighborhood_plan.h"
#include "plan/small_grids.h"

namespace fattn::cpu {
namespace {

struct LaneCase {
    NeighborhoodProblem problem{};
    LaneSide side;
    BoxScheduleData schedule;
    std::string text;

    LaneCase(const NeighborhoodGrid& grid, const Patch& patch, int64 additional,
             LaneSide lanes = LaneSide::kQueries)
        : side(lanes),
          schedule(lanes == LaneSide::kKeys
                       ? neighborhood_schedule_of_keys(grid, patch, {{1, 1, 1}})
                       : neighborhood_schedule(grid, patch, {{1, 1, 1}})),
          text(test::describe(grid, patch, patch) + "additional " + std::to_string(additional)) {
        problem.grid = grid;
        problem.dense.batch = 2;
        problem.dense.num_q_heads = 3;
        problem.dense.num_k_heads = problem.dense.num_v_heads = 2;
        problem.dense.q_len = problem.dense.kv_len = grid.num_tokens();
        problem.num_additional = additional;
    }
    LaneGatherer gatherer() const { return {problem, schedule.view(), side}; }
    /// Whether a lane sees something of a run; additional keys follow the tokens.
    bool sees(int64 lane, int64 other) const {
        if (side == LaneSide::kKeys) {
            return other < problem.num_tokens() &&
                   reference::neighborhood_sees(problem.grid, other, lane);
        }
        return other >= problem.num_tokens() ||
               reference::neighborhood_sees(problem.grid, lane, other);
    }
};

/// Memory of one group's lists, no more than the gatherer asks for.
struct LaneMemory {
    explicit LaneMemory(const LaneGatherer& gatherer)
        : tokens(kGroupLanes),
          places(kGroupLanes),
          first(static_cast<std::size_t>(gatherer.max_runs())),
          seen(static_cast<std::size_t>(gatherer.max_runs())),
          axis(static_cast<std::size_t>(gatherer.max_axis())) {}
    LaneBuffer view() {
        return {&lists, tokens.data(), places.data(), first.data(), seen.data(), axis.data()};
    }

    LaneLists lists{};
    std::vector<int32> tokens, places, first;
    std::vector<uint64> seen, axis;
};

/// How often one head's groups show each pair; a sentence when a key does not exist.
std::string count_pairs(const LaneCase& s, const LaneGroup& group, std::vector<int>& pairs) {
    const int64 tokens = s.problem.num_tokens();
    const int64 keys = tokens + s.problem.num_additional;
    for (int64 r = 0; r < group.num_runs + group.num_additional_runs; ++r) {
        const bool additional = r >= group.num_runs;
        const int64 step = r < group.num_line_runs ? group.step : group.side_step;
        for (int64 j = 0; j < kRunKeys; ++j) {
            const int64 key =
                group.first[r] + (additional ? j * group.additional_step : group.origin + j * step);
            if (key < 0 || key >= (additional ? s.problem.num_additional : tokens)) {
                return "key " + std::to_string(key) + " of run " + std::to_string(r);
            }
            for (int64 l = 0; l < kGroupLanes; ++l) {
                if ((group.seen[r] >> (j * kGroupLanes + l) & 1) == 0) continue;
                if (l >= group.num_lanes) return "a key is seen by no lane";
                const int64 row = group.tokens[l] * keys;
                ++pairs[static_cast<std::size_t>(row + (additional ? tokens : 0) + key)];
            }
        }
    }
    return {};
}

std::string check_lanes(const LaneCase& s) {
    const LaneGatherer gatherer = s.gatherer();
    LaneMemory memory(gatherer);
    const int64 tokens = s.problem.num_tokens();
    const int64 keys = tokens + s.problem.num_additional;
    // By batch entry and key head.
    std::vector<std::vector<int>> pairs(4,
                                        std::vector<int>(static_cast<std::size_t>(tokens * keys)));
    for (int64 n = 0; n < gatherer.num_shares(); ++n) {
        const LaneShare share = gatherer.share(n);
        const int64 kv_head = share.first_head == 0 ? 0 : 1;
        if (share.num_heads != 2 - kv_head) return "heads";
        for (int64 g = 0; g < share.num_groups(); ++g) {
            const std::string wrong =
                count_pairs(s, gatherer.group(share, g, memory.view()),
                            pairs[static_cast<std::size_t>(2 * share.entry + kv_head)]);
            if (!wrong.empty()) return wrong;
        }
    }
    for (const std::vector<int>& of_head : pairs) {
        for (int64 i = 0; i < tokens; ++i) {
            for (int64 j = 0; j < keys; ++j) {
                const int count = of_head[static_cast<std::size_t>(i * keys + j)];
                if (count != (s.sees(i, j) ? 1 : 0)) {
                    return "lane " + std::to_string(i) + " key " + std::to_string(j) + " is seen " +
                           std::to_string(count) + " times";
                }
            }
        }
    }
    return {};
}

TEST(LaneGatherer, ListsEveryPairThatIsSeenOnceAndNoOther) {
    int checked = 0;
    test::for_each_small_grid(
        [&](const NeighborhoodGrid& grid, const Patch& queries, const Patch& keys) {
            const NeighborhoodAxis& last = grid.axis[2];
            // Lists do not depend on the patches of keys.
            if (last.group_length(last.dilation - 1) < kRunKeys || keys.extent[2] != 2) return;
            for (const int64 additional : {0, 3, 9}) {
                const LaneCase s(grid, queries, additional);
                ASSERT_EQ(check_lanes(s), "") << s.text;
                ++checked;
            }
            const LaneCase of_keys(grid, queries, 3, LaneSide::kKeys);
            ASSERT_EQ(check_lanes(of_keys), "") << "keys are lanes\n" << of_keys.text;
        });
    EXPECT_GT(checked, 1000);
}

TEST(LaneGatherer, WholeGroupsAndManySharesCoverLargerGrids) {
    const NeighborhoodGrid square{{single_token_axis(), {37, 1, 6, 1, false}, {30, 2, 7, 3, true}}};
    const NeighborhoodGrid box{{{6, 1, 3, 1, false}, {9, 1, 5, 2, false}, {10, 1, 4, 1, true}}};
    for (const LaneCase& s : {LaneCase(square, {{1, 4, 4}}, 4), LaneCase(square, {{1, 2, 8}}, 0),
                              LaneCase(box, {{2, 2, 4}}, 1), LaneCase(box, {{1, 16, 1}}, 0),
                              LaneCase(square, {{1, 4, 4}}, 4, LaneSide::kKeys),
                              LaneCase(box, {{2, 2, 4}}, 0, LaneSide::kKeys)}) {
        EXPECT_EQ(check_lanes(s), "") << s.text;
    }
}

/// Boxes of 10 x 10 keys: two whole runs a line, and three runs along each of the two columns that
/// are left, where three runs a line would be 30. Of queries, next to the border, 11 x 11: three
/// columns, 31 instead of 33.
TEST(LaneGatherer, WhatLinesLeaveOverRunsAlongTheAxisBefore) {
    const NeighborhoodGrid grid{{single_token_axis(), {32, 1, 7, 1, false}, {32, 1, 7, 1, false}}};
    for (const LaneSide side : {LaneSide::kQueries, LaneSide::kKeys}) {
        const int64 most = side == LaneSide::kQueries ? 26 : 31;
        const LaneCase s(grid, {{1, 4, 4}}, 0, side);
        const LaneGatherer gatherer = s.gatherer();
        LaneMemory memory(gatherer);
        const LaneShare share = gatherer.share(0);
        for (int64 g = 0; g < share.num_groups(); ++g) {
            const LaneGroup group = gatherer.group(share, g, memory.view());
            // Lines whose windows end at the grid's border are one run shorter.
            EXPECT_LE(group.num_runs, most) << "group " << g;
            EXPECT_LT(group.num_line_runs, group.num_runs) << "group " << g;
            EXPECT_EQ(group.side_step, 32);
        }
    }
}

}  // namespace
}  // namespace fattn::cpu
