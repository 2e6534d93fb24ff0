// The dropout generator of the reference, against the published vectors and its own rule.
#include "reference/philox.h"

#include <gtest/gtest.h>

namespace fattn::reference {
namespace {

TEST(Philox, MatchesThePublishedVectors) {
    using Words = std::array<uint32, 4>;
    EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}),
              (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(
        philox4x32_10({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
        (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(
        philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
        (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, AKeyTakesItsWordOfTheCounterOfItsGroupOfFour) {
    const uint64 seed = 0x0123456789abcdef;
    const uint64 offset = 0xfedcba9800000007;
    for (int64 j = 0; j < 12; ++j) {
        const auto words =
            philox4x32_10({static_cast<uint32>(j / 4), 5, 2 * 8 + 3, 7}, {0x89abcdef, 0x01234567});
        const DropoutPlace place{
            .entry = 2, .q_head = 3, .num_q_heads = 8, .q_idx = 5, .kv_idx = j};
        const uint32 word = words[static_cast<std::size_t>(j % 4)];
        // Kept exactly when the word reaches p * 2^32.
        EXPECT_TRUE(dropout_keeps(place, static_cast<double>(word) / 0x1p32, seed, offset)) << j;
        EXPECT_FALSE(dropout_keeps(place, (static_cast<double>(word) + 1) / 0x1p32, seed, offset))
            << j;
    }
}

TEST(Philox, DropsTheShareThatIsAsked) {
    int kept = 0;
    for (int64 i = 0; i < 100; ++i)
        for (int64 j = 0; j < 1000; ++j) kept += dropout_keeps({0, 0, 1, i, j}, 0.3, 42, 0) ? 1 : 0;
    EXPECT_NEAR(kept / 1e5, 0.7, 0.005);  // three standard deviations are 0.0044
}

}  // namespace
}  // namespace fattn::reference
