// The reference of dense attention against results worked out by hand.
#include "reference/dense.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/dense_case.h"

namespace fattn::reference {
namespace {

using test::DenseCase;
using test::DenseSpec;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Two queries and two keys of dim 1: q = 1, 2; k = 0, ln 3; v = 10, 20; scale 1.
DenseSpec two_by_two() {
    DenseSpec spec;
    spec.q_len = 2;
    spec.kv_len = 2;
    spec.scale = 1.0F;
    return spec;
}

void fill_two_by_two(DenseCase& c) {
    c.q.set(0, 0, 0, 0, 1);
    c.q.set(0, 0, 1, 0, 2);
    c.k.set(0, 0, 0, 0, 0);
    c.k.set(0, 0, 1, 0, std::log(3.0));
    c.v.set(0, 0, 0, 0, 10);
    c.v.set(0, 0, 1, 0, 20);
}

DenseOutput run(const DenseCase& c) { return dense_forward(c.problem(), c.forward_args()); }

/// k is stored as f32.
constexpr double kNear = 1e-6;

TEST(DenseReference, TwoKeysAreWeighedByTheirExponentials) {
    DenseCase c(two_by_two());
    fill_two_by_two(c);
    const DenseOutput out = run(c);
    EXPECT_NEAR(out.o[0], (1 * 10.0 + 3 * 20.0) / 4, kNear);
    EXPECT_NEAR(out.o[1], (1 * 10.0 + 9 * 20.0) / 10, kNear);
    EXPECT_NEAR(out.lse[0], std::log(4.0), kNear);
    EXPECT_NEAR(out.lse[1], std::log(10.0), kNear);
}

TEST(DenseReference, CausalHidesTheLaterKey) {
    DenseSpec spec = two_by_two();
    spec.causal = true;
    DenseCase c(spec);
    fill_two_by_two(c);
    const DenseOutput out = run(c);
    EXPECT_EQ(out.o[0], 10);
    EXPECT_EQ(out.lse[0], 0);
    EXPECT_NEAR(out.o[1], 19, kNear);
}

TEST(DenseReference, AlignmentDecidesWhereShortQueriesStand) {
    DenseSpec spec = two_by_two();
    spec.q_len = 1;
    spec.causal = true;
    for (const bool top_left : {false, true}) {
        spec.top_left = top_left;
        DenseCase c(spec);
        c.q.set(0, 0, 0, 0, 0);
        c.v.set(0, 0, 0, 0, 10);
        c.v.set(0, 0, 1, 0, 20);
        EXPECT_NEAR(run(c).o[0], top_left ? 10 : 15, kNear);
    }
}

TEST(DenseReference, RowsBeforeTheFirstKeyAreEmpty) {
    DenseSpec spec = two_by_two();
    spec.q_len = 3;
    spec.causal = true;
    spec.backward = true;
    spec.d_lse = true;
    DenseCase c(spec);
    const DenseOutput out = run(c);
    EXPECT_EQ(out.o[0], 0);
    EXPECT_EQ(out.lse[0], -kInfinity);
    EXPECT_TRUE(std::isfinite(out.lse[1]));
    const DenseGradients gradients = dense_backward(c.problem(), c.backward_args());
    EXPECT_EQ(gradients.d_q[0], 0);
    EXPECT_NE(gradients.d_q[2], 0);
}

TEST(DenseReference, WindowsAreInclusiveOnBothSides) {
    DenseSpec spec;
    spec.q_len = 5;
    spec.kv_len = 5;
    spec.window_left = 1;
    spec.window_right = 2;
    spec.scale = 0.0F;
    DenseCase c(spec);
    for (int64 j = 0; j < 5; ++j) c.v.set(0, 0, j, 0, static_cast<double>(j));
    const DenseOutput out = run(c);
    EXPECT_NEAR(out.o[0], (0 + 1 + 2) / 3.0, kNear);
    EXPECT_NEAR(out.o[2], (1 + 2 + 3 + 4) / 4.0, kNear);
    EXPECT_NEAR(out.o[4], (3 + 4) / 2.0, kNear);
    EXPECT_NEAR(out.lse[2], std::log(4.0), kNear);
}

TEST(DenseReference, ChunksKeepQueriesToThemselves) {
    DenseSpec spec;
    spec.q_len = 5;
    spec.kv_len = 5;
    spec.attention_chunk = 3;
    spec.q_position_offset = 1;
    spec.k_position_offset = 1;
    spec.scale = 0.0F;
    DenseCase c(spec);
    for (int64 j = 0; j < 5; ++j) c.v.set(0, 0, j, 0, static_cast<double>(j));
    const DenseOutput out = run(c);  // positions 1 2 | 3 4 5
    EXPECT_NEAR(out.o[0], 0.5, kNear);
    EXPECT_NEAR(out.o[1], 0.5, kNear);
    EXPECT_NEAR(out.o[2], 3, kNear);
    EXPECT_NEAR(out.o[4], 3, kNear);
}

TEST(DenseReference, ASinkTakesWeightAndGivesNothing) {
    DenseSpec spec = two_by_two();
    spec.sink = true;
    DenseCase c(spec);
    fill_two_by_two(c);
    c.sink_logits.set(0, 0, 0, 0, std::log(4.0));
    const DenseOutput out = run(c);
    EXPECT_NEAR(out.o[0], (1 * 10.0 + 3 * 20.0) / 8, kNear);
    EXPECT_NEAR(out.lse[0], std::log(8.0), kNear);
}

TEST(DenseReference, AnEmptyRowWithASinkHasTheSinkAsLse) {
    DenseSpec spec = two_by_two();
    spec.q_len = 3;
    spec.causal = true;
    spec.sink = true;
    spec.backward = true;
    spec.d_lse = true;
    DenseCase c(spec);
    c.sink_logits.set(0, 0, 0, 0, -2.5);
    c.d_o.fill([] { return 0.0; });
    c.d_lse.fill([] { return 0.0; });
    c.d_lse.set(0, 0, 0, 0, 3.0);
    const DenseOutput out = run(c);
    EXPECT_EQ(out.o[0], 0);
    EXPECT_EQ(out.lse[0], -2.5);
    EXPECT_EQ(dense_backward(c.problem(), c.backward_args()).d_sink_logits[0], 3.0);
}

TEST(DenseReference, SoftcapComesBeforeBiasAndBiasBeforeAlibi) {
    DenseSpec spec = two_by_two();
    spec.softcap = 2.0F;
    spec.bias = DType::kF32;
    spec.alibi = true;
    DenseCase c(spec);
    fill_two_by_two(c);
    c.bias.set(0, 0, 1, 0, 0.25);
    c.bias.set(0, 0, 1, 1, -0.5);
    c.alibi_slopes.set(0, 0, 0, 0, 0.125);
    const double s0 = 2 * std::tanh(0.0) + 0.25 - 0.125 * 1;
    const double s1 = 2 * std::tanh(2 * std::log(3.0) / 2) - 0.5;
    EXPECT_NEAR(run(c).lse[1], std::log(std::exp(s0) + std::exp(s1)), kNear);
}

TEST(DenseReference, SigmoidWeightsAreNotNormalised) {
    DenseSpec spec = two_by_two();
    spec.sigmoid = true;
    spec.sigmoid_bias = -1.0F;
    DenseCase c(spec);
    fill_two_by_two(c);
    const DenseOutput out = run(c);
    EXPECT_NEAR(out.o[0], 10 / (1 + std::exp(1.0)) + 20 / (1 + std::exp(1.0) / 3), kNear * 10);
    EXPECT_TRUE(out.lse.empty());
}

TEST(DenseReference, UnequalGroupsFollowTheFloorFormula) {
    DenseSpec spec;
    spec.num_q_heads = 5;
    spec.num_k_heads = 2;
    spec.num_v_heads = 3;
    spec.scale = 1.0F;
    DenseCase c(spec);
    for (int64 h = 0; h < 5; ++h) c.q.set(0, h, 0, 0, 1);
    for (int64 h = 0; h < 2; ++h) c.k.set(0, h, 0, 0, static_cast<double>(100 + h));
    for (int64 h = 0; h < 3; ++h) c.v.set(0, h, 0, 0, static_cast<double>(h));
    const DenseOutput out = run(c);
    EXPECT_EQ(out.o, (std::vector<double>{0, 0, 1, 1, 2}));
    EXPECT_EQ(out.lse, (std::vector<double>{100, 100, 100, 101, 101}));
}

TEST(DenseReference, DroppedWeightsVanishAndTheOthersGrow) {
    DenseSpec spec;
    spec.q_len = 3;
    spec.kv_len = 40;
    spec.scale = 0.0F;
    spec.dropout_p = 0.25F;
    DenseCase c(spec);
    c.v.fill([] { return 1.0; });
    const DenseOutput out = run(c);
    for (std::size_t i = 0; i < 3; ++i) {
        const double kept = out.o[i] * 40 * 0.75;  // every kept weight is 1/40/0.75
        EXPECT_NEAR(kept, std::round(kept), 1e-9);
        EXPECT_GT(kept, 15);
        EXPECT_LT(kept, 40);
        EXPECT_NEAR(out.lse[i], std::log(40.0), 1e-12);
    }
}

TEST(DenseReference, PagedKeysAreTheSameKeys) {
    DenseSpec spec;
    spec.q_len = 2;
    spec.head_dim = 3;
    spec.head_dim_v = 2;
    spec.kv_len_of_run = {7};
    spec.page_size = 4;
    DenseCase paged(spec);
    spec.page_size = 0;
    spec.kv_len = 9;
    DenseCase whole(spec);
    for (int64 i = 0; i < 2; ++i)
        for (int64 d = 0; d < 3; ++d) whole.q.set(0, 0, i, d, paged.q.at(0, 0, i, d));
    for (int64 j = 0; j < 7; ++j) {
        const int64 page = paged.block_table[static_cast<std::size_t>(j / 4)];
        for (int64 d = 0; d < 3; ++d) whole.k.set(0, 0, j, d, paged.k.at(page, j % 4, 0, d));
        for (int64 d = 0; d < 2; ++d) whole.v.set(0, 0, j, d, paged.v.at(page, j % 4, 0, d));
    }
    EXPECT_EQ(run(paged).o, run(whole).o);
    EXPECT_EQ(run(paged).lse, run(whole).lse);
}

TEST(DenseReference, OnlyRowsThatSeeANonFiniteKeyShowIt) {
    DenseSpec spec = two_by_two();
    spec.causal = true;
    DenseCase c(spec);
    fill_two_by_two(c);
    c.k.set(0, 0, 1, 0, std::nan(""));
    c.v.set(0, 0, 1, 0, kInfinity);
    const DenseOutput out = run(c);
    EXPECT_EQ(out.o[0], 10);
    EXPECT_TRUE(std::isnan(out.o[1]));
}

TEST(DenseReference, PlainEvaluationIsCloseToTheTruthAndNotTheTruth) {
    for (const auto& [dtype, low, high] : {std::tuple{DType::kF32, 1e-9, 1e-5},
                                           {DType::kF16, 1e-5, 1e-2},
                                           {DType::kBF16, 1e-4, 5e-2}}) {
        DenseSpec spec;
        spec.dtype = dtype;
        spec.q_len = 20;
        spec.kv_len = 50;
        spec.head_dim = 16;
        spec.head_dim_v = 16;
        DenseCase c(spec);
        const DenseOutput truth = run(c);
        const DenseOutput plain = dense_forward(c.problem(), c.forward_args(), Arithmetic::kPlain);
        double worst = 0;
        for (std::size_t n = 0; n < truth.o.size(); ++n)
            worst = std::max(worst, std::abs(truth.o[n] - plain.o[n]));
        EXPECT_GT(worst, low) << test::name_of(dtype);
        EXPECT_LT(worst, high) << test::name_of(dtype);
    }
}

TEST(DenseReference, TheWideEvaluationRoundsWhatIsExactForAnOnlyKey) {
    DenseSpec spec;
    spec.q_len = 200;
    spec.head_dim = 16;
    spec.head_dim_v = 16;
    spec.magnitude = 100;
    DenseCase c(spec);
    const DenseOutput truth = run(c);
    EXPECT_EQ(truth.o, dense_forward(c.problem(), c.forward_args(), Arithmetic::kPlain).o);
    const DenseOutput wide = dense_forward(c.problem(), c.forward_args(), Arithmetic::kPlainWide);
    double worst = 0;
    for (std::size_t n = 0; n < truth.o.size(); ++n)
        worst = std::max(worst, std::abs(truth.o[n] - wide.o[n]));
    EXPECT_GT(worst, 0);
    EXPECT_LT(worst, 1e-6);
}

}  // namespace
}  // namespace fattn::reference
