// Lists that the box gatherer makes, against the definition of neighborhood attention pair by pair.
#include "cpu/gather_box.h"

#include <gtest/gtest.h>

#include <string>

#include "plan/neighborhood_plan.h"
#include "plan/small_grids.h"
#include "support/gather_checks.h"

namespace fattn::cpu {
namespace {

struct BoxCase {
    NeighborhoodProblem problem{};
    BoxScheduleData keys_of_queries;
    BoxScheduleData queries_of_keys;
    std::string text;

    BoxCase(const NeighborhoodGrid& grid, const Patch& queries, const Patch& keys, int64 additional)
        : keys_of_queries(neighborhood_schedule(grid, queries, {{1, 1, 1}})),
          queries_of_keys(neighborhood_schedule_of_keys(grid, keys, {{1, 1, 1}})),
          text(test::describe(grid, queries, keys) + "additional " + std::to_string(additional)) {
        problem.grid = grid;
        problem.dense.batch = 1;
        problem.dense.backward = true;
        problem.dense.num_q_heads = 3;
        problem.dense.num_k_heads = problem.dense.num_v_heads = 2;
        problem.dense.q_len = problem.dense.kv_len = grid.num_tokens();
        problem.num_additional = additional;
    }
    BoxGatherer gatherer() const {
        return {problem, keys_of_queries.view(), queries_of_keys.view()};
    }
    int64 num_keys() const { return problem.num_tokens() + problem.num_additional; }
    bool sees(int64 i, int64 j) const {
        return j >= problem.num_tokens() || reference::neighborhood_sees(problem.grid, i, j);
    }
};

template <class Visit>
void for_each_setup(const Visit& visit) {
    test::for_each_small_grid(
        [&](const NeighborhoodGrid& grid, const Patch& queries, const Patch& keys) {
            for (const int64 additional : {0, 3}) visit(BoxCase(grid, queries, keys, additional));
        });
}

TEST(BoxGatherer, ListsEveryPairThatIsSeenOnceAndNoOther) {
    for_each_setup([](const BoxCase& s) {
        const std::string wrong =
            test::check_gatherer(s.gatherer(), s.problem.dense, s.num_keys(),
                                 [&](int64, int64, int64 i, int64 j) { return s.sees(i, j); });
        ASSERT_EQ(wrong, "") << s.text;
    });
}

TEST(BoxGatherer, RowsOfKeyTilesSeeSomethingOfThem) {
    for_each_setup([](const BoxCase& s) {
        const BoxGatherer gatherer = s.gatherer();
        test::GatherMemory buffer(gatherer.backward_capacity());
        constexpr KeyChunk kAll{0, 1};
        for (int64 t = 0; t < gatherer.num_key_tiles(0, 0, kAll); ++t) {
            const GatheredTile tile = gatherer.key_tile(0, 0, kAll, t, buffer.view());
            for (int64 r = 0; r < tile.num_rows; ++r) {
                bool any = false;
                for (int64 slot = 0; slot < tile.num_slots; ++slot) {
                    any = any || test::shows(tile.rows[r], slot);
                }
                ASSERT_TRUE(any) << s.text << " query " << tile.rows[r].query;
            }
        }
    });
}

TEST(BoxGatherer, HeadsOfAKeyHeadAreOneShareAndEqual) {
    BoxCase s({{single_token_axis(), single_token_axis(), {6, 1, 3, 1, false}}}, {{1, 1, 6}},
              {{1, 1, 6}}, 0);
    s.problem.dense.batch = 2;
    s.problem.dense.num_q_heads = 5;
    const BoxGatherer gatherer = s.gatherer();
    EXPECT_EQ(gatherer.forward_capacity().heads, 3);
    EXPECT_EQ(gatherer.num_forward_shares(), 4);
    EXPECT_EQ(gatherer.num_equal_heads(0, 0), 3);
    EXPECT_EQ(gatherer.num_equal_heads(0, 1), 2);
    EXPECT_EQ(gatherer.num_equal_heads(0, 3), 2);
    EXPECT_EQ(gatherer.num_equal_heads(1, 4), 1);
}

TEST(BoxGatherer, OneAxisNeedsNoBits) {
    for (const int64 additional : {0, 5}) {
        const BoxCase s({{single_token_axis(), single_token_axis(), {64, 2, 9, 1, false}}},
                        {{1, 1, 8}}, {{1, 1, 8}}, additional);
        const BoxGatherer gatherer = s.gatherer();
        test::GatherMemory buffer(gatherer.forward_capacity());
        for (int64 n = 0; n < gatherer.num_forward_shares(); ++n) {
            const GatheredShare share = gatherer.forward_share(n, buffer.view());
            for (int64 r = 0; r < share.tile.num_rows; ++r) {
                EXPECT_EQ(share.tile.rows[r].bits, nullptr);
                EXPECT_EQ(share.tile.rows[r].end - share.tile.rows[r].begin, 9 + additional);
            }
        }
    }
}

TEST(BoxGatherer, BlocksOfTheWindowsSizeNeedNoBits) {
    const NeighborhoodAxis blocks{16, 1, 4, 4, false};
    const BoxCase s({{single_token_axis(), blocks, blocks}}, {{1, 4, 4}}, {{1, 4, 4}}, 0);
    const BoxGatherer gatherer = s.gatherer();
    test::GatherMemory buffer(gatherer.forward_capacity());
    for (int64 n = 0; n < gatherer.num_forward_shares(); ++n) {
        const GatheredShare share = gatherer.forward_share(n, buffer.view());
        EXPECT_EQ(share.tile.num_slots, 16);
        for (int64 r = 0; r < share.tile.num_rows; ++r) {
            EXPECT_EQ(share.tile.rows[r].bits, nullptr);
        }
    }
}

}  // namespace
}  // namespace fattn::cpu
