// Windows of neighborhood attention: against the definition's own arithmetic, and the inverse
// window against all queries, exhaustively.
#include "core/neighborhood.h"

#include <gtest/gtest.h>

#include <vector>

namespace fattn {
namespace {

constexpr int32 kLongest = 18;

/// Calls visit(axis, length) for every window of every group length, until one fails.
template <class Visit>
void for_each_axis(const Visit& visit) {
    for (int32 length = 1; length <= kLongest; ++length) {
        for (int32 window = 1; window <= length; ++window) {
            for (int32 stride = 1; stride <= window; ++stride) {
                for (const bool causal : {false, true}) {
                    if (testing::Test::HasFatalFailure()) return;
                    visit(NeighborhoodAxis{length, 1, window, stride, causal}, length);
                }
            }
        }
    }
}

std::string describe(const NeighborhoodAxis& axis) {
    return "length " + std::to_string(axis.extent) + " window " + std::to_string(axis.window) +
           " stride " + std::to_string(axis.stride) + (axis.causal ? " causal" : "");
}

/// The definition with its terms as SEMANTICS writes them.
KeyInterval defined_keys(int64 L, int64 w, int64 s, bool causal, int64 i) {
    if (causal) {
        const int64 leader = std::min(i / s * s + s - 1, L - 1);
        return {std::max<int64>(leader - (w - 1), 0), std::min(i + 1, L)};
    }
    const int64 wl = w / 2;
    const int64 wr = wl + w % 2 - 1;
    const int64 leader = std::min(i / s * s + s / 2, L - 1);
    int64 start = std::max<int64>(leader - wl, 0);
    if (leader + wr >= L) start += L - wr - leader - 1;
    return {start, start + w};
}

TEST(NeighborhoodAxis, KeysOfAQueryAreTheDefinition) {
    for_each_axis([](const NeighborhoodAxis& axis, int64 length) {
        for (int64 i = 0; i < length; ++i) {
            const KeyInterval expected =
                defined_keys(length, axis.window, axis.stride, axis.causal, i);
            const KeyInterval keys = axis.keys_of(i, length);
            ASSERT_EQ(keys.begin, expected.begin) << describe(axis) << " query " << i;
            ASSERT_EQ(keys.end, expected.end) << describe(axis) << " query " << i;
        }
    });
}

TEST(NeighborhoodAxis, WindowsLieInsideTheGroupAndNeverMoveBack) {
    for_each_axis([](const NeighborhoodAxis& axis, int64 length) {
        KeyInterval before{0, 0};
        for (int64 i = 0; i < length; ++i) {
            const KeyInterval keys = axis.keys_of(i, length);
            ASSERT_GE(keys.begin, before.begin) << describe(axis) << " query " << i;
            ASSERT_GE(keys.end, before.end) << describe(axis) << " query " << i;
            ASSERT_LE(keys.end, length) << describe(axis) << " query " << i;
            if (axis.causal) {
                ASSERT_LT(keys.begin, keys.end) << describe(axis) << " query " << i;
                ASSERT_LE(keys.size(), axis.window) << describe(axis) << " query " << i;
                ASSERT_EQ(keys.end, i + 1) << describe(axis) << " query " << i;
            } else {
                ASSERT_EQ(keys.size(), axis.window) << describe(axis) << " query " << i;
            }
            before = keys;
        }
    });
}

TEST(NeighborhoodAxis, QueriesOfAKeyAreExactlyThoseThatSeeIt) {
    for_each_axis([](const NeighborhoodAxis& axis, int64 length) {
        for (int64 j = 0; j < length; ++j) {
            const KeyInterval queries = axis.queries_of(j, length);
            for (int64 i = 0; i < length; ++i) {
                const KeyInterval keys = axis.keys_of(i, length);
                const bool sees = keys.begin <= j && j < keys.end;
                const bool listed = queries.begin <= i && i < queries.end;
                ASSERT_EQ(sees, listed) << describe(axis) << " key " << j << " query " << i;
            }
        }
    });
}

TEST(NeighborhoodAxis, WindowOfTheWholeAxisSeesAll) {
    const NeighborhoodAxis all{7, 1, 7, 3, false};
    for (int64 i = 0; i < 7; ++i) EXPECT_EQ(all.keys_of(i, 7).size(), 7);
}

TEST(NeighborhoodAxis, StrideEqualToTheWindowIsBlockedAttention) {
    const NeighborhoodAxis blocked{12, 1, 4, 4, false};
    for (int64 i = 0; i < 12; ++i) {
        EXPECT_EQ(blocked.keys_of(i, 12).begin, i / 4 * 4);
        EXPECT_EQ(blocked.keys_of(i, 12).end, i / 4 * 4 + 4);
    }
}

TEST(NeighborhoodAxis, BlocksWithAHaloShareAWiderWindow) {
    // Blocks of 4 that also see 2 keys on each side.
    const NeighborhoodAxis halo{16, 1, 8, 4, false};
    for (int64 i = 4; i < 12; ++i) {
        EXPECT_EQ(halo.keys_of(i, 16).begin, i / 4 * 4 - 2);
        EXPECT_EQ(halo.keys_of(i, 16).end, i / 4 * 4 + 6);
    }
}

TEST(NeighborhoodAxis, LongAxesStayExact) {
    constexpr int32 kLength = 2147483647;
    const NeighborhoodAxis axis{kLength, 1, 1 << 30, 3, false};
    const KeyInterval last = axis.keys_of(kLength - 1, kLength);
    EXPECT_EQ(last.end, kLength);
    EXPECT_EQ(last.size(), 1 << 30);
    EXPECT_EQ(axis.queries_of(kLength - 1, kLength).end, kLength);
    EXPECT_EQ(axis.queries_of(0, kLength).begin, 0);
}

TEST(NeighborhoodGrid, PatchesCutItsAxes) {
    const NeighborhoodGrid grid{{single_token_axis(), {10, 2, 3, 1, false}, {7, 1, 5, 1, true}}};
    EXPECT_EQ(grid.num_tokens(), 70);
    EXPECT_EQ(grid.num_groups(), 2);
    const PatchGrid patches = grid.patches({1, 2, 4});
    EXPECT_EQ(patches.num_tokens(), 70);
    EXPECT_EQ(patches.num_patches(1), 3);
    EXPECT_EQ(patches.num_patches(2), 2);
    EXPECT_EQ(grid.axis[1].group_length(0), 5);
    EXPECT_EQ(grid.axis[2].group_length(0), 7);
}

}  // namespace
}  // namespace fattn
