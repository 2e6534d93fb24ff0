// Published block patterns: their masks by hand and by their rules.
#include "plan/block_patterns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace fattn {
namespace {

BlockPattern pattern_of(BlockPatternKind kind, int64 blocks = 8) {
    return {.kind = kind,
            .causal = true,
            .num_heads = 1,
            .q_len = blocks,
            .kv_len = blocks,
            .block_size = 1,
            .sink_blocks = 0,
            .window_blocks = 1,
            .stride_blocks = 1,
            .summary_blocks = 0,
            .random_blocks = 0,
            .seed = 1,
            .head_windows = nullptr,
            .streaming = nullptr};
}

std::vector<uint8> mask_of(const BlockPattern& pattern) {
    std::vector<uint8> mask(static_cast<std::size_t>(pattern.num_heads * pattern.num_q_blocks() *
                                                     pattern.num_kv_blocks()));
    write_block_mask(pattern, mask.data());
    return mask;
}

/// One row of one head, 'x' kept.
std::string row_of(const BlockPattern& pattern, int64 head, int64 row) {
    const std::vector<uint8> mask = mask_of(pattern);
    std::string out;
    for (int64 kb = 0; kb < pattern.num_kv_blocks(); ++kb) {
        const int64 at = (head * pattern.num_q_blocks() + row) * pattern.num_kv_blocks() + kb;
        out += mask[static_cast<std::size_t>(at)] != 0 ? 'x' : '.';
    }
    return out;
}

TEST(BlockPatterns, SinkAndWindow) {
    BlockPattern p = pattern_of(BlockPatternKind::kSinkWindow);
    p.sink_blocks = 1;
    p.window_blocks = 3;
    EXPECT_EQ(row_of(p, 0, 6), "x...xxx.");
    EXPECT_EQ(row_of(p, 0, 1), "xx......");
    p.causal = false;
    EXPECT_EQ(row_of(p, 0, 4), "x.xxxxx.");
}

TEST(BlockPatterns, Strided) {
    BlockPattern p = pattern_of(BlockPatternKind::kStrided);
    p.window_blocks = 2;
    p.stride_blocks = 3;
    EXPECT_EQ(row_of(p, 0, 7), ".x..x.xx");
    EXPECT_EQ(row_of(p, 0, 6), "x..x.xx.");
}

TEST(BlockPatterns, Fixed) {
    BlockPattern p = pattern_of(BlockPatternKind::kFixed);
    p.stride_blocks = 4;
    p.summary_blocks = 1;
    EXPECT_EQ(row_of(p, 0, 5), "...xxx..");
    EXPECT_EQ(row_of(p, 0, 7), "...xxxxx");
    p.summary_blocks = 2;
    EXPECT_EQ(row_of(p, 0, 4), "..xxx...");
}

TEST(BlockPatterns, PowersOfTwo) {
    EXPECT_EQ(row_of(pattern_of(BlockPatternKind::kPowerOfTwo, 10), 0, 9), ".x...x.xxx");
}

TEST(BlockPatterns, WindowsAndClassesOfHeads) {
    const int64 windows[] = {1, 3};
    BlockPattern p = pattern_of(BlockPatternKind::kHeadWindows);
    p.num_heads = 2;
    p.head_windows = windows;
    EXPECT_EQ(row_of(p, 0, 5), ".....x..");
    EXPECT_EQ(row_of(p, 1, 5), "...xxx..");
    const uint8 streaming[] = {1, 0};
    p = pattern_of(BlockPatternKind::kHeadClasses);
    p.num_heads = 2;
    p.streaming = streaming;
    p.sink_blocks = 1;
    p.window_blocks = 2;
    EXPECT_EQ(row_of(p, 0, 5), "x...xx..");
    EXPECT_EQ(row_of(p, 1, 5), "xxxxxx..");
}

TEST(BlockPatterns, RandomBlocksAreDistinctAllowedAndFollowTheSeed) {
    BlockPattern p = pattern_of(BlockPatternKind::kRandomGlobal, 40);
    p.num_heads = 3;
    p.sink_blocks = 1;
    p.window_blocks = 2;
    p.random_blocks = 5;
    for (const bool causal : {true, false}) {
        p.causal = causal;
        const std::vector<uint8> mask = mask_of(p);
        EXPECT_EQ(mask, mask_of(p));
        for (int64 head = 0; head < 3; ++head) {
            for (int64 qb = 0; qb < 40; ++qb) {
                BlockPattern certain = p;
                certain.random_blocks = 0;
                const std::string without = row_of(certain, head, qb);
                const std::string with = row_of(p, head, qb);
                const auto count = [](const std::string& row) {
                    return std::count(row.begin(), row.end(), 'x');
                };
                const int64 allowed = causal ? qb + 1 : 40;
                EXPECT_EQ(count(with), std::min<int64>(count(without) + 5, allowed));
                for (std::size_t kb = 0; kb < 40; ++kb) {
                    if (without[kb] == 'x') {
                        EXPECT_EQ(with[kb], 'x');
                    }
                    if (static_cast<int64>(kb) >= allowed) {
                        EXPECT_EQ(with[kb], '.');
                    }
                }
            }
        }
        EXPECT_NE(row_of(p, 0, 35), row_of(p, 1, 35));
        BlockPattern other = p;
        other.seed = 2;
        EXPECT_NE(mask_of(other), mask);
    }
    // A block that sees everything is seen by everything.
    EXPECT_EQ(row_of(p, 0, 0), std::string(40, 'x'));
}

TEST(BlockPatterns, ShortQueriesAreTheLastRows) {
    BlockPattern p = pattern_of(BlockPatternKind::kStrided);
    p.stride_blocks = 3;
    const std::string whole = row_of(p, 0, 6);
    p.q_len = 3;
    EXPECT_EQ(row_of(p, 0, 1), whole);
}

}  // namespace
}  // namespace fattn
