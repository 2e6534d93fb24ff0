// Which query heads read a head: every one of all small maps, and of numbers of heads whose product
// leaves 32 bits.
#include "core/head_map.h"

#include <gtest/gtest.h>

namespace fattn {
namespace {

TEST(HeadMap, TheQueryHeadsOfAHeadAreThoseThatReadIt) {
    for (int64 q_heads = 1; q_heads <= 24; ++q_heads) {
        for (int64 heads = 1; heads <= 24; ++heads) {
            for (int64 h = 0; h < heads; ++h) {
                const int64 begin = first_q_head_of(h, heads, q_heads);
                const int64 end = first_q_head_of(h + 1, heads, q_heads);
                for (int64 q = 0; q < q_heads; ++q) {
                    EXPECT_EQ(q >= begin && q < end, head_of_q_head(q, heads, q_heads) == h)
                        << "query head " << q << " of " << q_heads << ", head " << h << " of "
                        << heads;
                }
            }
            EXPECT_EQ(first_q_head_of(heads, heads, q_heads), q_heads);
        }
    }
}

TEST(HeadMap, ProductsOfNumbersOfHeadsMayLeave32Bits) {
    constexpr int32 kHeads = 1 << 20;
    for (const int32 h : {0, 46341, 65536, kHeads - 1}) {
        EXPECT_EQ(head_of_q_head(h, kHeads, kHeads), h);
        EXPECT_EQ(first_q_head_of(h, kHeads, kHeads), h);
        EXPECT_EQ(head_of_q_head(h, kHeads / 4, kHeads), h / 4);
        EXPECT_EQ(first_q_head_of(h / 4, kHeads / 4, kHeads), h / 4 * 4);
    }
}

}  // namespace
}  // namespace fattn
