// The gathered forward against the reference of dense attention under the same pattern as a mask,
// for every target this machine runs; and its laws.
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "gathered_case.h"
#include "gathered_problems.h"
#include "support/sampling.h"
#include "tables.h"

namespace fattn::cpu {
namespace {

using test::CasePicker;
using test::DenseSpec;
using test::DenseTruth;

void gathered_forward_expect_truth(const DenseSpec& spec, const GatherStyle& style,
                                   int64 num_additional = 0) {
    GatheredCase c(spec, style, num_additional);
    const DenseTruth truth = c.truth();
    for (const KernelTable* table : tables()) {
        SCOPED_TRACE(std::string(table->name) + ": " + describe(spec) + "; " + describe(style));
        const Status status = c.forward(*table, 2);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_TRUE(forward_is_near(truth, c.data));
        EXPECT_TRUE(c.data.o.gaps_untouched());
    }
}

void gathered_forward_expect_truth(const GatheredSpec& spec) {
    gathered_forward_expect_truth(spec.dense, spec.style, spec.num_additional);
}

TEST(GatheredForward, MatchesTheReferenceAroundTileEdges) {
    CasePicker picker;
    for (const DType dtype : kGatheredDTypes)
        for (const int64 q_len : {1, 13, 64, 200})
            for (const int64 kv_len : {1, 31, 257, 520})
                for (GatherStyle style : gather_styles()) {
                    if (!picker.next()) continue;
                    style.seed = static_cast<uint64>(q_len + kv_len);
                    style.rows_of_tile = q_len == 200 ? 193 : 64;
                    gathered_forward_expect_truth(sized(q_len, kv_len, 16 + q_len % 3, dtype),
                                                  style);
                }
}

TEST(GatheredForward, MatchesTheReferenceForEveryKindOfHeadDim) {
    for (const GatheredSpec& spec : test::picked(specs_of_head_dims()))
        gathered_forward_expect_truth(spec);
}

TEST(GatheredForward, MatchesTheReferenceWithSharedHeadsAndAdditionalKeys) {
    for (const GatheredSpec& spec : test::picked(specs_of_shared_heads_and_additional_keys()))
        gathered_forward_expect_truth(spec);
}

TEST(GatheredForward, MatchesTheReferenceInEveryMemoryOrder) {
    for (const GatheredSpec& spec : test::picked(specs_of_memory_orders()))
        gathered_forward_expect_truth(spec);
}

TEST(GatheredForward, MatchesTheReferenceWithAnyScale) {
    for (const GatheredSpec& spec : test::picked(specs_of_scales()))
        gathered_forward_expect_truth(spec);
}

TEST(GatheredForward, MatchesTheReferenceOnFewRowsAndManyKeys) {
    CasePicker picker(5);
    for (const DType dtype : kGatheredDTypes)
        for (const int64 q_len : {1, 8})
            for (const int64 kv_len : {513, 1300})
                for (const GatherStyle& style : gather_styles())
                    if (picker.next())
                        gathered_forward_expect_truth(sized(q_len, kv_len, 40, dtype), style, 3);
}

/// The cut into shares changes the order of sums and nothing else.
TEST(GatheredForward, OneShareARowEqualsOneShareOfAllRows) {
    for (const DType dtype : kGatheredDTypes)
        for (const int64 rows : {1, 3, 1000}) {
            GatherStyle style;
            style.holes = true;
            style.rows_of_tile = rows;
            DenseSpec spec = sized(300, 400, 32, dtype);
            spec.num_q_heads = 3;
            gathered_forward_expect_truth(spec, style);
        }
}

TEST(GatheredForward, BitsDoNotDependOnThreads) {
    for (const DType dtype : kGatheredDTypes)
        for (const GatherStyle& style : gather_styles())
            for (const KernelTable* table : tables()) {
                DenseSpec spec = sized(300, 400, 24, dtype);
                spec.num_q_heads = 4;
                spec.num_k_heads = 2;
                GatheredCase c(spec, style, 7);
                ASSERT_TRUE(c.forward(*table, 1).ok());
                const std::vector<double> o = c.data.o.values();
                const std::vector<double> lse = c.data.lse.values();
                for (const int num_threads : {2, 3, 7}) {
                    ASSERT_TRUE(c.forward(*table, num_threads).ok());
                    EXPECT_EQ(c.data.o.values(), o) << table->name << " " << num_threads;
                    EXPECT_EQ(c.data.lse.values(), lse) << table->name << " " << num_threads;
                }
            }
}

/// Spoils one key or value; the mask of the reference says who may notice.
TEST(GatheredForward, NonFiniteKeysAndValuesReachOnlyWhatSeesThem) {
    CasePicker picker;
    const double bad[] = {std::numeric_limits<double>::quiet_NaN(),
                          std::numeric_limits<double>::infinity()};
    for (const DType dtype : kGatheredDTypes)
        for (const int64 q_len : {4, 90})
            for (const bool in_v : {false, true})
                for (const int64 token : {77, 129})
                    for (const double value : bad)
                        for (const GatherStyle& style : gather_styles()) {
                            if (!picker.next()) continue;
                            const DenseSpec spec = sized(q_len, 130, 20, dtype);
                            GatheredCase c(spec, style, 1);
                            (in_v ? c.data.v : c.data.k).set(0, 0, token, 3, value);
                            const DenseTruth truth = c.truth();
                            for (const KernelTable* table : tables()) {
                                SCOPED_TRACE(std::string(table->name) + ": " + describe(style) +
                                             " token " + std::to_string(token));
                                ASSERT_TRUE(c.forward(*table, 1).ok());
                                EXPECT_TRUE(forward_is_near(truth, c.data));
                            }
                        }
}

TEST(GatheredForward, StopsWhenCancelled) {
    for (const KernelTable* table : tables()) {
        GatheredCase c(sized(100, 100, 16, DType::kF32), {}, 0);
        const int32 cancel = 1;
        EXPECT_EQ(c.forward(*table, 1, &cancel).code(), StatusCode::kCancelled);
    }
}

}  // namespace
}  // namespace fattn::cpu
