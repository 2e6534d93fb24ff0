// Laws of neighborhood attention: where it equals dense attention, blocks and shifted problems, and
// what its edges do.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/compare.h"
#include "support/dense_case.h"
#include "support/neighborhood_truth.h"
#include "support/sampling.h"

namespace fattn::test {
namespace {

NeighborhoodSpec middle_sized(std::vector<NeighborhoodAxis> axes) {
    NeighborhoodSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 4;
    spec.num_kv_heads = 2;
    spec.axes = std::move(axes);
    spec.head_dim = 32;
    spec.head_dim_v = 24;
    spec.backward = true;
    return spec;
}

/// The dense case with the same data.
DenseSpec dense_of(const NeighborhoodSpec& spec) {
    DenseSpec dense;
    dense.dtype = spec.dtype;
    dense.batch = spec.batch;
    dense.num_q_heads = spec.num_q_heads;
    dense.num_k_heads = dense.num_v_heads = spec.num_kv_heads;
    dense.q_len = dense.kv_len = spec.grid().num_tokens();
    dense.head_dim = spec.head_dim;
    dense.head_dim_v = spec.head_dim_v;
    dense.backward = spec.backward;
    return dense;
}

void copy_inputs(const NeighborhoodCase& from, DenseCase& to) {
    for (int64 b = 0; b < from.spec().batch; ++b) {
        copy_entry(from.q, b, to.q, b);
        copy_entry(from.k, b, to.k, b);
        copy_entry(from.v, b, to.v, b);
        copy_entry(from.d_o, b, to.d_o, b);
    }
}

void expect_same_bits_as_dense(const NeighborhoodSpec& spec, bool causal) {
    DenseSpec dense_spec = dense_of(spec);
    dense_spec.causal = causal;
    for (const CpuDevice& device : cpu_devices()) {
        NeighborhoodCase c(spec);
        DenseCase dense(dense_spec);
        copy_inputs(c, dense);
        const PlanHandle plan = make_plan(device, c);
        const PlanHandle dense_plan = make_plan(device, dense);
        ASSERT_TRUE(plan != nullptr && dense_plan != nullptr);
        ASSERT_TRUE(run_forward(plan.get(), c));
        ASSERT_TRUE(run_backward(plan.get(), c));
        ASSERT_TRUE(run_forward(dense_plan.get(), dense));
        ASSERT_TRUE(run_backward(dense_plan.get(), dense));
        const std::string context = std::string(device.name) + " " + describe(spec);
        EXPECT_TRUE(same_bits("o", dense.o, c.o, context));
        EXPECT_TRUE(same_bits("lse", dense.lse, c.lse, context));
        EXPECT_TRUE(same_bits("d_q", dense.d_q, c.d_q, context));
        EXPECT_TRUE(same_bits("d_k", dense.d_k, c.d_k, context));
        EXPECT_TRUE(same_bits("d_v", dense.d_v, c.d_v, context));
    }
}

TEST(NeighborhoodLaws, WindowOfTheWholeGridIsDenseToTheBit) {
    expect_same_bits_as_dense(middle_sized({{90, 1, 90, 1, false}}), false);
    expect_same_bits_as_dense(middle_sized({{9, 1, 9, 4, false}, {11, 1, 11, 1, false}}), false);
}

TEST(NeighborhoodLaws, CausalWindowOfTheWholeAxisIsCausalDenseToTheBit) {
    expect_same_bits_as_dense(middle_sized({{90, 1, 90, 1, true}}), true);
    expect_same_bits_as_dense(middle_sized({{1, 1, 1, 1, true}, {70, 1, 70, 7, true}}), true);
}

/// The gathered kernels, which additional keys need, agree with dense attention over all keys.
TEST(NeighborhoodLaws, WholeWindowsWithAdditionalKeysAreDense) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        NeighborhoodSpec spec = middle_sized({{12, 1, 12, 1, false}, {9, 1, 9, 1, false}});
        spec.dtype = dtype;
        spec.num_additional = 37;
        expect_near_truth(spec);
    }
}

/// Stride equal to the window: every block of tokens attends to itself alone.
TEST(NeighborhoodLaws, StrideOfTheWindowIsBlockedAttention) {
    const NeighborhoodSpec spec = middle_sized({{128, 1, 32, 32, false}});
    const NeighborhoodTruth truth = neighborhood_truth(NeighborhoodCase(spec));
    for (const CpuDevice& device : cpu_devices()) {
        NeighborhoodCase c(spec);
        const PlanHandle plan = make_plan(device, c);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_forward(plan.get(), c));
        EXPECT_TRUE(forward_is_near(truth, c)) << device.name;
        NeighborhoodSpec block = spec;
        block.axes = {{32, 1, 32, 1, false}};
        NeighborhoodCase alone(block);
        for (int64 n = 0; n < 4; ++n) {
            for (int64 b = 0; b < spec.batch; ++b) {
                copy_tokens(c.q, b, 32 * n, alone.q, b);
                copy_tokens(c.k, b, 32 * n, alone.k, b);
                copy_tokens(c.v, b, 32 * n, alone.v, b);
            }
            const PlanHandle block_plan = make_plan(device, alone);
            ASSERT_NE(block_plan, nullptr);
            ASSERT_TRUE(run_forward(block_plan.get(), alone));
            Tensor expected(alone.o.layout());
            for (int64 b = 0; b < spec.batch; ++b) copy_tokens(c.o, b, 32 * n, expected, b);
            EXPECT_TRUE(near("o", expected.values(), alone.o,
                             tolerance(Quantity::kOutput, spec.dtype, DType::kF32, truth.o),
                             describe(spec)))
                << device.name << " block " << n;
        }
    }
}

TEST(NeighborhoodLaws, BlocksWithAHaloAreNearTheReference) {
    // Blocks of 8 queries that also see 4 keys on each side, in two dimensions.
    expect_near_truth(middle_sized({{24, 1, 16, 8, false}, {24, 1, 16, 8, false}}));
}

TEST(NeighborhoodLaws, WindowOfOneCopiesTheValues) {
    NeighborhoodSpec spec = middle_sized({{6, 2, 1, 1, false}, {50, 3, 1, 1, true}});
    spec.num_q_heads = spec.num_kv_heads = 2;
    spec.backward = false;
    for (const CpuDevice& device : cpu_devices()) {
        NeighborhoodCase c(spec);
        const PlanHandle plan = make_plan(device, c);
        ASSERT_NE(plan, nullptr);
        ASSERT_TRUE(run_forward(plan.get(), c));
        EXPECT_TRUE(near("o", c.v.values(), c.o, 1e-6, describe(spec))) << device.name;
    }
}

/// What is not finite reaches the rows that see it and no other.
TEST(NeighborhoodLaws, NonFiniteKeysReachOnlyTheRowsThatSeeThem) {
    for (const bool in_value : {false, true}) {
        for (const double bad :
             {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
            NeighborhoodSpec spec = middle_sized({{20, 1, 5, 1, false}, {22, 1, 7, 1, true}});
            spec.num_kv_heads = 4;
            spec.backward = false;
            for (const CpuDevice& device : cpu_devices()) {
                NeighborhoodCase clean(spec);
                NeighborhoodCase c(spec);
                constexpr int64 kToken = 9 * 22 + 10;
                (in_value ? c.v : c.k).set(1, 2, kToken, 3, bad);
                const PlanHandle plan = make_plan(device, c);
                ASSERT_NE(plan, nullptr);
                ASSERT_TRUE(run_forward(plan.get(), clean));
                ASSERT_TRUE(run_forward(plan.get(), c));
                for (int64 b = 0; b < 2; ++b)
                    for (int64 h = 0; h < 4; ++h)
                        for (int64 i = 0; i < 20 * 22; ++i) {
                            const bool sees = b == 1 && h == 2 &&
                                              reference::neighborhood_sees(spec.grid(), i, kToken);
                            bool finite = true;
                            bool same = true;
                            for (int64 d = 0; d < 24; ++d) {
                                finite = finite && std::isfinite(c.o.at(b, h, i, d));
                                same = same && c.o.at(b, h, i, d) == clean.o.at(b, h, i, d);
                            }
                            ASSERT_TRUE(sees || (finite && same))
                                << device.name << " row " << b << " " << h << " " << i;
                            if (sees && (in_value || std::isnan(bad))) {
                                ASSERT_FALSE(finite) << device.name << " row " << i;
                            }
                        }
            }
        }
    }
}

TEST(NeighborhoodLaws, CornersAreNearTheReference) {
    std::vector<NeighborhoodSpec> specs;
    const auto add = [&](std::vector<NeighborhoodAxis> axes) -> NeighborhoodSpec& {
        specs.push_back(middle_sized(std::move(axes)));
        specs.back().d_lse = true;
        return specs.back();
    };
    add({{1, 1, 1, 1, false}});
    add({{1, 1, 1, 1, true}, {1, 1, 1, 1, false}, {1, 1, 1, 1, false}}).num_additional = 3;
    add({{500, 1, 2, 1, false}});                         // far fewer keys than a tile
    add({{300, 7, 42, 5, true}});                         // groups of unequal lengths
    add({{2, 1, 1, 1, false}, {400, 1, 129, 1, false}});  // one line at a time
    add({{400, 1, 129, 1, false}, {2, 1, 1, 1, false}});  // one column at a time
    add({{7, 3, 2, 1, true}, {9, 1, 9, 9, false}, {8, 2, 3, 2, false}});
    add({{16, 1, 3, 1, false}, {16, 1, 15, 1, false}}).num_additional = 5;
    add({{64, 1, 9, 1, false}}).num_additional = 300;  // more additional keys than others
    NeighborhoodSpec& one_kv_head = add({{11, 1, 5, 2, false}, {13, 1, 4, 1, false}});
    one_kv_head.num_q_heads = 40;  // more rows than a share takes of a few tokens
    one_kv_head.num_kv_heads = 1;
    one_kv_head.batch = 1;
    CasePicker picker;
    for (NeighborhoodSpec spec : specs) {
        for (const DType dtype : {DType::kF32, DType::kBF16}) {
            spec.dtype = dtype;
            if (picker.next()) expect_near_truth(spec);
        }
    }
}

TEST(NeighborhoodLaws, NoBatchEntriesAndNoHeadsAreFine) {
    for (const CpuDevice& device : cpu_devices()) {
        for (const bool heads : {false, true}) {
            NeighborhoodSpec spec = middle_sized({{10, 1, 3, 1, false}});
            spec.num_additional = 2;
            if (heads) {
                spec.num_q_heads = spec.num_kv_heads = 0;
            } else {
                spec.batch = 0;
            }
            NeighborhoodCase c(spec);
            const PlanHandle plan = make_plan(device, c);
            ASSERT_NE(plan, nullptr);
            EXPECT_TRUE(run_forward(plan.get(), c));
            EXPECT_TRUE(run_backward(plan.get(), c));
        }
    }
}

}  // namespace
}  // namespace fattn::test
