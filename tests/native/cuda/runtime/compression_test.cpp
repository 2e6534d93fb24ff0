// Compression: what goes in comes out, and what was never compressed is refused.
#include "cuda/runtime/compression.h"

#include <gtest/gtest.h>

#include <random>

#include "backend/text.h"

namespace fattn::cuda {
namespace {

std::string round_trip(const std::string& bytes) {
    std::string out;
    EXPECT_TRUE(decompress(compress(bytes), bytes.size(), &out));
    return out;
}

/// Bytes in which stretches of any length come again at any distance.
std::string repetitive(std::mt19937& random, std::size_t size) {
    std::string out;
    while (out.size() < size) {
        const std::size_t length = random() % 60 + 1;
        if (out.empty() || random() % 2 == 0) {
            for (std::size_t i = 0; i < length; ++i) out.push_back(static_cast<char>(random()));
        } else {
            const std::size_t from = random() % out.size();
            for (std::size_t i = 0; i < length; ++i) out.push_back(out[from + i]);
        }
    }
    out.resize(size);
    return out;
}

TEST(Compression, RoundTripOfAnyBytes) {
    std::mt19937 random(1);
    for (std::size_t size = 0; size < 300; ++size) {
        const std::string bytes = repetitive(random, size);
        ASSERT_EQ(round_trip(bytes), bytes) << size << " bytes";
    }
    for (const std::size_t size : {70000U, 1000003U}) {
        const std::string bytes = repetitive(random, size);
        ASSERT_TRUE(round_trip(bytes) == bytes) << size << " bytes";
    }
}

TEST(Compression, RunsAndTextShrink) {
    EXPECT_LT(compress(std::string(100000, 'x')).size(), 20U);
    std::string listing;
    for (int i = 0; i < 2000; ++i) {
        listing += text("fma.rn.f32 %f", i, ", %f", i + 1, ", %f", i * 7 % 5, ", %f", i, ";\n");
    }
    EXPECT_LT(compress(listing).size(), listing.size() / 2);
    EXPECT_EQ(round_trip(listing), listing);
}

TEST(Compression, DamagedInputIsRefusedOrGivesTheSizeAsked) {
    std::mt19937 random(2);
    const std::string bytes = repetitive(random, 2000);
    const std::string whole = compress(bytes);
    std::string out;
    for (std::size_t cut = 0; cut < whole.size(); ++cut) {
        EXPECT_FALSE(decompress(std::string_view(whole).substr(0, cut), bytes.size(), &out))
            << "cut at " << cut;
    }
    EXPECT_FALSE(decompress(whole, bytes.size() - 1, &out));
    EXPECT_FALSE(decompress(whole, bytes.size() + 1, &out));
    for (int i = 0; i < 20000; ++i) {
        std::string damaged = whole;
        damaged[random() % damaged.size()] = static_cast<char>(random());
        const bool accepted = decompress(damaged, bytes.size(), &out);
        EXPECT_TRUE(!accepted || out.size() == bytes.size());
    }
}

}  // namespace
}  // namespace fattn::cuda
