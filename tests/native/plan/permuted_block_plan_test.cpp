// What the permuted block planner counts, against asking every pair of a query and a slot.
#include "plan/permuted_block_plan.h"

#include <gtest/gtest.h>

#include <vector>

#include "reference/permuted_block.h"
#include "support/permuted_block_case.h"
#include "support/schedule_checks.h"

namespace fattn {
namespace {

using test::PermutedBlockCase;
using test::PermutedBlockSpec;

/// Small problems with random selections, with and without a permutation and a mask.
template <class Visit>
void for_each_case(const Visit& visit) {
    uint64 seed = 0;
    for (const bool causal : {true, false}) {
        for (const bool shared : {true, false}) {
            for (const int64 kv_len : {1, 4, 7, 12, 17}) {
                for (const int64 query_block : {1, 2, 4}) {
                    for (int64 q_len = kv_len; q_len >= 0; q_len -= 2 * query_block) {
                        PermutedBlockSpec spec;
                        spec.seed = ++seed;
                        spec.batch = 2;
                        spec.num_q_heads = 3;
                        spec.num_k_heads = 2;
                        spec.q_len = q_len;
                        spec.kv_len = kv_len;
                        spec.block = 4;
                        spec.segment = seed % 2 == 0 ? 4 : 8;
                        spec.query_block = query_block;
                        spec.causal = causal;
                        spec.shared = shared;
                        PermutedBlockCase c(spec);
                        c.draw_selection(0.2 * static_cast<double>(seed % 6));
                        if (seed % 7 == 0) c.permutation.clear();
                        if (seed % 5 == 0) c.block_mask.clear();
                        visit(c);
                        if (testing::Test::HasFatalFailure()) return;
                    }
                }
            }
        }
    }
}

BlockSelection selection_of(const PermutedBlockCase& c) {
    return {c.permutation.empty() ? nullptr : c.permutation.data(),
            c.block_mask.empty() ? nullptr : c.block_mask.data()};
}

/// Visibility of query i and slot s of a head (of all entries).
class Pairs {
  public:
    explicit Pairs(const PermutedBlockCase& c)
        : p_(c.problem()),
          selection_(selection_of(c)),
          tokens_(reference::visible_tokens(p_, selection_.permutation, selection_.block_mask)) {}

    bool sees(int64 head, int64 i, int64 s) const {
        const int64 token =
            selection_.permutation == nullptr ? s : selection_.permutation[head * p_.kv_len + s];
        return tokens_[static_cast<std::size_t>((head * p_.q_len + i) * p_.kv_len + token)] != 0;
    }
    std::vector<TileState> map(int64 head) const {
        return test::map_by_pairs(
            p_.query_block, p_.q_len, p_.block, p_.kv_len, [&](int64 i, int64 s) {
                return sees(head, i, s) ? TileState::kFull : TileState::kSkipped;
            });
    }
    /// Of a tile: its queries times the slots that one of them sees.
    int64 visited(int64 head, int64 query_block, int64 key_block) const {
        const int64 first = query_block * p_.query_block;
        const int64 end = min_of(first + p_.query_block, p_.q_len);
        int64 slots = 0;
        for (int64 s = key_block * p_.block; s < min_of((key_block + 1) * p_.block, p_.kv_len);
             ++s) {
            bool any = false;
            for (int64 i = first; i < end; ++i) any = any || sees(head, i, s);
            slots += any;
        }
        return slots * (end - first);
    }

  private:
    PermutedBlockProblem p_;
    BlockSelection selection_;
    std::vector<uint8> tokens_;
};

TEST(PermutedBlockPlan, StatsAndTilesAreWhatThePairsSay) {
    for_each_case([](const PermutedBlockCase& c) {
        const PermutedBlockProblem p = c.problem();
        const PermutedBlockPlan plan(p);
        const Pairs pairs(c);
        int64 counts[3] = {};
        int64 needed = 0;
        int64 visited = 0;
        for (int64 head = 0; head < p.batch * p.num_q_heads; ++head) {
            const std::vector<TileState> expected = pairs.map(head);
            std::vector<uint8> tiles(expected.size(), 9);
            plan.write_tiles(selection_of(c), head / p.num_q_heads, head % p.num_q_heads,
                             tiles.data());
            for (std::size_t n = 0; n < tiles.size(); ++n) {
                ASSERT_EQ(tiles[n], static_cast<uint8>(expected[n]))
                    << describe(c.spec()) << " head " << head << " tile " << n;
                ++counts[static_cast<std::size_t>(expected[n])];
            }
            for (int64 i = 0; i < p.q_len; ++i)
                for (int64 s = 0; s < p.kv_len; ++s) needed += pairs.sees(head, i, s);
            for (int64 qb = 0; qb < p.num_query_blocks(); ++qb)
                for (int64 kb = 0; kb < p.num_key_blocks(); ++kb)
                    visited += pairs.visited(head, qb, kb);
        }
        const ScheduleStats stats = plan.stats(selection_of(c));
        ASSERT_EQ(stats.tile_q, p.query_block);
        ASSERT_EQ(stats.tile_kv, p.block);
        ASSERT_EQ(stats.num_q_tiles, p.num_query_blocks());
        ASSERT_EQ(stats.num_kv_tiles, p.num_key_blocks());
        ASSERT_EQ(stats.skipped_tiles, counts[0]) << describe(c.spec());
        ASSERT_EQ(stats.partial_tiles, counts[1]) << describe(c.spec());
        ASSERT_EQ(stats.full_tiles, counts[2]) << describe(c.spec());
        ASSERT_EQ(stats.needed_pairs, static_cast<double>(needed)) << describe(c.spec());
        ASSERT_EQ(stats.visited_pairs, static_cast<double>(visited)) << describe(c.spec());
        if (p.query_block == 1) {
            ASSERT_EQ(stats.visited_pairs, stats.needed_pairs);
        }
    });
}

TEST(PermutedBlockPlan, FlopsAreThoseOfEveryBlockKept) {
    for_each_case([](const PermutedBlockCase& c) {
        const PermutedBlockProblem p = c.problem();
        const PermutedBlockPlan plan(p);
        const double visited = plan.stats({nullptr, nullptr}).visited_pairs;
        ASSERT_EQ(plan.flops(Pass::kForward), 2 * (4 + 4) * visited) << describe(c.spec());
        ASSERT_EQ(plan.flops(Pass::kBackward), 2 * (3 * 4 + 2 * 4) * visited);
    });
}

}  // namespace
}  // namespace fattn
