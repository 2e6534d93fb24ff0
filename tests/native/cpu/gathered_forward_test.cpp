// The gathered forward against the reference of dense attention under the same pattern as a mask,
// for every target this machine runs; and its laws.
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "gathered_case.h"
#include "tables.h"

namespace fattn::cpu {
namespace {

using test::DenseSpec;
using test::DenseTruth;

void expect_truth(const DenseSpec& spec, const GatherStyle& style, int64 num_additional = 0) {
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

TEST(GatheredForward, MatchesTheReferenceAroundTileEdges) {
    for (const DType dtype : kGatheredDTypes)
        for (const int64 q_len : {1, 13, 64, 200})
            for (const int64 kv_len : {1, 31, 257, 520})
                for (GatherStyle style : gather_styles()) {
                    style.seed = static_cast<uint64>(q_len + kv_len);
                    style.rows_of_tile = q_len == 200 ? 193 : 64;
                    expect_truth(sized(q_len, kv_len, 16 + q_len % 3, dtype), style);
                }
}

TEST(GatheredForward, MatchesTheReferenceForEveryKindOfHeadDim) {
    for (const DType dtype : kGatheredDTypes)
        for (const int64 head_dim : {1, 7, 48, 129})
            for (const int64 head_dim_v : {1, 80})
                for (const GatherStyle& style : gather_styles()) {
                    DenseSpec spec = sized(30, 70, head_dim, dtype);
                    spec.head_dim_v = head_dim_v;
                    spec.f32_output = head_dim == 7;
                    expect_truth(spec, style);
                }
}

TEST(GatheredForward, MatchesTheReferenceWithSharedHeadsAndAdditionalKeys) {
    for (const DType dtype : kGatheredDTypes)
        for (const int64 k_heads : {1, 2, 3, 6})
            for (const int64 v_heads : {1, 3})
                for (GatherStyle style : gather_styles()) {
                    DenseSpec spec = sized(50, 90, 24, dtype);
                    spec.batch = 2;
                    spec.num_q_heads = 6;
                    spec.num_k_heads = k_heads;
                    spec.num_v_heads = v_heads;
                    style.rows_of_tile = 20;
                    expect_truth(spec, style, k_heads * 5);
                }
}

TEST(GatheredForward, MatchesTheReferenceInEveryMemoryOrder) {
    using test::MemoryOrder;
    for (const DType dtype : kGatheredDTypes)
        for (const MemoryOrder order :
             {MemoryOrder::kTokensOutside, MemoryOrder::kPacked, MemoryOrder::kPadded}) {
            DenseSpec spec = sized(70, 130, 24, dtype);
            spec.batch = spec.num_q_heads = spec.num_k_heads = spec.num_v_heads = 2;
            spec.q_order = spec.k_order = spec.v_order = order;
            spec.o_order = MemoryOrder::kPadded;
            expect_truth(spec, gather_styles()[3], 11);
        }
}

TEST(GatheredForward, MatchesTheReferenceOnFewRowsAndManyKeys) {
    for (const DType dtype : kGatheredDTypes)
        for (const int64 q_len : {1, 8})
            for (const int64 kv_len : {513, 1300})
                for (const GatherStyle& style : gather_styles())
                    expect_truth(sized(q_len, kv_len, 40, dtype), style, 3);
}

TEST(GatheredForward, MatchesTheReferenceWithAnyScale) {
    for (const float scale : {-0.3F, 0.0F, 2.0F})
        for (const GatherStyle& style : gather_styles()) {
            DenseSpec spec = sized(40, 100, 16, DType::kF32);
            spec.scale = scale;
            expect_truth(spec, style);
        }
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
            expect_truth(spec, style);
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
    const double bad[] = {std::numeric_limits<double>::quiet_NaN(),
                          std::numeric_limits<double>::infinity()};
    for (const DType dtype : kGatheredDTypes)
        for (const int64 q_len : {4, 90})
            for (const bool in_v : {false, true})
                for (const int64 token : {77, 129})
                    for (const double value : bad)
                        for (const GatherStyle& style : gather_styles()) {
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
