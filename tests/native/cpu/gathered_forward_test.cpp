// The gathered forward against the reference of dense attention under the same pattern as a mask,
// for every target this machine runs; and its laws.
#include "cpu/gathered_forward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "random_gatherer.h"
#include "support/compare.h"
#include "support/dense_truth.h"
#include "tables.h"

namespace fattn::cpu {
namespace {

using test::DenseCase;
using test::DenseSpec;
using test::DenseTruth;

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

/// A dense case under a mask, and the same as a gathered problem whose last keys are additional.
struct GatheredCase {
    GatheredCase(const DenseSpec& spec, const GatherStyle& style, int64 num_additional)
        : data(with_mask(spec)), gatherer(spec, style), problem(data.problem()) {
        gatherer.hide(data);
        problem.has_mask = false;
        problem.kv_len = spec.kv_len - num_additional;
        additional.num = num_additional;
        additional.k = cut(problem.k, num_additional);
        additional.v = cut(problem.v, num_additional);
    }

    /// The layout of the last keys; the problem keeps those before.
    TensorLayout cut(TensorLayout& layout, int64 count) const {
        TensorLayout last = layout;
        last.shape[2] = count;
        layout.shape[2] -= count;
        return last;
    }
    const void* last_keys(const test::Tensor& x) const {
        const TensorLayout& layout = x.layout();
        return static_cast<const std::byte*>(x.data()) +
               problem.kv_len * layout.strides[2] * bits_of(layout.dtype) / 8;
    }

    Status run(const KernelTable& table, int num_threads) {
        data.reset_outputs();
        DenseForwardArgs args = data.forward_args();
        args.o = data.o.data();
        args.lse = data.lse.floats();
        const AdditionalKeyArgs more{last_keys(data.k), last_keys(data.v), nullptr, nullptr};
        const GatheredForward forward(problem, additional, table);
        const uint64 bytes = forward.workspace(gatherer.forward_capacity(), num_threads);
        // Stale memory must not matter.
        std::vector<std::byte> memory(static_cast<std::size_t>(bytes) + 128, std::byte{0xff});
        void* start = memory.data();
        std::size_t space = memory.size();
        start = std::align(64, static_cast<std::size_t>(bytes), start, space);
        const Status status =
            forward.run(gatherer, args, more, num_threads, nullptr, static_cast<std::byte*>(start));
        for (const std::byte* b = static_cast<std::byte*>(start) + bytes;
             b != memory.data() + memory.size(); ++b) {
            EXPECT_EQ(*b, std::byte{0xff}) << "written past the workspace";
        }
        return status;
    }

    static DenseSpec with_mask(DenseSpec spec) {
        spec.mask = DType::kU8;
        spec.mask_per_batch = spec.mask_per_head = true;
        return spec;
    }

    DenseCase data;
    RandomGatherer gatherer;
    DenseProblem problem;
    AdditionalKeys additional{};
};

DenseTruth truth_of(GatheredCase& c) {
    return dense_truth(c.data, [&](DenseCase& other) { c.gatherer.hide(other); });
}

void expect_truth(const DenseSpec& spec, const GatherStyle& style, int64 num_additional = 0) {
    GatheredCase c(spec, style, num_additional);
    const DenseTruth truth = truth_of(c);
    for (const KernelTable* table : tables()) {
        SCOPED_TRACE(std::string(table->name) + ": " + describe(spec) + "; " + describe(style));
        const Status status = c.run(*table, 2);
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_TRUE(forward_is_near(truth, c.data));
        EXPECT_TRUE(c.data.o.gaps_untouched());
    }
}

DenseSpec sized(int64 q_len, int64 kv_len, int64 head_dim, DType dtype) {
    DenseSpec spec;
    spec.q_len = q_len;
    spec.kv_len = kv_len;
    spec.head_dim = spec.head_dim_v = head_dim;
    spec.dtype = dtype;
    return spec;
}

/// Intervals, bits, and bits in every order.
std::vector<GatherStyle> styles() {
    std::vector<GatherStyle> styles(4);
    styles[1].holes = true;
    styles[2].shuffle = true;
    styles[2].unseen_slots = true;
    styles[3].holes = styles[3].shuffle = true;
    styles[3].equal_heads = false;
    return styles;
}

TEST(GatheredForward, MatchesTheReferenceAroundTileEdges) {
    for (const DType dtype : kDTypes)
        for (const int64 q_len : {1, 13, 64, 200})
            for (const int64 kv_len : {1, 31, 257, 520})
                for (GatherStyle style : styles()) {
                    style.seed = static_cast<uint64>(q_len + kv_len);
                    style.rows_of_tile = q_len == 200 ? 193 : 64;
                    expect_truth(sized(q_len, kv_len, 16 + q_len % 3, dtype), style);
                }
}

TEST(GatheredForward, MatchesTheReferenceForEveryKindOfHeadDim) {
    for (const DType dtype : kDTypes)
        for (const int64 head_dim : {1, 7, 48, 129})
            for (const int64 head_dim_v : {1, 80})
                for (const GatherStyle& style : styles()) {
                    DenseSpec spec = sized(30, 70, head_dim, dtype);
                    spec.head_dim_v = head_dim_v;
                    spec.f32_output = head_dim == 7;
                    expect_truth(spec, style);
                }
}

TEST(GatheredForward, MatchesTheReferenceWithSharedHeadsAndAdditionalKeys) {
    for (const DType dtype : kDTypes)
        for (const int64 k_heads : {1, 2, 3, 6})
            for (const int64 v_heads : {1, 3})
                for (GatherStyle style : styles()) {
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
    for (const DType dtype : kDTypes)
        for (const MemoryOrder order :
             {MemoryOrder::kTokensOutside, MemoryOrder::kPacked, MemoryOrder::kPadded}) {
            DenseSpec spec = sized(70, 130, 24, dtype);
            spec.batch = spec.num_q_heads = spec.num_k_heads = spec.num_v_heads = 2;
            spec.q_order = spec.k_order = spec.v_order = order;
            spec.o_order = MemoryOrder::kPadded;
            expect_truth(spec, styles()[3], 11);
        }
}

TEST(GatheredForward, MatchesTheReferenceOnFewRowsAndManyKeys) {
    for (const DType dtype : kDTypes)
        for (const int64 q_len : {1, 8})
            for (const int64 kv_len : {513, 1300})
                for (const GatherStyle& style : styles())
                    expect_truth(sized(q_len, kv_len, 40, dtype), style, 3);
}

TEST(GatheredForward, MatchesTheReferenceWithAnyScale) {
    for (const float scale : {-0.3F, 0.0F, 2.0F})
        for (const GatherStyle& style : styles()) {
            DenseSpec spec = sized(40, 100, 16, DType::kF32);
            spec.scale = scale;
            expect_truth(spec, style);
        }
}

/// The cut into shares changes the order of sums and nothing else.
TEST(GatheredForward, OneShareARowEqualsOneShareOfAllRows) {
    for (const DType dtype : kDTypes)
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
    for (const DType dtype : kDTypes)
        for (const GatherStyle& style : styles())
            for (const KernelTable* table : tables()) {
                DenseSpec spec = sized(300, 400, 24, dtype);
                spec.num_q_heads = 4;
                spec.num_k_heads = 2;
                GatheredCase c(spec, style, 7);
                ASSERT_TRUE(c.run(*table, 1).ok());
                const std::vector<double> o = c.data.o.values();
                const std::vector<double> lse = c.data.lse.values();
                for (const int num_threads : {2, 3, 7}) {
                    ASSERT_TRUE(c.run(*table, num_threads).ok());
                    EXPECT_EQ(c.data.o.values(), o) << table->name << " " << num_threads;
                    EXPECT_EQ(c.data.lse.values(), lse) << table->name << " " << num_threads;
                }
            }
}

/// Spoils one key or value; the mask of the reference says who may notice.
TEST(GatheredForward, NonFiniteKeysAndValuesReachOnlyWhatSeesThem) {
    const double bad[] = {std::numeric_limits<double>::quiet_NaN(),
                          std::numeric_limits<double>::infinity()};
    for (const DType dtype : kDTypes)
        for (const int64 q_len : {4, 90})
            for (const bool in_v : {false, true})
                for (const int64 token : {77, 129})
                    for (const double value : bad)
                        for (const GatherStyle& style : styles()) {
                            const DenseSpec spec = sized(q_len, 130, 20, dtype);
                            GatheredCase c(spec, style, 1);
                            (in_v ? c.data.v : c.data.k).set(0, 0, token, 3, value);
                            const DenseTruth truth = truth_of(c);
                            for (const KernelTable* table : tables()) {
                                SCOPED_TRACE(std::string(table->name) + ": " + describe(style) +
                                             " token " + std::to_string(token));
                                ASSERT_TRUE(c.run(*table, 1).ok());
                                EXPECT_TRUE(forward_is_near(truth, c.data));
                            }
                        }
}

TEST(GatheredForward, StopsWhenCancelled) {
    for (const KernelTable* table : tables()) {
        GatheredCase c(sized(100, 100, 16, DType::kF32), {}, 0);
        const GatheredForward forward(c.problem, c.additional, *table);
        std::vector<std::byte> memory(
            static_cast<std::size_t>(forward.workspace(c.gatherer.forward_capacity(), 1)) + 64);
        void* start = memory.data();
        std::size_t space = memory.size();
        start = std::align(64, space - 64, start, space);
        DenseForwardArgs args = c.data.forward_args();
        args.o = c.data.o.data();
        const int32 cancel = 1;
        const Status status =
            forward.run(c.gatherer, args, {}, 1, &cancel, static_cast<std::byte*>(start));
        EXPECT_EQ(status.code(), StatusCode::kCancelled);
    }
}

}  // namespace
}  // namespace fattn::cpu
