// Orders: patches of small grids exhaustively, permutations, the identity.
#include "core/order.h"

#include <gtest/gtest.h>

#include <set>

namespace fattn {
namespace {

template <class Visit>
void for_each_grid(const Visit& visit) {
    for (const int32 ea : {1, 2, 3}) {
        for (const int32 eb : {1, 4, 5}) {
            for (const int32 ec : {1, 6, 7}) {
                for (int32 da = 1; da <= ea; ++da) {
                    for (int32 db = 1; db <= eb; db += 2) {
                        for (int32 dc = 1; dc <= ec; ++dc) {
                            for (const int32 pb : {1, 2, 3}) {
                                for (const int32 pc : {1, 2, 4}) {
                                    visit(PatchGrid{
                                        {ea, eb, ec}, {da, db, dc}, {1 + ea % 2, pb, pc}});
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

TEST(PatchGrid, EveryTokenHasOneSlot) {
    for_each_grid([](const PatchGrid& grid) {
        std::set<int64> tokens;
        int64 padding = 0;
        for (int64 slot = 0; slot < grid.num_slots(); ++slot) {
            const int64 token = grid.token_of(slot);
            if (token < 0) {
                ++padding;
                continue;
            }
            ASSERT_LT(token, grid.num_tokens());
            ASSERT_TRUE(tokens.insert(token).second) << "token " << token << " twice";
            ASSERT_EQ(grid.slot_of(token), slot);
        }
        ASSERT_EQ(static_cast<int64>(tokens.size()), grid.num_tokens());
        ASSERT_EQ(padding, grid.num_slots() - grid.num_tokens());
    });
}

TEST(PatchGrid, TokensOfAPatchShareGroupAndStandTogether) {
    for_each_grid([](const PatchGrid& grid) {
        const int64 patch_size = int64{grid.patch[0]} * grid.patch[1] * grid.patch[2];
        for (int64 first = 0; first < grid.num_slots(); first += patch_size) {
            const int64 corner = grid.token_of(first);
            for (int64 n = 1; n < patch_size; ++n) {
                int64 token = grid.token_of(first + n);
                if (token < 0) continue;
                ASSERT_GE(corner, 0);
                int64 base = corner;
                for (int a = 2; a >= 0; --a) {
                    const int64 x = token % grid.extent[a];
                    const int64 x0 = base % grid.extent[a];
                    token /= grid.extent[a];
                    base /= grid.extent[a];
                    ASSERT_EQ(x % grid.dilation[a], x0 % grid.dilation[a]);
                    ASSERT_GE(x, x0);
                    ASSERT_LT(x - x0, int64{grid.patch[a]} * grid.dilation[a]);
                }
            }
        }
    });
}

TEST(PatchGrid, OneDimensionWithDilationIsAsWorkedOutByHand) {
    // Seven tokens, dilation 2, patches of 3: group 0 is 0 2 4 6, group 1 is 1 3 5.
    const PatchGrid grid{{1, 1, 7}, {1, 1, 2}, {1, 1, 3}};
    const int64 expected[] = {0, 2, 4, 6, -1, -1, 1, 3, 5, -1, -1, -1};
    ASSERT_EQ(grid.num_slots(), 12);
    for (int64 slot = 0; slot < 12; ++slot) EXPECT_EQ(grid.token_of(slot), expected[slot]);
}

TEST(Order, KindsGiveTheirTokens) {
    const int32 permutation[] = {2, 0, 1};
    EXPECT_EQ(identity_order(5).token(3), 3);
    EXPECT_EQ(identity_order(5).num_slots(), 5);
    EXPECT_EQ(permuted_order(permutation, 3).token(0), 2);
    EXPECT_EQ(permuted_order(permutation, 3).num_slots(), 3);
    const Order patches = patch_order({{1, 1, 7}, {1, 1, 2}, {1, 1, 3}});
    EXPECT_EQ(patches.num_tokens, 7);
    EXPECT_EQ(patches.num_slots(), 12);
    EXPECT_EQ(patches.token(1), 2);
    EXPECT_EQ(patches.token(4), -1);
}

}  // namespace
}  // namespace fattn
