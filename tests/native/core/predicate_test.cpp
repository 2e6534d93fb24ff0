// The mask predicate byte by byte and bit by bit, and the predicate of a dense problem; the
// interval itself is tested with the schedules that rest on it.
#include "core/predicate.h"

#include <gtest/gtest.h>

#include <vector>

namespace fattn {
namespace {

TEST(MaskPredicate, AnyNonzeroByteShows) {
    std::vector<uint8> bytes(256);
    for (int i = 0; i < 256; ++i) bytes[static_cast<std::size_t>(i)] = static_cast<uint8>(i);
    for (int64 at = 0; at < 256; ++at) {
        EXPECT_EQ(mask_shows(bytes.data(), DType::kU8, at), at != 0);
    }
}

TEST(MaskPredicate, BitsCountFromTheLeastSignificant) {
    const uint8 bytes[] = {0b00000001, 0b10000000, 0b01010101};
    const char* shown = "100000000000000110101010";
    for (int64 at = 0; at < 24; ++at) {
        EXPECT_EQ(mask_shows(bytes, DType::kBit, at), shown[at] == '1') << "bit " << at;
    }
}

TEST(RangePredicate, ComesFromTheProblemAndTheRun) {
    DenseProblem problem{};
    problem.window_left = 3;
    problem.window_right = 0;
    problem.attention_chunk = 0;
    const Sequence sequence{0, 0, 0, 0, 4, 10};
    problem.alignment = Alignment::kBottomRight;
    EXPECT_EQ(range_predicate(problem, sequence, 0, 0).visible(0).end, 7);
    EXPECT_EQ(range_predicate(problem, sequence, 0, 0).visible(3).end, 10);
    EXPECT_EQ(range_predicate(problem, sequence, 0, 0).visible(3).begin, 6);
    problem.alignment = Alignment::kTopLeft;
    EXPECT_EQ(range_predicate(problem, sequence, 0, 0).visible(0).end, 1);
    // Queries 5 later and keys 2 later: query i stands 3 keys further on.
    EXPECT_EQ(range_predicate(problem, sequence, 5, 2).visible(0).end, 4);
    problem.window_left = -1;
    problem.attention_chunk = 4;
    // Query 0 stands at position 5, in the chunk of positions 4 to 7; key j stands at j + 2.
    EXPECT_EQ(range_predicate(problem, sequence, 5, 2).visible(0).begin, 2);
    EXPECT_EQ(range_predicate(problem, sequence, 5, 2).visible(0).end, 4);
}

}  // namespace
}  // namespace fattn
