// Sentences from parts: numbers, names of types, lists.
#include "backend/text.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>

namespace fattn {
namespace {

TEST(Text, PartsStandOneAfterTheOther) {
    const std::string name = "q";
    EXPECT_EQ(text(name, ".shape[", 2, "] is ", int64{-1}, "; allowed is ", DType::kBF16),
              "q.shape[2] is -1; allowed is bf16");
    EXPECT_EQ(text(), "");
}

TEST(Text, IntegersAreWholeAtTheEndsOfTheirRange) {
    EXPECT_EQ(text(std::numeric_limits<int64>::min()), "-9223372036854775808");
    EXPECT_EQ(text(std::numeric_limits<uint64>::max()), "18446744073709551615");
}

TEST(Text, FloatsHaveEnoughDigitsAndNoMore) {
    EXPECT_EQ(text(0.5F), "0.5");
    EXPECT_EQ(text(-0.0), "-0");
    EXPECT_EQ(text(1e30), "1e+30");
    EXPECT_EQ(text(16777217.0), "16777217");
    EXPECT_EQ(text(std::numeric_limits<float>::infinity()), "inf");
    EXPECT_EQ(text(-std::numeric_limits<double>::infinity()), "-inf");
    EXPECT_EQ(text(std::numeric_limits<float>::quiet_NaN()), "nan");
}

TEST(Text, EveryTypeHasANameOfItsOwn) {
    std::set<std::string> names;
    for (uint32 dtype = 0; dtype <= static_cast<uint32>(DType::kI8); ++dtype) {
        names.insert(dtype_name(static_cast<DType>(dtype)));
    }
    EXPECT_EQ(names.size(), static_cast<uint32>(DType::kI8) + 1);
    EXPECT_EQ(names.count("an unknown dtype"), 0u);
    EXPECT_STREQ(dtype_name(static_cast<DType>(77)), "an unknown dtype");
}

TEST(Text, ListsStandInBrackets) {
    const int64 extents[4] = {2, 8, 128, 64};
    EXPECT_EQ(list_text(extents), "[2, 8, 128, 64]");
}

}  // namespace
}  // namespace fattn
