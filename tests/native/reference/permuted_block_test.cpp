// The permuted block-sparse reference: selection on hand-made inputs whose answer is known, the
// mask it comes to, and gradients against finite differences.
#include "reference/permuted_block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "support/permuted_block_case.h"

namespace fattn::reference {
namespace {

using test::PermutedBlockCase;
using test::PermutedBlockSpec;
using test::Tensor;

PermutedBlockSpec permuted_small() {
    PermutedBlockSpec spec;
    spec.num_q_heads = 2;
    spec.q_len = 22;  // two segments and a tail of six: one block and half of one
    spec.kv_len = 22;
    spec.head_dim = 3;
    spec.head_dim_v = 2;
    return spec;
}

std::vector<int32> selected_order(PermutedBlockCase& c) {
    return sort_keys(c.problem(), key_importance(c.problem(), c.q.data(), c.k.data()));
}

std::vector<uint8> selected_mask(PermutedBlockCase& c, const std::vector<int32>& order) {
    return cover(c.problem(), block_weights(c.problem(), c.q.data(), c.k.data(), order), order);
}

std::vector<int32> identity(int64 count) {
    std::vector<int32> tokens(static_cast<std::size_t>(count));
    std::iota(tokens.begin(), tokens.end(), 0);
    return tokens;
}

TEST(PermutedBlockSelection, ImportanceIsAMeanOfDistributionsOverSortedKeys) {
    PermutedBlockCase c(permuted_small());
    const std::vector<double> importance = key_importance(c.problem(), c.q.data(), c.k.data());
    ASSERT_EQ(importance.size(), 2U * 16U);
    for (int head = 0; head < 2; ++head)
        EXPECT_NEAR(std::accumulate(importance.begin() + 16 * head,
                                    importance.begin() + 16 * (head + 1), 0.0),
                    1.0, 1e-12);
}

TEST(PermutedBlockSelection, TheKeyThatTheLastQueriesPointAtComesFirst) {
    PermutedBlockSpec spec = permuted_small();
    spec.num_q_heads = 1;
    PermutedBlockCase c(spec);
    for (int64 d = 0; d < 3; ++d)
        for (int64 i = 18; i < 22; ++i) c.q.set(0, 0, i, d, 1);
    for (int64 d = 0; d < 3; ++d) c.k.set(0, 0, 13, d, 9);
    EXPECT_EQ(selected_order(c)[8], 13);
}

TEST(PermutedBlockSelection, EqualKeysKeepTheirOrder) {
    PermutedBlockSpec spec = permuted_small();
    spec.num_q_heads = 1;
    PermutedBlockCase c(spec);
    c.k.fill([] { return 0.5; });
    EXPECT_EQ(selected_order(c), identity(22));
}

TEST(PermutedBlockSelection, StaysInsideSegmentsAndLeavesTheTail) {
    PermutedBlockCase c(permuted_small());
    const std::vector<int32> order = selected_order(c);
    for (int64 head = 0; head < 2; ++head) {
        for (int64 s = 0; s < 2; ++s) {
            std::vector<int32> segment(order.begin() + head * 22 + s * 8,
                                       order.begin() + head * 22 + s * 8 + 8);
            std::sort(segment.begin(), segment.end());
            EXPECT_EQ(segment.front(), s * 8);
            EXPECT_EQ(segment.back(), s * 8 + 7);
            EXPECT_EQ(std::set<int32>(segment.begin(), segment.end()).size(), 8U);
        }
        for (int32 j = 16; j < 22; ++j)
            EXPECT_EQ(order[static_cast<std::size_t>(head * 22 + j)], j);
    }
}

TEST(PermutedBlockSelection, OneSegmentIsPlainCausalAttention) {
    for (const int64 length : {1, 5, 8}) {
        PermutedBlockSpec spec = permuted_small();
        spec.num_q_heads = 1;
        spec.q_len = spec.kv_len = length;
        PermutedBlockCase c(spec);
        const std::vector<int32> order = selected_order(c);
        EXPECT_EQ(order, identity(length));
        for (const uint8 kept : selected_mask(c, order)) EXPECT_EQ(kept, 1);
    }
}

TEST(PermutedBlockSelection, OneSegmentWithATailIsSorted) {
    PermutedBlockSpec spec = permuted_small();
    spec.num_q_heads = 1;
    spec.q_len = spec.kv_len = 9;
    PermutedBlockCase c(spec);
    for (int64 d = 0; d < 3; ++d)
        for (int64 i = 5; i < 9; ++i) c.q.set(0, 0, i, d, 1);
    for (int64 d = 0; d < 3; ++d) c.k.set(0, 0, 7, d, 9);
    EXPECT_EQ(selected_order(c)[0], 7);
}

/// Weights of the only row with three candidates, given; everything else 0.
std::vector<uint8> covered(float coverage, std::vector<double> of_row) {
    PermutedBlockSpec spec = permuted_small();
    spec.num_q_heads = 1;
    spec.q_len = spec.kv_len = 32;
    spec.coverage = coverage;
    PermutedBlockCase c(spec);
    std::vector<double> weights(8 * 8);
    std::copy(of_row.begin(), of_row.end(), weights.begin() + 7 * 8);
    const std::vector<uint8> mask = cover(c.problem(), weights, identity(32));
    return {mask.begin() + 7 * 8, mask.end()};
}

TEST(PermutedBlockSelection, CoverageTakesTheShortestPrefixWithTheCrossingBlock) {
    using Row = std::vector<uint8>;
    // Blocks 6 and 7 are the own segment, block 0 holds token 0.
    const std::vector<double> weights = {0.05, 0.5, 0.1, 0.2, 0.1, 0.05};
    EXPECT_EQ(covered(0.5F, weights), (Row{1, 1, 0, 0, 0, 0, 1, 1}));
    EXPECT_EQ(covered(0.6F, weights), (Row{1, 1, 0, 1, 0, 0, 1, 1}));
    EXPECT_EQ(covered(0.75F, weights), (Row{1, 1, 1, 1, 0, 0, 1, 1})) << "ties: lower block first";
    EXPECT_EQ(covered(1.0F, weights), (Row{1, 1, 1, 1, 1, 1, 1, 1}));
    EXPECT_EQ(covered(0.9F, {0.1, 0.2, 0, 0, 0, 0}), (Row{1, 0, 0, 0, 0, 0, 1, 1}))
        << "never reached: none";
}

TEST(PermutedBlockSelection, CausalCandidatesAreEarlierSegmentsAndOthersAllOtherSegments) {
    for (const bool causal : {true, false}) {
        PermutedBlockSpec spec = permuted_small();
        spec.causal = causal;
        spec.coverage = 1;
        PermutedBlockCase c(spec);
        std::vector<int32> both = identity(22);
        both.insert(both.end(), both.begin(), both.begin() + 22);
        const std::vector<uint8> mask = selected_mask(c, both);
        for (int64 row = 0; row < 6; ++row)
            for (int64 kb = 0; kb < 6; ++kb)
                EXPECT_EQ(mask[static_cast<std::size_t>(row * 6 + kb)],
                          causal ? kb / 2 <= row / 2 || kb == 0 : 1)
                    << row << " " << kb;
    }
}

TEST(PermutedBlockSelection, QueryBlocksOfLaterQueriesAreTheLastRowsOfTheWhole) {
    PermutedBlockSpec spec = permuted_small();
    spec.num_q_heads = 1;
    PermutedBlockCase whole(spec);
    spec.q_len = 10;  // positions 12 to 21: three query blocks
    PermutedBlockCase late(spec);
    for (int64 j = 0; j < 22; ++j)
        for (int64 d = 0; d < 3; ++d) {
            late.k.set(0, 0, j, d, whole.k.at(0, 0, j, d));
            if (j >= 12) late.q.set(0, 0, j - 12, d, whole.q.at(0, 0, j, d));
        }
    const std::vector<int32> order = selected_order(whole);
    EXPECT_EQ(selected_order(late), order);
    const std::vector<uint8> mask = selected_mask(whole, order);
    EXPECT_EQ(selected_mask(late, order), std::vector<uint8>(mask.begin() + 3 * 6, mask.end()));
}

TEST(PermutedBlockSelection, MaximaOfPaddedBlocksAreAtLeastZero) {
    PermutedBlockSpec spec = permuted_small();
    spec.num_q_heads = 1;
    spec.max_pool = true;
    PermutedBlockCase c(spec);
    // The last query block has two queries and two zeros: with negative queries its maximum is 0,
    // so all its candidates weigh the same.
    for (int64 i = 20; i < 22; ++i)
        for (int64 d = 0; d < 3; ++d) c.q.set(0, 0, i, d, -1);
    const std::vector<double> weights =
        block_weights(c.problem(), c.q.data(), c.k.data(), identity(22));
    for (int64 kb = 0; kb < 4; ++kb)
        EXPECT_NEAR(weights[static_cast<std::size_t>(5 * 6 + kb)], 0.25, 1e-12);
}

TEST(PermutedBlockSelection, SharedHeadsHaveTheMeanOfTheirs) {
    PermutedBlockSpec spec = permuted_small();
    PermutedBlockCase alone(spec);
    spec.shared = true;
    PermutedBlockCase together(spec);
    const std::vector<double> a = key_importance(alone.problem(), alone.q.data(), alone.k.data());
    const std::vector<double> b =
        key_importance(together.problem(), together.q.data(), together.k.data());
    for (std::size_t j = 0; j < 16; ++j) {
        EXPECT_NEAR(b[j], (a[j] + a[16 + j]) / 2, 1e-12);
        EXPECT_EQ(b[j], b[16 + j]);
    }
}

TEST(BlockGates, MobaCountsTheOwnChunkAndNeverSeesTheFuture) {
    PermutedBlockSpec spec = permuted_small();
    spec.num_q_heads = 1;
    spec.query_block = 1;
    PermutedBlockCase c(spec);
    std::vector<double> scores;
    for (int64 row = 0; row < 22; ++row)
        for (const double s : {3.0, 1.0, 2.0, 9.0, 8.0, 7.0}) scores.push_back(s);
    const std::vector<uint8> mask = apply_gate(c.problem(), {BlockGate::kMoba, 3, 0}, scores);
    using Row = std::vector<uint8>;
    const auto row = [&](int64 i) { return Row(mask.begin() + i * 6, mask.begin() + i * 6 + 6); };
    EXPECT_EQ(row(0), (Row{1, 0, 0, 0, 0, 0}));
    EXPECT_EQ(row(5), (Row{1, 1, 0, 0, 0, 0}));
    EXPECT_EQ(row(12), (Row{1, 0, 1, 1, 0, 0})) << "position 12 owns chunk 3";
    EXPECT_EQ(row(21), (Row{0, 0, 0, 1, 1, 1}));
}

TEST(BlockGates, MobaScoresAreQueriesTimesMeanKeysOfTrueLength) {
    PermutedBlockSpec spec = permuted_small();
    spec.num_q_heads = 1;
    spec.query_block = 1;
    PermutedBlockCase c(spec);
    const std::vector<double> scores = gate_scores(c.problem(), c.q.data(), c.k.data());
    double expected = 0;
    for (int64 d = 0; d < 3; ++d)  // the last chunk holds tokens 20 and 21
        expected += c.q.at(0, 0, 7, d) * (c.k.at(0, 0, 20, d) + c.k.at(0, 0, 21, d)) / 2;
    EXPECT_NEAR(scores[7 * 6 + 5], expected, 1e-12);
}

TEST(BlockGates, ThresholdAndTopKAlwaysKeepTheOwnBlock) {
    PermutedBlockSpec spec = permuted_small();
    spec.num_q_heads = 1;
    PermutedBlockCase c(spec);
    std::vector<double> scores;
    for (int64 row = 0; row < 6; ++row)
        for (const double s : {3.0, 1.0, 2.0, -9.0, -9.0, -9.0}) scores.push_back(s);
    using Row = std::vector<uint8>;
    const auto row = [](const std::vector<uint8>& mask, int64 i) {
        return Row(mask.begin() + i * 6, mask.begin() + i * 6 + 6);
    };
    const std::vector<uint8> top = apply_gate(c.problem(), {BlockGate::kTopK, 2, 0}, scores);
    EXPECT_EQ(row(top, 0), (Row{1, 0, 0, 0, 0, 0}));
    EXPECT_EQ(row(top, 4), (Row{1, 0, 1, 0, 1, 0}));
    // Softmax of 3, 1, 2: 0.67, 0.09, 0.24.
    const std::vector<uint8> above =
        apply_gate(c.problem(), {BlockGate::kThreshold, 0, 0.2}, scores);
    EXPECT_EQ(row(above, 4), (Row{1, 0, 1, 0, 1, 0}));
}

TEST(PermutedBlockReference, EveryBlockKeptIsDenseCausalAttention) {
    PermutedBlockSpec spec = permuted_small();
    spec.q_len = 10;
    PermutedBlockCase c(spec);
    c.draw_selection(1.0);
    const DenseOutput out = permuted_block_forward(c.problem(), c.forward_args());
    DenseProblem dense{};
    dense.q = c.q.layout();
    dense.k = c.k.layout();
    dense.v = c.v.layout();
    dense.o = c.o.layout();
    dense.batch = 1;
    dense.num_q_heads = 2;
    dense.num_k_heads = dense.num_v_heads = 1;
    dense.q_len = 10;
    dense.kv_len = 22;
    dense.head_dim = 3;
    dense.head_dim_v = 2;
    dense.window_left = -1;
    dense.window_right = 0;
    dense.scale = c.problem().scale;
    DenseForwardArgs args{};
    args.q = c.q.data();
    args.k = c.k.data();
    args.v = c.v.data();
    const DenseOutput expected = dense_forward(dense, args);
    EXPECT_EQ(out.o, expected.o);
    EXPECT_EQ(out.lse, expected.lse);
}

TEST(PermutedBlockReference, BitsPastTheOwnSegmentHaveNoEffect) {
    PermutedBlockCase c(permuted_small());
    c.draw_selection(0.5);
    const DenseOutput out = permuted_block_forward(c.problem(), c.forward_args());
    for (int64 head = 0; head < 2; ++head)
        for (int64 row = 0; row < 6; ++row)
            for (int64 kb = row / 2 * 2 + 2; kb < 6; ++kb)
                c.block_mask[static_cast<std::size_t>((head * 6 + row) * 6 + kb)] ^= 1;
    EXPECT_EQ(permuted_block_forward(c.problem(), c.forward_args()).o, out.o);
}

double loss(PermutedBlockCase& c) {
    const DenseOutput out = permuted_block_forward(c.problem(), c.forward_args());
    const std::vector<double> d_o = c.d_o.values();
    const std::vector<double> d_lse = c.d_lse.values();
    double sum = 0;
    for (std::size_t n = 0; n < d_o.size(); ++n) sum += d_o[n] * out.o[n];
    for (std::size_t n = 0; n < d_lse.size(); ++n)
        if (std::isfinite(out.lse[n])) sum += d_lse[n] * out.lse[n];
    return sum;
}

void expect_gradient(const char* name, PermutedBlockCase& c, Tensor& input,
                     const std::vector<double>& gradient) {
    constexpr double kStep = 0x1p-13;
    std::size_t n = 0;
    const int64* shape = input.layout().shape;
    for (int64 h = 0; h < shape[1]; ++h)
        for (int64 l = 0; l < shape[2]; ++l)
            for (int64 d = 0; d < shape[3]; ++d, ++n) {
                const double x = input.at(0, h, l, d);
                input.set(0, h, l, d, x + kStep);
                const double high = input.at(0, h, l, d);
                const double at_high = loss(c);
                input.set(0, h, l, d, x - kStep);
                const double low = input.at(0, h, l, d);
                const double at_low = loss(c);
                input.set(0, h, l, d, x);
                const double slope = (at_high - at_low) / (high - low);
                ASSERT_NEAR(gradient[n], slope, 2e-6 * (1 + std::abs(slope)))
                    << name << " [" << h << "," << l << "," << d << "] " << describe(c.spec());
            }
}

TEST(PermutedBlockReference, GradientsThroughTheSelectionMatchFiniteDifferences) {
    for (const bool causal : {true, false}) {
        PermutedBlockSpec spec = permuted_small();
        spec.backward = true;
        spec.d_lse = true;
        spec.causal = causal;
        spec.q_len = 14;
        PermutedBlockCase c(spec);
        c.draw_selection(0.5);
        const DenseGradients gradients = permuted_block_backward(c.problem(), c.backward_args());
        expect_gradient("d_q", c, c.q, gradients.d_q);
        expect_gradient("d_k", c, c.k, gradients.d_k);
        expect_gradient("d_v", c, c.v, gradients.d_v);
    }
}

}  // namespace
}  // namespace fattn::reference
