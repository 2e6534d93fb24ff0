// Philox4x32-10 against its authors' known-answer vectors, and the dropout rule against a mask
// computed by another program.
#include "core/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace fattn {
namespace {

struct KnownAnswer {
    PhiloxBlock counter;
    uint64 key;
    PhiloxBlock block;
};

// The vectors named philox4x32 10 in the kat_vectors file of Random123.
constexpr KnownAnswer kKnownAnswers[] = {
    {{{0, 0, 0, 0}}, 0, {{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}}},
    {{{0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu}},
     0xffffffffffffffffu,
     {{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}}},
    {{{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}},
     0x299f31d0a4093822u,
     {{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}}},
};

TEST(Philox, PublishedVectorsAreReproduced) {
    for (const KnownAnswer& known : kKnownAnswers) {
        const PhiloxBlock block = philox4x32(known.counter, known.key);
        for (int i = 0; i < 4; ++i) EXPECT_EQ(block.word[i], known.block.word[i]) << "word " << i;
    }
}

TEST(Philox, IsAConstantExpression) {
    static_assert(philox4x32({{0, 0, 0, 0}}, 0).word[3] == 0x9b00dbd8u);
}

struct MaskRow {
    int64 head;
    int64 query;
    const char* kept;  // keys 0..39, '1' kept
};

// p = 0.3f, seed 0x0123456789abcdef, offset 0x9876543200000007; from a Python program written after
// the paper.
constexpr MaskRow kGoldenMask[] = {
    {0, 3, "1100111001011111100101110110111111110111"},
    {0, 4, "1111001110111110010110101100111011101011"},
    {0, 5, "1110000101101101101110011111011000110101"},
    {0, 6, "1101000111110111101111011011100010011111"},
    {5, 3, "0000011111010111011100111011111111011111"},
    {5, 4, "1111100111111110101111111111110110011101"},
    {5, 5, "0110111101111111110110100011111101111101"},
    {5, 6, "1101100000110011011111111111011111011111"},
};

TEST(DropoutRule, GoldenMaskIsReproduced) {
    const DropoutRule rule = dropout_rule(0.3F, 0x0123456789abcdefu, 0x9876543200000007u);
    EXPECT_EQ(rule.threshold, 0x4ccccd00u);
    for (const MaskRow& row : kGoldenMask) {
        std::string kept;
        for (int64 key = 0; key < 40; ++key) {
            kept += dropout_keep(rule, row.head, row.query, key) ? '1' : '0';
        }
        EXPECT_EQ(kept, row.kept) << "head " << row.head << " query " << row.query;
    }
}

TEST(DropoutRule, OnlyLowHalfOfOffsetCounts) {
    const DropoutRule low = dropout_rule(0.5F, 7, 3);
    const DropoutRule high = dropout_rule(0.5F, 7, (uint64{99} << 32) + 3);
    const DropoutRule other = dropout_rule(0.5F, 7, 4);
    int differing = 0;
    for (int64 key = 0; key < 256; ++key) {
        EXPECT_EQ(dropout_keep(low, 1, 2, key), dropout_keep(high, 1, 2, key));
        differing += dropout_keep(low, 1, 2, key) != dropout_keep(other, 1, 2, key);
    }
    EXPECT_GT(differing, 64);
}

TEST(DropoutRule, ZeroKeepsEverythingUnscaled) {
    const DropoutRule rule = dropout_rule(0.0F, 11, 0);
    EXPECT_EQ(rule.inverse_keep, 1.0F);
    for (int64 key = 0; key < 4096; ++key) ASSERT_TRUE(dropout_keep(rule, 0, 0, key));
}

TEST(DropoutRule, DropsTheAskedShare) {
    for (const float p : {0.01F, 0.1F, 0.5F, 0.9F}) {
        const DropoutRule rule = dropout_rule(p, 42, 0);
        constexpr int kHeads = 4, kQueries = 32, kKeys = 1024;
        constexpr double kWeights = kHeads * kQueries * kKeys;
        int dropped = 0;
        for (int64 head = 0; head < kHeads; ++head) {
            for (int64 query = 0; query < kQueries; ++query) {
                for (int64 key = 0; key < kKeys; ++key) {
                    dropped += !dropout_keep(rule, head, query, key);
                }
            }
        }
        // Five standard deviations of a binomial count.
        const double sigma =
            std::sqrt(kWeights * static_cast<double>(p) * (1.0 - static_cast<double>(p)));
        EXPECT_NEAR(dropped, kWeights * static_cast<double>(p), 5 * sigma) << "p = " << p;
    }
}

TEST(DropoutRule, QuadWordsAreTheKeysOfTheQuad) {
    const DropoutRule rule = dropout_rule(0.25F, 5, 6);
    for (int64 key = -8; key < 64; ++key) {
        const PhiloxBlock words = dropout_words(rule, 2, 9, floor_div(key, 4));
        const int64 lane = key - 4 * floor_div(key, 4);
        EXPECT_EQ(dropout_keep(rule, 2, 9, key), words.word[lane] >= rule.threshold);
    }
}

}  // namespace
}  // namespace fattn
