// The forward over groups of lanes on every CPU target, with patches the planner did not choose,
// against the double-precision reference.
#include "cpu/lane_forward.h"

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

/// Runs the forward of a case over groups of a patch.
void run_lanes(const KernelTable& table, NeighborhoodCase& c, const Patch& patch, int threads = 1) {
    const Status status = LaneKernel(table, c, patch, threads).forward(c);
    ASSERT_TRUE(status.ok()) << status.message();
}

struct LaneProblem {
    NeighborhoodSpec spec;
    Patch patch;
};

std::vector<LaneProblem> lane_problems() {
    std::vector<LaneProblem> problems;
    const auto add = [&](std::vector<NeighborhoodAxis> axes, const Patch& patch) -> auto& {
        problems.push_back({lane_spec(std::move(axes)), patch});
        return problems.back().spec;
    };
    add({{13, 1, 5, 1, false}, {14, 1, 7, 1, false}}, {{1, 4, 4}});
    add({{13, 2, 5, 2, true}, {14, 3, 4, 1, true}}, {{1, 2, 3}}).num_additional = 3;
    add({{5, 1, 3, 1, false}, {6, 1, 3, 3, false}, {7, 1, 4, 2, false}}, {{2, 2, 4}}).scale = -0.3F;
    NeighborhoodSpec& long_window = add({{440, 1, 413, 1, false}}, {{1, 1, 16}});
    long_window.num_additional = 50;  // more than a block of runs, and keys of two kinds
    long_window.batch = long_window.num_kv_heads = 1;  // long enough for one key head
    long_window.num_q_heads = 2;
    // Two blocks, in shares of two groups, of which the second takes them from behind.
    NeighborhoodSpec& turns = add({{512, 1, 401, 1, false}}, {{1, 1, 16}});
    turns.num_q_heads = 2;
    turns.head_dim = turns.head_dim_v = 16;
    NeighborhoodSpec& odd = add({{9, 1, 4, 1, false}, {11, 1, 6, 1, false}}, {{1, 3, 5}});
    odd.head_dim = 33;
    odd.head_dim_v = 47;
    odd.k_order = odd.v_order = test::MemoryOrder::kPadded;
    NeighborhoodSpec& wide = add({{9, 1, 5, 1, false}, {11, 1, 5, 1, true}}, {{1, 4, 4}});
    wide.head_dim = 18;
    wide.head_dim_v = 224;  // panels of V of every width
    wide.num_kv_heads = 1;
    NeighborhoodSpec& deep = add({{6, 1, 5, 1, false}, {7, 1, 7, 1, false}}, {{1, 4, 4}});
    deep.head_dim = 320;  // whose keys are more than a part of values
    deep.head_dim_v = 16;
    return problems;
}

TEST(LaneForward, IsNearTheReferenceOnEveryTarget) {
    for (const LaneProblem& problem : lane_problems()) {
        for_each_type_and_target(problem.spec, [&](const KernelTable& table, NeighborhoodCase& c,
                                                   const test::NeighborhoodTruth& truth) {
            run_lanes(table, c, problem.patch);
            EXPECT_TRUE(test::forward_is_near(truth, c)) << table.name;
        });
    }
}

TEST(LaneForward, BitsDoNotDependOnThreads) {
    NeighborhoodSpec spec = lane_spec({{40, 1, 7, 1, false}, {36, 1, 5, 1, false}});
    spec.head_dim = spec.head_dim_v = 32;
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        spec.dtype = dtype;
        for (const KernelTable* table : tables()) {
            NeighborhoodCase c(spec);
            run_lanes(*table, c, {{1, 4, 4}});
            const test::Tensor o = c.o;
            const test::Tensor lse = c.lse;
            run_lanes(*table, c, {{1, 4, 4}}, 3);
            EXPECT_TRUE(test::same_bits("o", o, c.o, table->name));
            EXPECT_TRUE(test::same_bits("lse", lse, c.lse, table->name));
        }
    }
}

/// What is not finite reaches the rows that see it; the others of its group keep their bits.
TEST(LaneForward, NonFiniteKeysReachOnlyTheRowsThatSeeThem) {
    constexpr int64 kToken = 6 * 12 + 5;
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const bool in_value : {false, true}) {
            NeighborhoodSpec spec = lane_spec({{12, 1, 4, 1, false}, {12, 1, 5, 1, true}});
            spec.dtype = dtype;
            for (const KernelTable* table : tables()) {
                NeighborhoodCase clean(spec);
                NeighborhoodCase c(spec);
                (in_value ? c.v : c.k)
                    .set(1, 0, kToken, 3, std::numeric_limits<double>::quiet_NaN());
                run_lanes(*table, clean, {{1, 4, 4}});
                run_lanes(*table, c, {{1, 4, 4}});
                for (int64 i = 0; i < 12 * 12; ++i) {
                    const bool sees = reference::neighborhood_sees(spec.grid(), i, kToken);
                    // One value of a key reaches one column, one number of a key all of them.
                    EXPECT_EQ(std::isnan(c.o.at(1, 1, i, 3)), sees) << table->name << " row " << i;
                    for (int64 h = 0; h < 4; ++h) {
                        if (h < 2 && sees) continue;
                        for (int64 d = 0; d < spec.head_dim_v; ++d) {
                            ASSERT_EQ(c.o.at(1, h, i, d), clean.o.at(1, h, i, d))
                                << table->name << " row " << i;
                        }
                    }
                }
            }
        }
    }
}

}  // namespace
}  // namespace fattn::cpu
