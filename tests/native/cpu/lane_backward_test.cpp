// The backward over groups of lanes on every CPU target, with patches the planner did not choose,
// against the double-precision reference.
#include "cpu/lane_backward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cpu/lane_case.h"
#include "cpu/tables.h"
#include "support/compare.h"
#include "support/neighborhood_truth.h"

namespace fattn::cpu {
namespace {

using test::NeighborhoodCase;
using test::NeighborhoodSpec;

/// Forward and backward of a case over groups of a patch.
void run_both_passes(const KernelTable& table, NeighborhoodCase& c, const Patch& patch,
                     int threads = 1) {
    const LaneKernel kernel(table, c, patch, threads);
    Status status = kernel.forward(c);
    ASSERT_TRUE(status.ok()) << status.message();
    status = kernel.backward(c);
    ASSERT_TRUE(status.ok()) << status.message();
}

NeighborhoodSpec backward_spec(std::vector<NeighborhoodAxis> axes) {
    NeighborhoodSpec spec = lane_spec(std::move(axes));
    spec.backward = true;
    return spec;
}

struct LaneBackwardProblem {
    NeighborhoodSpec spec;
    Patch patch;
};

std::vector<LaneBackwardProblem> lane_backward_problems() {
    std::vector<LaneBackwardProblem> problems;
    const auto add = [&](std::vector<NeighborhoodAxis> axes, const Patch& patch) -> auto& {
        problems.push_back({backward_spec(std::move(axes)), patch});
        return problems.back().spec;
    };
    add({{13, 1, 5, 1, false}, {14, 1, 7, 1, false}}, {{1, 4, 4}}).d_lse = true;
    add({{13, 2, 5, 2, true}, {14, 3, 4, 1, true}}, {{1, 2, 3}}).f32_output = true;
    add({{5, 1, 3, 1, false}, {6, 1, 3, 3, false}, {7, 1, 4, 2, false}}, {{2, 2, 4}}).scale = -0.3F;
    // More than a block of runs.
    add({{240, 1, 213, 1, false}}, {{1, 1, 16}});
    NeighborhoodSpec& odd = add({{9, 1, 4, 1, false}, {11, 1, 6, 1, false}}, {{1, 3, 5}});
    odd.head_dim = 33;
    odd.head_dim_v = 47;
    odd.k_order = odd.v_order = test::MemoryOrder::kPadded;
    NeighborhoodSpec& wide = add({{9, 1, 5, 1, false}, {11, 1, 5, 1, true}}, {{1, 4, 4}});
    wide.head_dim = 224;  // panels of every width
    wide.head_dim_v = 18;
    wide.num_kv_heads = 1;
    return problems;
}

TEST(LaneBackward, IsNearTheReferenceOnEveryTarget) {
    for (const LaneBackwardProblem& problem : lane_backward_problems()) {
        for_each_type_and_target(problem.spec, [&](const KernelTable& table, NeighborhoodCase& c,
                                                   const test::NeighborhoodTruth& truth) {
            run_both_passes(table, c, problem.patch);
            EXPECT_TRUE(test::backward_is_near(truth, c)) << table.name;
        });
    }
}

TEST(LaneBackward, BitsDoNotDependOnThreads) {
    NeighborhoodSpec spec = backward_spec({{40, 1, 7, 1, false}, {36, 1, 5, 1, false}});
    spec.head_dim = spec.head_dim_v = 32;
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        spec.dtype = dtype;
        for (const KernelTable* table : tables()) {
            NeighborhoodCase one(spec);
            NeighborhoodCase three(spec);
            run_both_passes(*table, one, {{1, 4, 4}});
            run_both_passes(*table, three, {{1, 4, 4}}, 3);
            EXPECT_TRUE(test::same_bits("d_q", one.d_q, three.d_q, table->name));
            EXPECT_TRUE(test::same_bits("d_k", one.d_k, three.d_k, table->name));
            EXPECT_TRUE(test::same_bits("d_v", one.d_v, three.d_v, table->name));
        }
    }
}

/// Each gradient alone, and in pairs, has the bits it has beside the others.
TEST(LaneBackward, WritesTheGradientsThatAreWantedAndNoOther) {
    const NeighborhoodSpec spec = backward_spec({{12, 1, 4, 1, false}, {12, 1, 5, 1, true}});
    for (const KernelTable* table : tables()) {
        NeighborhoodCase all(spec);
        run_both_passes(*table, all, {{1, 4, 4}});
        for (int wanted = 0; wanted < 8; ++wanted) {
            NeighborhoodCase c(spec);
            const LaneKernel kernel(*table, c, {{1, 4, 4}}, 1);
            ASSERT_TRUE(kernel.forward(c).ok());
            NeighborhoodBackwardArgs args = c.backward_args();
            args.dense.o = c.o.data();
            args.dense.lse = c.lse.floats();
            const NeighborhoodCase untouched(spec);
            args.dense.d_q = (wanted & 1) != 0 ? c.d_q.data() : nullptr;
            args.dense.d_k = (wanted & 2) != 0 ? c.d_k.data() : nullptr;
            args.dense.d_v = (wanted & 4) != 0 ? c.d_v.data() : nullptr;
            ASSERT_TRUE(kernel.backward(args).ok());
            const std::string what = std::string(table->name) + " " + std::to_string(wanted);
            if ((wanted & 1) != 0) {
                EXPECT_TRUE(test::same_bits("d_q", all.d_q, c.d_q, what));
            } else {
                EXPECT_TRUE(test::same_bits("d_q", untouched.d_q, c.d_q, what));
            }
            if ((wanted & 2) != 0) {
                EXPECT_TRUE(test::same_bits("d_k", all.d_k, c.d_k, what));
            } else {
                EXPECT_TRUE(test::same_bits("d_k", untouched.d_k, c.d_k, what));
            }
            if ((wanted & 4) != 0) {
                EXPECT_TRUE(test::same_bits("d_v", all.d_v, c.d_v, what));
            } else {
                EXPECT_TRUE(test::same_bits("d_v", untouched.d_v, c.d_v, what));
            }
        }
    }
}

/// What is not finite reaches the queries that see it and the keys these see; others of their
/// groups keep their bits.
TEST(LaneBackward, NonFiniteRowsReachOnlyWhatSeesThem) {
    constexpr int64 kToken = 6 * 12 + 5;
    constexpr int64 kTokens = 12 * 12;
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const bool in_key : {false, true}) {
            NeighborhoodSpec spec = backward_spec({{12, 1, 4, 1, false}, {12, 1, 5, 1, true}});
            spec.dtype = dtype;
            const auto sees = [&](int64 i, int64 j) {
                return reference::neighborhood_sees(spec.grid(), i, j);
            };
            // Which queries the number reaches, and through them which keys.
            std::vector<bool> query(kTokens), key(kTokens);
            for (int64 i = 0; i < kTokens; ++i) {
                query[static_cast<std::size_t>(i)] = in_key ? sees(i, kToken) : i == kToken;
                if (!query[static_cast<std::size_t>(i)]) continue;
                for (int64 j = 0; j < kTokens; ++j) {
                    if (sees(i, j)) key[static_cast<std::size_t>(j)] = true;
                }
            }
            for (const KernelTable* table : tables()) {
                NeighborhoodCase clean(spec);
                NeighborhoodCase c(spec);
                (in_key ? c.k : c.q).set(1, 0, kToken, 3, std::numeric_limits<double>::quiet_NaN());
                run_both_passes(*table, clean, {{1, 4, 4}});
                run_both_passes(*table, c, {{1, 4, 4}});
                for (int64 t = 0; t < kTokens; ++t) {
                    const auto at = static_cast<std::size_t>(t);
                    ASSERT_EQ(std::isnan(c.d_q.at(1, 0, t, 0)), query[at]) << table->name << t;
                    ASSERT_EQ(std::isnan(c.d_k.at(1, 0, t, 0)), key[at]) << table->name << t;
                    ASSERT_EQ(std::isnan(c.d_v.at(1, 0, t, 0)), key[at]) << table->name << t;
                    for (int64 d = 0; d < spec.head_dim; ++d) {
                        if (!query[at]) {
                            ASSERT_EQ(c.d_q.at(1, 0, t, d), clean.d_q.at(1, 0, t, d));
                        }
                        if (!key[at]) {
                            ASSERT_EQ(c.d_k.at(1, 0, t, d), clean.d_k.at(1, 0, t, d));
                        }
                    }
                }
            }
        }
    }
}

/// A query whose LSE is -inf, for which nothing was summed, has no weights.
TEST(LaneBackward, QueriesWithoutWeightsHaveNoGradients) {
    constexpr int64 kToken = 5 * 12 + 7;
    const NeighborhoodSpec spec = backward_spec({{12, 1, 4, 1, false}, {12, 1, 5, 1, true}});
    for (const KernelTable* table : tables()) {
        NeighborhoodCase c(spec);
        const LaneKernel kernel(*table, c, {{1, 4, 4}}, 1);
        ASSERT_TRUE(kernel.forward(c).ok());
        NeighborhoodCase silent(spec);
        ASSERT_TRUE(kernel.forward(silent).ok());
        silent.lse.set(1, 0, kToken, 0, -std::numeric_limits<double>::infinity());
        ASSERT_TRUE(kernel.backward(c).ok());
        ASSERT_TRUE(kernel.backward(silent).ok());
        for (int64 t = 0; t < 12 * 12; ++t) {
            const bool seen = reference::neighborhood_sees(spec.grid(), kToken, t);
            EXPECT_EQ(c.d_v.at(1, 0, t, 0) == silent.d_v.at(1, 0, t, 0), !seen) << t;
            EXPECT_TRUE(std::isfinite(silent.d_k.at(1, 0, t, 0))) << t;
            if (t == kToken) {
                EXPECT_EQ(silent.d_q.at(1, 0, t, 0), 0.0);
            }
        }
    }
}

}  // namespace
}  // namespace fattn::cpu
