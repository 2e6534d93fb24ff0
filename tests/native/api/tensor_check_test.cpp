// Overlap of strided tensors: the answers of the checks against every pair of elements.
#include "api/tensor_check.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "backend/text.h"
#include "support/tensor.h"

namespace fattn::api {
namespace {

TensorLayout strided(const int64 (&shape)[4], const int64 (&strides)[4]) {
    TensorLayout layout{};
    for (int i = 0; i < 4; ++i) {
        layout.shape[i] = shape[i];
        layout.strides[i] = strides[i];
    }
    layout.dtype = DType::kF32;
    layout.rank = 4;
    return layout;
}

std::vector<int64> offsets_of(const TensorLayout& t) {
    std::vector<int64> offsets;
    for (int64 a = 0; a < t.shape[0]; ++a)
        for (int64 b = 0; b < t.shape[1]; ++b)
            for (int64 c = 0; c < t.shape[2]; ++c)
                for (int64 d = 0; d < t.shape[3]; ++d)
                    offsets.push_back(t.row(a, b, c) + d * t.strides[3]);
    return offsets;
}

TEST(TensorCheck, SelfOverlapIsExactOnRandomSmallTensors) {
    std::mt19937 random(20);
    const auto draw = [&](int64 low, int64 high) {
        return std::uniform_int_distribution<int64>(low, high)(random);
    };
    int num_yes = 0;
    int num_no = 0;
    for (int round = 0; round < 20000; ++round) {
        const TensorLayout t = strided({draw(0, 4), draw(1, 4), draw(1, 5), draw(1, 4)},
                                       {draw(0, 30), draw(0, 30), draw(0, 30), 1});
        const std::vector<int64> offsets = offsets_of(t);
        const bool overlaps =
            std::set<int64>(offsets.begin(), offsets.end()).size() != offsets.size();
        ASSERT_EQ(self_overlap(t), overlaps ? Overlap::kYes : Overlap::kNo)
            << list_text(t.shape) << " " << list_text(t.strides);
        ++(overlaps ? num_yes : num_no);
    }
    EXPECT_GT(num_yes, 2000);
    EXPECT_GT(num_no, 2000);
}

TEST(TensorCheck, SelfOverlapAnswersForHugeTensorsAtOnce) {
    const int64 big = int64{1} << 31;
    EXPECT_EQ(self_overlap(strided({2, 2, big - 1, 64}, {big * 128, big * 64, 64, 1})),
              Overlap::kNo);
    EXPECT_EQ(self_overlap(strided({2, 2, big - 1, 64}, {big * 128, 0, 64, 1})), Overlap::kYes);
    // Heads inside tokens of a buffer with odd distances: not nested, still decided.
    EXPECT_EQ(self_overlap(strided({1, 3, 100000, 2}, {0, 5, 7, 1})), Overlap::kNo);
    EXPECT_EQ(self_overlap(strided({1, 3, 100000, 2}, {0, 3, 7, 1})), Overlap::kYes);
    EXPECT_EQ(self_overlap(strided({1, 2, 100000, 2}, {0, 3, 2, 1})), Overlap::kYes);
    EXPECT_EQ(self_overlap(strided({1, 2, 3, 1}, {0, 3, 2, 1})), Overlap::kNo);
    // Too many combinations to try.
    EXPECT_EQ(self_overlap(strided({1 << 20, 1 << 20, 1 << 20, 1}, {1000003, 1000033, 1000037, 1})),
              Overlap::kUnknown);
}

TEST(TensorCheck, AnOverlapThatCannotBeDecidedIsUnsupported) {
    const TensorLayout t = strided({1 << 20, 1 << 20, 1 << 20, 1}, {1000003, 1000033, 1000037, 1});
    EXPECT_EQ(check_no_self_overlap(t, "o").code(), StatusCode::kUnsupported);
    EXPECT_EQ(
        check_no_self_overlap(t, "o").message(),
        "o.strides [1000003, 1000033, 1000037, 1] with shape [1048576, 1048576, 1048576, 1] "
        "interleave in a way that cannot be shown free of overlap; let every stride step over "
        "all smaller ones");
}

TEST(TensorCheck, DisjointIsNeverClaimedWrongly) {
    std::mt19937 random(21);
    const auto draw = [&](int64 low, int64 high) {
        return std::uniform_int_distribution<int64>(low, high)(random);
    };
    std::vector<float> memory(4096);
    int num_proven_interleaved = 0;
    for (int round = 0; round < 20000; ++round) {
        // Strides that are often multiples of one period, as in packed buffers.
        const int64 period = draw(4, 24);
        const auto make = [&] {
            return strided({draw(1, 3), draw(1, 3), draw(1, 3), draw(1, 4)},
                           {period * draw(1, 6), draw(0, 1) != 0 ? period * draw(1, 6) : draw(1, 8),
                            period * draw(1, 3), 1});
        };
        const TensorLayout x = make();
        const TensorLayout y = make();
        const int64 x_start = draw(0, 100);
        const int64 y_start = draw(0, 100);
        const Region a{memory.data() + x_start, byte_extent(x), &x};
        const Region b{memory.data() + y_start, byte_extent(y), &y};
        std::set<int64> used;
        for (const int64 offset : offsets_of(x)) used.insert(x_start + offset);
        bool share = false;
        for (const int64 offset : offsets_of(y)) share = share || used.count(y_start + offset) != 0;
        if (are_disjoint(a, b)) {
            ASSERT_FALSE(share) << list_text(x.shape) << list_text(x.strides) << " at " << x_start
                                << ", " << list_text(y.shape) << list_text(y.strides) << " at "
                                << y_start;
            num_proven_interleaved += ranges_meet(a, b) ? 1 : 0;
        }
        ASSERT_EQ(are_disjoint(a, b), are_disjoint(b, a));
    }
    EXPECT_GT(num_proven_interleaved, 500);
}

TEST(TensorCheck, ViewsOfAPackedBufferAreDisjoint) {
    // [B, L, 3, H, D]: gradients of q, k and v side by side within every token.
    constexpr int64 kB = 2, kH = 3, kL = 5, kD = 4;
    std::vector<float> memory(static_cast<std::size_t>(kB * kL * 3 * kH * kD));
    const TensorLayout view = strided({kB, kH, kL, kD}, {kL * 3 * kH * kD, kD, 3 * kH * kD, 1});
    Region part[3];
    for (int i = 0; i < 3; ++i) part[i] = {memory.data() + i * kH * kD, byte_extent(view), &view};
    for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) {
            EXPECT_EQ(are_disjoint(part[i], part[j]), i != j) << i << " " << j;
            EXPECT_TRUE(ranges_meet(part[i], part[j]));
        }
    }
    const Region shifted{memory.data() + 1, byte_extent(view), &view};
    EXPECT_FALSE(are_disjoint(part[0], shifted));
    const Region array{memory.data() + 7, 4, nullptr};
    EXPECT_FALSE(are_disjoint(part[0], array));
}

TEST(TensorCheck, EmptyAndNullRegionsMeetNothing) {
    float memory[4] = {};
    EXPECT_FALSE(ranges_meet({memory, 0, nullptr}, {memory, 16, nullptr}));
    EXPECT_FALSE(ranges_meet({nullptr, 16, nullptr}, {memory, 16, nullptr}));
    EXPECT_FALSE(ranges_meet({memory, 8, nullptr}, {memory + 2, 8, nullptr}));
    EXPECT_TRUE(ranges_meet({memory, 9, nullptr}, {memory + 2, 8, nullptr}));
    EXPECT_TRUE(ranges_meet({memory + 2, 8, nullptr}, {memory, 9, nullptr}));
}

TEST(TensorCheck, BytesOfBitsAreRoundedUp) {
    TensorLayout mask = contiguous(1, 1, 3, 5, DType::kBit);
    EXPECT_EQ(byte_extent(mask), 2);
    mask.shape[2] = 0;
    EXPECT_EQ(byte_extent(mask), 0);
}

}  // namespace
}  // namespace fattn::api
