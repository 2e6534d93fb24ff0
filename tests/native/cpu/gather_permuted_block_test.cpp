// The lists of permuted block-sparse attention against the mask that a selection comes to, pair by
// pair, for small shapes and for sizes that fill several tiles.
#include "cpu/gather_permuted_block.h"

#include <gtest/gtest.h>

#include "reference/permuted_block.h"
#include "support/gather_checks.h"
#include "support/permuted_block_case.h"
#include "support/sampling.h"

namespace fattn::cpu {
namespace {

using test::PermutedBlockCase;
using test::PermutedBlockSpec;

enum class Given { kNothing, kMask, kBoth };

std::string check(PermutedBlockCase& c, Given given) {
    const PermutedBlockProblem problem = c.problem();
    const int32* permutation = given == Given::kBoth ? c.permutation.data() : nullptr;
    const uint8* mask = given == Given::kNothing ? nullptr : c.block_mask.data();
    const PermutedBlockGatherer::Geometry geometry(problem);
    const PermutedBlockGatherer gatherer(problem, geometry, permutation, mask);
    const std::vector<uint8> visible = reference::visible_tokens(problem, permutation, mask);
    return test::check_gatherer(
        gatherer, problem, problem.kv_len, [&](int64 b, int64 h, int64 i, int64 j) {
            const int64 row = (b * problem.num_q_heads + h) * problem.q_len + i;
            return visible[static_cast<std::size_t>(row * problem.kv_len + j)] != 0;
        });
}

PermutedBlockSpec shape(int64 q_len, int64 kv_len) {
    PermutedBlockSpec spec;
    spec.q_len = q_len;
    spec.kv_len = kv_len;
    spec.head_dim = spec.head_dim_v = 1;
    spec.batch = 2;
    spec.num_q_heads = 4;
    spec.num_k_heads = 2;
    spec.num_v_heads = 2;
    return spec;
}

TEST(PermutedBlockGatherer, ShowsExactlyThePairsOfTheSelection) {
    test::CasePicker picker(1, 7);
    for (const int64 block : {1, 2, 4, 20}) {
        for (const int64 blocks_of_segment : {1, 2, 3}) {
            for (const int64 kv_len : {0, 1, 5, 12, 23}) {
                for (int64 q_len = kv_len % block; q_len <= kv_len; q_len += block) {
                    for (const double chance : {0.0, 0.5, 1.0}) {
                        for (int flags = 0; flags < 8; ++flags) {
                            if (!picker.next()) continue;
                            PermutedBlockSpec spec = shape(q_len, kv_len);
                            spec.block = block;
                            spec.segment = block * blocks_of_segment;
                            spec.causal = (flags & 1) == 0;
                            spec.shared = (flags & 2) != 0;
                            if ((flags & 4) != 0) spec.query_block = block % 2 == 0 ? block / 2 : 1;
                            PermutedBlockCase c(spec);
                            c.draw_selection(chance);
                            for (const Given given :
                                 {Given::kNothing, Given::kMask, Given::kBoth}) {
                                ASSERT_EQ(check(c, given), "")
                                    << static_cast<int>(given) << " chance " << chance << " "
                                    << describe(spec);
                            }
                        }
                    }
                }
            }
        }
    }
}

TEST(PermutedBlockGatherer, ShowsExactlyThePairsOfLargerProblems) {
    for (const int64 query_block : {1, 16, 64}) {
        for (const int64 block : {64, 128, 320}) {
            for (const bool causal : {true, false}) {
                for (const auto& [q_len, kv_len] : {std::pair<int64, int64>{500, 500}, {52, 500}}) {
                    PermutedBlockSpec spec = shape(q_len, kv_len);
                    spec.batch = 1;
                    spec.num_q_heads = spec.num_k_heads = spec.num_v_heads = 1;
                    spec.block = block;
                    spec.segment = block == 320 ? 640 : 256;
                    spec.query_block = query_block;
                    if ((kv_len - q_len) % query_block != 0) continue;
                    spec.causal = causal;
                    PermutedBlockCase c(spec);
                    c.draw_selection(0.6);
                    for (const Given given : {Given::kNothing, Given::kMask, Given::kBoth}) {
                        ASSERT_EQ(check(c, given), "") << describe(spec);
                    }
                }
            }
        }
    }
}

TEST(PermutedBlockGatherer, QueryBlocksOfTheUsualSizeGoInPairsWithoutBits) {
    PermutedBlockSpec spec = shape(2000, 2000);
    spec.batch = 1;
    spec.num_q_heads = spec.num_k_heads = spec.num_v_heads = 1;
    spec.block = 128;
    spec.segment = 256;
    PermutedBlockCase c(spec);
    c.draw_selection(0.5);
    const PermutedBlockProblem problem = c.problem();
    // As selections do: all of the own segment.
    for (std::size_t n = 0; n < c.block_mask.size(); ++n) {
        const int64 kb = static_cast<int64>(n) % 16;
        const int64 qb = static_cast<int64>(n) / 16 % 16;
        if (kb / 2 == qb / 2) c.block_mask[n] = 1;
    }
    EXPECT_EQ(check(c, Given::kBoth), "");
    const PermutedBlockGatherer::Geometry geometry(problem);
    const PermutedBlockGatherer gatherer(problem, geometry, c.permutation.data(),
                                         c.block_mask.data());
    test::GatherMemory memory(gatherer.forward_capacity());
    EXPECT_EQ(gatherer.num_forward_shares(), 8);
    for (int64 n = 0; n < gatherer.num_forward_shares(); ++n) {
        const GatheredShare share = gatherer.forward_share(n, memory.view());
        EXPECT_LE(share.tile.num_rows, 256);
        for (int64 r = 0; r < share.tile.num_rows; ++r) EXPECT_EQ(share.tile.rows[r].bits, nullptr);
    }
}

TEST(PermutedBlockGatherer, HeadsThatShareAreFolded) {
    PermutedBlockSpec spec = shape(64, 64);
    spec.num_q_heads = 8;
    spec.shared = true;
    PermutedBlockCase c(spec);
    const PermutedBlockProblem problem = c.problem();
    const PermutedBlockGatherer::Geometry geometry(problem);
    const PermutedBlockGatherer gatherer(problem, geometry, nullptr, nullptr);
    EXPECT_EQ(gatherer.forward_capacity().heads, 4);
    EXPECT_EQ(gatherer.num_equal_heads(0, 5), 3);
}

}  // namespace
}  // namespace fattn::cpu
