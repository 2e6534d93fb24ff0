// The S2 reference: its pattern by hand, its laws, and its gradients against finite differences.
#include "reference/s2.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/dense_case.h"

namespace fattn::reference {
namespace {

using test::DenseCase;
using test::DenseSpec;
using test::Tensor;

DenseSpec spec_of(int64 q_len, int64 kv_len) {
    DenseSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 4;
    spec.num_k_heads = spec.num_v_heads = 2;
    spec.q_len = q_len;
    spec.kv_len = kv_len;
    spec.head_dim = 3;
    spec.head_dim_v = 2;
    spec.backward = true;
    spec.d_lse = true;
    return spec;
}

S2Pattern pattern_of() {
    return {.block_size = 2,
            .local_blocks = 1,
            .vertical_stride = 3,
            .head_offset = 0,
            .dense_heads = 0,
            .num_q_heads = 4,
            .num_k_heads = 2,
            .per_query_head = false,
            .homogeneous = false,
            .causal = true};
}

/// Rows of keys a head sees, 'x' visible.
std::string rows(const S2Pattern& pattern, int64 q_len, int64 kv_len, int64 head) {
    std::string out;
    for (int64 i = 0; i < q_len; ++i) {
        for (int64 j = 0; j < kv_len; ++j) {
            out += s2_sees(pattern, s2_positions(q_len, kv_len), head, i, j) ? 'x' : '.';
        }
        out += '\n';
    }
    return out;
}

TEST(S2Reference, HeadsSeeTheirBandAndTheirShard) {
    // Step max(1, 3 / 4) = 1: KV head 0 has blocks 0, 3, ..; KV head 1 has blocks 2, 5, ..
    EXPECT_EQ(rows(pattern_of(), 8, 8, 0),
              "x.......\n"
              "xx......\n"
              "xxx.....\n"
              "xxxx....\n"
              "xx..x...\n"
              "xx..xx..\n"
              "xx....x.\n"
              "xx....xx\n");
    EXPECT_EQ(rows(pattern_of(), 8, 8, 3),
              "x.......\n"
              "xx......\n"
              "..x.....\n"
              "..xx....\n"
              "....x...\n"
              "....xx..\n"
              "....xxx.\n"
              "....xxxx\n");
}

TEST(S2Reference, ShortQueriesAreTheLastPositions) {
    const std::string whole = rows(pattern_of(), 9, 9, 0);
    EXPECT_EQ(rows(pattern_of(), 4, 9, 0), whole.substr(5 * 10));
}

TEST(S2Reference, TwoSidedPatternCountsBlocksBeyondTheBand) {
    S2Pattern pattern = pattern_of();
    pattern.block_size = 1;
    pattern.local_blocks = 2;
    pattern.vertical_stride = 2;
    pattern.causal = false;
    // One block before and after the query, then every second one beyond the band's last.
    EXPECT_EQ(rows(pattern, 8, 8, 0).substr(3 * 9, 8), "x.xxx.x.");
    EXPECT_EQ(rows(pattern, 8, 8, 0).substr(0, 8), "xx.x.x.x");
}

TEST(S2Reference, StrideOneIsDenseCausalAttention) {
    DenseSpec spec = spec_of(5, 7);
    spec.causal = true;
    DenseCase c(spec);
    S2Pattern pattern = pattern_of();
    pattern.vertical_stride = 1;
    DenseProblem open = c.problem();
    open.window_left = open.window_right = -1;
    EXPECT_EQ(s2_forward(open, pattern, c.forward_args()).o,
              dense_forward(c.problem(), c.forward_args()).o);
    EXPECT_EQ(s2_backward(open, pattern, c.backward_args()).d_k,
              dense_backward(c.problem(), c.backward_args()).d_k);
}

double loss(const DenseCase& c, const S2Pattern& pattern) {
    const DenseOutput out = s2_forward(c.problem(), pattern, c.forward_args());
    const std::vector<double> d_o = c.d_o.values();
    const std::vector<double> d_lse = c.d_lse.values();
    double sum = 0;
    for (std::size_t n = 0; n < d_o.size(); ++n) sum += d_o[n] * out.o[n];
    for (std::size_t n = 0; n < d_lse.size(); ++n)
        if (std::isfinite(out.lse[n])) sum += d_lse[n] * out.lse[n];
    return sum;
}

/// Central differences; see dense_gradient_test.cpp for step and bound.
void expect_gradient(DenseCase& c, const S2Pattern& pattern, Tensor& input,
                     const std::vector<double>& gradient) {
    constexpr double kStep = 0x1p-13;
    std::size_t n = 0;
    const TensorLayout& layout = input.layout();
    ASSERT_EQ(gradient.size(), static_cast<std::size_t>(input.size()));
    for (int64 a = 0; a < layout.shape[0]; ++a)
        for (int64 b = 0; b < layout.shape[1]; ++b)
            for (int64 l = 0; l < layout.shape[2]; ++l)
                for (int64 d = 0; d < layout.shape[3]; ++d, ++n) {
                    const double x = input.at(a, b, l, d);
                    input.set(a, b, l, d, x + kStep);
                    const double high = input.at(a, b, l, d);
                    const double at_high = loss(c, pattern);
                    input.set(a, b, l, d, x - kStep);
                    const double low = input.at(a, b, l, d);
                    const double at_low = loss(c, pattern);
                    input.set(a, b, l, d, x);
                    const double slope = (at_high - at_low) / (high - low);
                    ASSERT_NEAR(gradient[n], slope, 2e-6 * (1 + std::abs(slope)))
                        << "[" << a << "," << b << "," << l << "," << d << "]";
                }
}

TEST(S2Gradients, MatchFiniteDifferences) {
    for (const bool causal : {true, false}) {
        for (const bool per_query_head : {true, false}) {
            for (const auto& [q_len, kv_len] : {std::pair<int64, int64>{6, 6}, {4, 7}, {6, 4}}) {
                DenseCase c(spec_of(q_len, kv_len));
                S2Pattern pattern = pattern_of();
                pattern.causal = causal;
                pattern.per_query_head = per_query_head;
                pattern.dense_heads = per_query_head ? 1 : 0;
                const DenseGradients gradients =
                    s2_backward(c.problem(), pattern, c.backward_args());
                expect_gradient(c, pattern, c.q, gradients.d_q);
                expect_gradient(c, pattern, c.k, gradients.d_k);
                expect_gradient(c, pattern, c.v, gradients.d_v);
            }
        }
    }
}

/// Tokens that stand elsewhere see what the tokens of a longer sequence see from there.
TEST(S2Reference, MovedTokensAreThoseOfALongerSequence) {
    for (const bool causal : {true, false}) {
        S2Pattern pattern = pattern_of();
        pattern.causal = causal;
        for (int64 head = 0; head < pattern.num_q_heads; ++head) {
            for (int64 i = 0; i < 20; ++i) {
                for (int64 j = 0; j < 20; ++j) {
                    const bool whole = s2_sees(pattern, s2_positions(20, 20), head, i, j);
                    // Six queries from 8 on, six keys from 4 on.
                    if (i < 8 || i >= 14 || j < 4 || j >= 10) continue;
                    EXPECT_EQ(s2_sees(pattern, s2_positions(6, 6, 8, 4), head, i - 8, j - 4), whole)
                        << head << " " << i << " " << j;
                }
            }
        }
    }
}

}  // namespace
}  // namespace fattn::reference
