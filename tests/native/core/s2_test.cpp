// The S2 pattern: rows and columns of every small pattern against the rule asked block by block.
#include "core/s2.h"

#include <gtest/gtest.h>

#include <vector>

namespace fattn {
namespace {

template <class Visit>
void for_each_pattern(const Visit& visit) {
    for (const int64 stride : {1, 2, 3, 5, 8}) {
        for (const int64 local : {1, 2, 4}) {
            for (const int64 offset : {-3, 0, 1, 11}) {
                for (const int64 dense_heads : {0, 1}) {
                    for (const int flags : {0, 1, 2, 3, 4, 5}) {
                        visit(S2Pattern{.block_size = 4,
                                        .local_blocks = local,
                                        .vertical_stride = stride,
                                        .head_offset = offset,
                                        .dense_heads = dense_heads,
                                        .num_q_heads = 4,
                                        .num_k_heads = 2,
                                        .per_query_head = (flags & 1) != 0,
                                        .homogeneous = (flags & 4) != 0,
                                        .causal = (flags & 2) == 0});
                    }
                }
            }
        }
    }
}

std::vector<int64> blocks_of(const S2Row& row) {
    std::vector<int64> blocks;
    for (int64 n = 0; n < row.size(); ++n) blocks.push_back(row.block(n));
    return blocks;
}

TEST(S2Pattern, RowsHoldTheBlocksTheRuleShows) {
    for_each_pattern([](const S2Pattern& pattern) {
        for (int64 head = 0; head < pattern.num_pattern_heads(); ++head) {
            for (const int64 num_blocks : {0, 1, 7}) {
                for (int64 qb = -6; qb < 14; ++qb) {
                    std::vector<int64> expected;
                    for (int64 kb = 0; kb < num_blocks; ++kb) {
                        if (pattern.shows(head, qb, kb)) expected.push_back(kb);
                    }
                    ASSERT_EQ(blocks_of(pattern.row(head, qb, num_blocks)), expected)
                        << "stride " << pattern.vertical_stride << " local " << pattern.local_blocks
                        << " causal " << pattern.causal << " qb " << qb << " of " << num_blocks;
                }
            }
        }
    });
}

TEST(S2Pattern, ColumnsHoldTheQueryBlocksThatSeeABlock) {
    for_each_pattern([](const S2Pattern& pattern) {
        for (int64 head = 0; head < pattern.num_pattern_heads(); ++head) {
            for (const int64 first : {-2, 0, 3}) {
                for (const int64 end : {0, 3, 9}) {
                    for (int64 kb = 0; kb < 8; ++kb) {
                        std::vector<int64> expected;
                        for (int64 qb = first; qb < end; ++qb) {
                            if (pattern.shows(head, qb, kb)) expected.push_back(qb);
                        }
                        ASSERT_EQ(blocks_of(pattern.column(head, kb, first, end)), expected)
                            << "stride " << pattern.vertical_stride << " local "
                            << pattern.local_blocks << " causal " << pattern.causal << " kb " << kb
                            << " queries " << first << " to " << end;
                    }
                }
            }
        }
    });
}

TEST(S2Pattern, HeadsAreTheSameExactlyWhenTheyShowTheSameBlocks) {
    for_each_pattern([](const S2Pattern& pattern) {
        for (int64 a = 0; a < pattern.num_pattern_heads(); ++a) {
            for (int64 b = 0; b < pattern.num_pattern_heads(); ++b) {
                bool equal = true;
                for (int64 qb = 0; qb < 20; ++qb) {
                    for (int64 kb = 0; kb < 20; ++kb) {
                        equal = equal && pattern.shows(a, qb, kb) == pattern.shows(b, qb, kb);
                    }
                }
                // Patterns that see everything need not say so: stride 1 equals a dense head.
                if (pattern.vertical_stride > 1) {
                    EXPECT_EQ(pattern.same(a, b), equal);
                } else {
                    EXPECT_LE(pattern.same(a, b), equal);
                }
            }
        }
    });
}

/// The pattern of the released Phi-3-small: (kb + h + 1) mod 8 over 32 query heads.
TEST(S2Pattern, ReleasedPatternHasEightShardsOverQueryHeads) {
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
    for (int64 h = 0; h < 32; ++h) {
        for (int64 kb = 0; kb < 100; ++kb) {
            EXPECT_EQ(pattern.shows(h, 120, kb), (kb + h + 1) % 8 == 0) << h << " " << kb;
        }
        EXPECT_TRUE(pattern.shows(h, 120, 105));
        EXPECT_FALSE(pattern.shows(h, 120, 121));
    }
}

}  // namespace
}  // namespace fattn
