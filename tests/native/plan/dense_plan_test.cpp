// The dense planner: its schedule against the problem's rules, its sums against counting.
#include "plan/dense_plan.h"

#include <gtest/gtest.h>

#include "support/schedule_checks.h"

namespace fattn {
namespace {

DenseProblem problem_of(int64 q_len, int64 kv_len) {
    DenseProblem problem{};
    problem.batch = 2;
    problem.num_q_heads = 3;
    problem.num_k_heads = problem.num_v_heads = 1;
    problem.q_len = q_len;
    problem.kv_len = kv_len;
    problem.head_dim = 8;
    problem.head_dim_v = 16;
    problem.window_left = problem.window_right = -1;
    return problem;
}

/// Visibility by the sentences of the interface: position i + Lk - Lq (bottom-right) or i
/// (top-left).
bool visible(const DenseProblem& problem, int64 i, int64 j) {
    const bool bottom_right = problem.alignment == Alignment::kBottomRight;
    const int64 position = i + (bottom_right ? problem.kv_len - problem.q_len : 0);
    if (problem.window_left >= 0 && j < position - problem.window_left) return false;
    if (problem.window_right >= 0 && j > position + problem.window_right) return false;
    const int64 chunk = problem.attention_chunk;
    return chunk == 0 || floor_div(position, chunk) == floor_div(j, chunk);
}

template <class Visit>
void for_each_problem(const Visit& visit) {
    for (const int64 q_len : {0, 1, 4, 7, 10}) {
        for (const int64 kv_len : {0, 1, 5, 9, 16}) {
            for (const auto alignment : {Alignment::kBottomRight, Alignment::kTopLeft}) {
                for (const int64 left : {-1, 0, 2}) {
                    for (const int64 right : {-1, 0, 3}) {
                        for (const int64 chunk : {0, 4}) {
                            DenseProblem problem = problem_of(q_len, kv_len);
                            problem.alignment = alignment;
                            problem.window_left = left;
                            problem.window_right = right;
                            problem.attention_chunk = chunk;
                            visit(problem);
                        }
                    }
                }
            }
        }
    }
}

TEST(DensePlan, ScheduleIsExactlyWhatThePairsSay) {
    for_each_problem([](const DenseProblem& problem) {
        const RangeSchedule s = DensePlan(problem, 4, 3).schedule();
        const auto map =
            test::map_by_pairs(4, problem.q_len, 3, problem.kv_len, [&](int64 i, int64 j) {
                return visible(problem, i, j) ? TileState::kFull : TileState::kSkipped;
            });
        EXPECT_EQ(to_dense(s, 0), map) << draw(s, 0);
    });
}

TEST(DensePlan, StatsAreTheCountsOverBatchAndHeads) {
    for_each_problem([](const DenseProblem& problem) {
        const ScheduleStats stats = DensePlan(problem, 4, 3).stats();
        int64 needed = 0, visited = 0, tiles[3] = {};
        for (int64 q = 0; q < problem.q_len; q += 4) {
            for (int64 k = 0; k < problem.kv_len; k += 3) {
                int64 pairs = 0, seen = 0;
                for (int64 i = q; i < min_of<int64>(q + 4, problem.q_len); ++i) {
                    for (int64 j = k; j < min_of<int64>(k + 3, problem.kv_len); ++j) {
                        ++pairs;
                        seen += visible(problem, i, j);
                    }
                }
                needed += seen;
                visited += seen > 0 ? pairs : 0;
                ++tiles[seen == 0 ? 0 : seen == 12 ? 2 : 1];
            }
        }
        constexpr int64 kCopies = 6;
        EXPECT_EQ(stats.tile_q, 4);
        EXPECT_EQ(stats.tile_kv, 3);
        EXPECT_EQ(stats.num_q_tiles, ceil_div<int64>(problem.q_len, 4));
        EXPECT_EQ(stats.num_kv_tiles, ceil_div<int64>(problem.kv_len, 3));
        EXPECT_EQ(stats.skipped_tiles, kCopies * tiles[0]);
        EXPECT_EQ(stats.partial_tiles, kCopies * tiles[1]);
        EXPECT_EQ(stats.full_tiles, kCopies * tiles[2]);
        EXPECT_EQ(stats.needed_pairs, static_cast<double>(kCopies * needed));
        EXPECT_EQ(stats.visited_pairs, static_cast<double>(kCopies * visited));
    });
}

TEST(DensePlan, MaskLeavesNoTileFull) {
    DenseProblem problem = problem_of(8, 8);
    problem.window_right = 0;
    EXPECT_EQ(draw(DensePlan(problem, 2, 2).schedule(), 0), "+...\n#+..\n##+.\n###+\n");
    problem.has_mask = true;
    EXPECT_EQ(draw(DensePlan(problem, 2, 2).schedule(), 0), "+...\n++..\n+++.\n++++\n");
}

TEST(DensePlan, FlopsAreTwoProductsForwardAndFiveBackward) {
    const DensePlan plan(problem_of(10, 20), 4, 4);
    constexpr double kPairs = 6 * 10 * 20;
    EXPECT_EQ(plan.flops(Pass::kForward), 2 * kPairs * (8 + 16));
    EXPECT_EQ(plan.flops(Pass::kBackward), 2 * kPairs * (3 * 8 + 2 * 16));
}

TEST(DensePlan, LongSequencesStayExact) {
    // Four million tokens under a causal window: the sums need 64 bits and the map is never made.
    constexpr int64 kLen = int64{1} << 22;
    DenseProblem problem = problem_of(kLen, kLen);
    problem.window_right = 0;
    const ScheduleStats stats = DensePlan(problem, 128, 128).stats();
    constexpr int64 kTiles = kLen / 128;
    EXPECT_EQ(stats.partial_tiles, 6 * kTiles);
    EXPECT_EQ(stats.full_tiles, 6 * (kTiles * (kTiles - 1) / 2));
    EXPECT_EQ(stats.needed_pairs,
              6.0 * static_cast<double>(kLen) * (static_cast<double>(kLen) + 1) / 2);
}

TEST(TileMap, BytesAreTheStates) {
    const RangeSchedule causal{{4, 0, 0, -1, 0, 0}, 4, 2, 2, false};
    uint8 bytes[4] = {9, 9, 9, 9};
    write_tile_map(causal, 0, bytes);
    EXPECT_EQ(bytes[0], 1);
    EXPECT_EQ(bytes[1], 0);
    EXPECT_EQ(bytes[2], 2);
    EXPECT_EQ(bytes[3], 1);
}

}  // namespace
}  // namespace fattn
