// The S2 planner: its lists against the rule asked pair by pair, its sums against counting.
#include "plan/s2_plan.h"

#include <gtest/gtest.h>

#include "plan/transpose.h"
#include "reference/s2.h"
#include "support/schedule_checks.h"

namespace fattn {
namespace {

struct Case {
    DenseProblem problem;
    S2Pattern pattern;

    bool sees(int64 q_head, int64 i, int64 j) const {
        return i >= 0 &&
               reference::s2_sees(pattern, reference::s2_positions(problem.q_len, problem.kv_len),
                                  q_head, i, j);
    }
};

Case case_of(int64 q_len, int64 kv_len, const S2Pattern& pattern) {
    Case c{.problem = {}, .pattern = pattern};
    c.problem.batch = 2;
    c.problem.num_q_heads = pattern.num_q_heads;
    c.problem.num_k_heads = c.problem.num_v_heads = pattern.num_k_heads;
    c.problem.q_len = q_len;
    c.problem.kv_len = kv_len;
    c.problem.head_dim = 8;
    c.problem.head_dim_v = 16;
    return c;
}

/// Lengths whose difference is no multiple of the block, negative ones among them.
template <class Visit>
void s2_for_each_case(const Visit& visit) {
    for (const int64 q_len : {0, 1, 5, 8, 13}) {
        for (const int64 kv_len : {0, 1, 6, 9, 16}) {
            for (const int64 block : {1, 3, 4}) {
                for (const int64 local : {1, 2}) {
                    for (const int64 stride : {1, 2, 3, 7}) {
                        for (int flags = 0; flags < 16; ++flags) {
                            visit(case_of(q_len, kv_len,
                                          {.block_size = block,
                                           .local_blocks = local,
                                           .vertical_stride = stride,
                                           .head_offset = flags & 1,
                                           .dense_heads = flags >> 3,
                                           .num_q_heads = 4,
                                           .num_k_heads = 2,
                                           .per_query_head = (flags & 2) != 0,
                                           .homogeneous = false,
                                           .causal = (flags & 4) == 0}));
                            if (testing::Test::HasFatalFailure()) return;
                        }
                    }
                }
            }
        }
    }
}

TEST(S2Plan, ListsAreExactlyWhatThePairsSay) {
    s2_for_each_case([](const Case& c) {
        const S2Plan plan(c.problem, c.pattern);
        const ListScheduleData data = plan.schedule();
        const ListSchedule s = data.view();
        ASSERT_EQ(s.num_heads, 4);
        const ListScheduleData transposed_data = transpose(s);
        for (int64 h = 0; h < 4; ++h) {
            const auto map = test::map_by_pairs(
                s.tile_q, s.q_len, s.tile_kv, s.kv_len, [&](int64 slot, int64 j) {
                    return c.sees(h, slot - plan.lead(), j) ? TileState::kFull
                                                            : TileState::kSkipped;
                });
            ASSERT_EQ(to_dense(s, h), map) << draw(s, h);
            ASSERT_EQ(test::check_rows(s, h), "");
            ASSERT_EQ(to_dense(transposed_data.view(), h),
                      test::transposed(map, s.num_q_tiles(), s.num_kv_tiles()));
        }
    });
}

TEST(S2Plan, StatsAreTheCountsOverBatchAndHeads) {
    s2_for_each_case([](const Case& c) {
        const S2Plan plan(c.problem, c.pattern);
        const ScheduleStats stats = plan.stats();
        const ListScheduleData data = plan.schedule();
        TileCounts counts;
        int64 needed = 0;
        int64 visited = 0;
        for (int64 h = 0; h < 4; ++h) {
            const TileCounts of_head = count_tiles(data.view(), h);
            counts.full += of_head.full;
            counts.partial += of_head.partial;
            counts.skipped += of_head.skipped;
            const auto map = to_dense(data.view(), h);
            for (int64 i = 0; i < c.problem.q_len; ++i) {
                const int64 t = (i + plan.lead()) / c.pattern.block_size;
                for (int64 j = 0; j < c.problem.kv_len; ++j) {
                    const int64 at = t * stats.num_kv_tiles + j / c.pattern.block_size;
                    needed += c.sees(h, i, j);
                    visited += map[static_cast<std::size_t>(at)] != TileState::kSkipped;
                }
            }
        }
        ASSERT_EQ(stats.full_tiles, 2 * counts.full);
        ASSERT_EQ(stats.partial_tiles, 2 * counts.partial);
        ASSERT_EQ(stats.skipped_tiles, 2 * counts.skipped);
        ASSERT_EQ(stats.needed_pairs, 2.0 * static_cast<double>(needed));
        ASSERT_EQ(stats.visited_pairs, 2.0 * static_cast<double>(visited));
        ASSERT_EQ(plan.flops(Pass::kForward), 2 * (8 + 16) * stats.visited_pairs);
        ASSERT_EQ(plan.flops(Pass::kBackward), 2 * (3 * 8 + 2 * 16) * stats.visited_pairs);
    });
}

TEST(S2Plan, CoverageCountsTheBlocksNoHeadSees) {
    s2_for_each_case([](const Case& c) {
        const S2Plan plan(c.problem, c.pattern);
        const S2Coverage coverage = plan.coverage();
        int64 allowed = 0;
        int64 unseen = 0;
        const int64 num_q = ceil_div(c.problem.q_len + plan.lead(), c.pattern.block_size);
        for (int64 t = 0; t < (c.problem.q_len == 0 ? 0 : num_q); ++t) {
            const int64 qb = plan.first_query_block() + t;
            for (int64 kb = 0; kb < plan.num_kv_blocks(); ++kb) {
                if (c.pattern.causal && kb > qb) continue;
                ++allowed;
                bool seen = false;
                for (int64 h = 0; h < 4; ++h) {
                    seen = seen || c.pattern.shows(c.pattern.pattern_head(h), qb, kb);
                }
                unseen += !seen;
            }
        }
        ASSERT_EQ(coverage.allowed_blocks, allowed);
        ASSERT_EQ(coverage.unseen_blocks, unseen);
    });
}

/// Eight patterns and a stride of 16 over 8 heads: the step is 2, and odd shards are lost.
TEST(S2Plan, CoverageTellsLostShards) {
    S2Pattern pattern{.block_size = 4,
                      .local_blocks = 2,
                      .vertical_stride = 16,
                      .head_offset = 0,
                      .dense_heads = 0,
                      .num_q_heads = 8,
                      .num_k_heads = 8,
                      .per_query_head = false,
                      .homogeneous = false,
                      .causal = true};
    Case c = case_of(400, 400, pattern);
    EXPECT_EQ(S2Plan(c.problem, pattern).coverage().unseen_shards, 8);
    EXPECT_GT(S2Plan(c.problem, pattern).coverage().unseen_blocks, 0);
    pattern.vertical_stride = 8;
    EXPECT_EQ(S2Plan(c.problem, pattern).coverage().unseen_shards, 0);
    EXPECT_EQ(S2Plan(c.problem, pattern).coverage().unseen_blocks, 0);
    pattern.homogeneous = true;
    EXPECT_EQ(S2Plan(c.problem, pattern).coverage().unseen_shards, 7);
    pattern.homogeneous = false;
    pattern.vertical_stride = 16;
    pattern.dense_heads = 1;
    EXPECT_EQ(S2Plan(c.problem, pattern).coverage().unseen_blocks, 0);
}

TEST(S2Plan, NeededBlocksAreThoseSomeLaterQuerySees) {
    s2_for_each_case([](const Case& c) {
        const S2Plan plan(c.problem, c.pattern);
        std::vector<uint8> needed(static_cast<std::size_t>(plan.num_kv_blocks()));
        for (int64 k_head = 0; k_head < 2; ++k_head) {
            for (const int64 first : {0, 4, 11}) {
                plan.needed_blocks(k_head, first, needed.data());
                const int64 first_block = first / c.pattern.block_size;
                const int64 past = c.pattern.causal ? 40 : plan.num_kv_blocks();
                for (int64 kb = 0; kb < plan.num_kv_blocks(); ++kb) {
                    bool seen = false;
                    for (int64 qb = first_block; qb < max_of(past, first_block + 1); ++qb) {
                        for (int64 h = 2 * k_head; h < 2 * k_head + 2; ++h) {
                            seen = seen || c.pattern.shows(c.pattern.pattern_head(h), qb, kb);
                        }
                    }
                    ASSERT_EQ(needed[static_cast<std::size_t>(kb)] != 0, seen)
                        << "head " << k_head << " block " << kb << " from " << first;
                }
            }
        }
    });
}

TEST(S2Plan, HeadsShareThePatternsOfTheirShards) {
    const S2Pattern pattern{.block_size = 64,
                            .local_blocks = 16,
                            .vertical_stride = 8,
                            .head_offset = 1,
                            .dense_heads = 0,
                            .num_q_heads = 32,
                            .num_k_heads = 8,
                            .per_query_head = true,
                            .homogeneous = false,
                            .causal = true};
    const ListScheduleData data = S2Plan(case_of(2048, 2048, pattern).problem, pattern).schedule();
    EXPECT_EQ(data.num_patterns, 8);
    for (int h = 0; h < 32; ++h)
        EXPECT_EQ(data.pattern_of_head[static_cast<std::size_t>(h)], h % 8);
}

}  // namespace
}  // namespace fattn
