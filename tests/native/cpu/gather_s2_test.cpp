// The lists of S2 attention against the rule asked pair by pair, for all small shapes and for sizes
// that fill several tiles.
#include "cpu/gather_s2.h"

#include <gtest/gtest.h>

#include "reference/s2.h"
#include "support/gather_checks.h"

namespace fattn::cpu {
namespace {

DenseProblem problem_of(const S2Pattern& pattern, int64 num_v_heads, int64 q_len, int64 kv_len) {
    DenseProblem problem{};
    problem.batch = 2;
    problem.num_q_heads = pattern.num_q_heads;
    problem.num_k_heads = pattern.num_k_heads;
    problem.num_v_heads = num_v_heads;
    problem.q_len = q_len;
    problem.kv_len = kv_len;
    problem.head_dim = problem.head_dim_v = 8;
    return problem;
}

/// Offsets are in blocks.
std::string check(const S2Pattern& pattern, const DenseProblem& problem, int64 tile_q,
                  int64 tile_kv, int64 q_blocks = 0, int64 k_blocks = 0) {
    const int64 q_offset = q_blocks * pattern.block_size;
    const int64 k_offset = k_blocks * pattern.block_size;
    const S2Gatherer unmoved(problem, pattern, tile_q, tile_kv);
    const S2Gatherer gatherer = unmoved.moved(q_offset, k_offset);
    const GatherCapacity capacity = gatherer.forward_capacity();
    const GatherCapacity planned = unmoved.forward_capacity();
    if (capacity.rows != planned.rows || capacity.slots != planned.slots ||
        capacity.words != planned.words) {
        return "moving changes the capacity";
    }
    const std::vector<uint8> visible = reference::s2_visibility(
        pattern, reference::s2_positions(problem.q_len, problem.kv_len, q_offset, k_offset),
        problem.q_len, problem.kv_len);
    return test::check_gatherer(gatherer, problem, problem.kv_len,
                                [&](int64, int64 h, int64 i, int64 j) {
                                    const int64 at = (h * problem.q_len + i) * problem.kv_len + j;
                                    return visible[static_cast<std::size_t>(at)] != 0;
                                });
}

/// Flags 0 to 15: head offset, pattern per query head, two-sided, a dense head.
S2Pattern pattern_of(int64 block, int64 local, int64 stride, int flags) {
    return {.block_size = block,
            .local_blocks = local,
            .vertical_stride = stride,
            .head_offset = flags & 1,
            .dense_heads = flags >> 3,
            .num_q_heads = 4,
            .num_k_heads = 2,
            .per_query_head = (flags & 2) != 0,
            .homogeneous = false,
            .causal = (flags & 4) == 0};
}

TEST(S2Gatherer, ShowsExactlyThePairsOfThePattern) {
    for (const auto& [q_len, kv_len] : {std::pair<int64, int64>{0, 5},
                                        {5, 0},
                                        {1, 1},
                                        {1, 14},
                                        {9, 9},
                                        {13, 13},
                                        {7, 16},
                                        {10, 6}}) {
        for (const int64 block : {1, 2, 3, 20}) {
            for (const int64 local : {1, 3}) {
                for (const int64 stride : {1, 2, 4, 9}) {
                    for (int flags = 0; flags < 16; ++flags) {
                        for (const int64 tile : {2, 8}) {
                            const S2Pattern pattern = pattern_of(block, local, stride, flags);
                            const DenseProblem problem =
                                problem_of(pattern, (flags & 1) != 0 ? 1 : 2, q_len, kv_len);
                            ASSERT_EQ(check(pattern, problem, tile, tile), "")
                                << q_len << "x" << kv_len << " block " << block << " local "
                                << local << " stride " << stride << " flags " << flags << " tile "
                                << tile;
                        }
                    }
                }
            }
        }
    }
}

TEST(S2Gatherer, ShowsExactlyThePairsOfMovedPositions) {
    for (const auto& [q_len, kv_len] : {std::pair<int64, int64>{9, 9}, {7, 16}, {10, 6}}) {
        for (const auto& [q_blocks, k_blocks] :
             {std::pair<int64, int64>{0, 3}, {1, 0}, {3, 1}, {5, 5}, {-2, 0}, {20, 3}, {-7, -8}}) {
            for (const int64 block : {1, 3, 4}) {
                for (const int64 local : {1, 3}) {
                    for (const int64 stride : {1, 2, 5}) {
                        for (int flags = 0; flags < 16; ++flags) {
                            const S2Pattern pattern = pattern_of(block, local, stride, flags);
                            const DenseProblem problem = problem_of(pattern, 2, q_len, kv_len);
                            for (const int64 tile : {2, 8}) {
                                ASSERT_EQ(check(pattern, problem, tile, tile, q_blocks, k_blocks),
                                          "")
                                    << q_len << "x" << kv_len << " moved " << q_blocks << " "
                                    << k_blocks << " block " << block << " local " << local
                                    << " stride " << stride << " flags " << flags << " tile "
                                    << tile;
                            }
                        }
                    }
                }
            }
        }
    }
}

TEST(S2Gatherer, ShowsExactlyThePairsOfLargerProblems) {
    for (const bool causal : {true, false}) {
        for (const int64 local : {1, 5}) {
            for (const auto& [q_len, kv_len] : {std::pair<int64, int64>{700, 700}, {333, 701}}) {
                const S2Pattern pattern{.block_size = 16,
                                        .local_blocks = local,
                                        .vertical_stride = 3,
                                        .head_offset = 1,
                                        .dense_heads = 1,
                                        .num_q_heads = 4,
                                        .num_k_heads = 2,
                                        .per_query_head = true,
                                        .homogeneous = false,
                                        .causal = causal};
                const DenseProblem problem = problem_of(pattern, 2, q_len, kv_len);
                ASSERT_EQ(check(pattern, problem, 96, 128), "") << causal << local << q_len;
            }
        }
    }
}

TEST(S2Gatherer, LongRowsComeFirst) {
    const S2Pattern pattern{.block_size = 8,
                            .local_blocks = 2,
                            .vertical_stride = 4,
                            .head_offset = 0,
                            .dense_heads = 1,
                            .num_q_heads = 4,
                            .num_k_heads = 4,
                            .per_query_head = false,
                            .homogeneous = false,
                            .causal = true};
    const DenseProblem problem = problem_of(pattern, 4, 256, 256);
    const S2Gatherer gatherer(problem, pattern, 8, 64);
    test::GatherMemory memory(gatherer.forward_capacity());
    int64 previous = 1 << 20;
    int64 longest_sharded = 0;
    for (int64 n = 0; n < gatherer.num_forward_shares(); ++n) {
        const GatheredShare share = gatherer.forward_share(n, memory.view());
        if (share.first_head == 3) {
            EXPECT_LE(share.tile.num_slots, previous);
            EXPECT_EQ(longest_sharded, 0) << "dense heads come first";
            previous = share.tile.num_slots;
        } else {
            if (longest_sharded == 0) longest_sharded = share.tile.num_slots;
            EXPECT_LE(share.tile.num_slots, longest_sharded + pattern.block_size);
        }
    }
    EXPECT_GT(longest_sharded, 0);
}

TEST(S2Gatherer, HeadsWithOnePatternAreFolded) {
    S2Pattern pattern{.block_size = 8,
                      .local_blocks = 2,
                      .vertical_stride = 4,
                      .head_offset = 0,
                      .dense_heads = 0,
                      .num_q_heads = 8,
                      .num_k_heads = 2,
                      .per_query_head = false,
                      .homogeneous = false,
                      .causal = true};
    const DenseProblem problem = problem_of(pattern, 2, 64, 64);
    EXPECT_EQ(S2Gatherer(problem, pattern, 8, 64).forward_capacity().heads, 4);
    EXPECT_EQ(S2Gatherer(problem, pattern, 8, 64).num_equal_heads(0, 5), 3);
    pattern.per_query_head = true;
    EXPECT_EQ(S2Gatherer(problem, pattern, 8, 64).forward_capacity().heads, 1);
}

}  // namespace
}  // namespace fattn::cpu
