// The neighborhood reference: special cases it must equal, and its gradients against finite
// differences of its forward pass.
#include "reference/neighborhood.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/neighborhood_case.h"

namespace fattn::reference {
namespace {

using test::NeighborhoodCase;
using test::NeighborhoodSpec;
using test::Tensor;

NeighborhoodSpec small(std::vector<NeighborhoodAxis> axes) {
    NeighborhoodSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 3;
    spec.num_kv_heads = 2;
    spec.axes = std::move(axes);
    spec.head_dim = 3;
    spec.head_dim_v = 2;
    return spec;
}

void expect_near(const std::vector<double>& expected, const std::vector<double>& got) {
    ASSERT_EQ(expected.size(), got.size());
    for (std::size_t n = 0; n < got.size(); ++n) EXPECT_NEAR(expected[n], got[n], 1e-12) << n;
}

DenseOutput dense_of(const NeighborhoodCase& c, bool causal) {
    DenseProblem dense = c.problem().dense;
    if (causal) dense.window_right = 0;
    return dense_forward(dense, c.forward_args().dense);
}

TEST(NeighborhoodReference, WindowOfTheWholeGridIsDense) {
    const NeighborhoodCase c(small({{3, 1, 3, 1, false}, {4, 1, 4, 2, false}}));
    const DenseOutput out = neighborhood_forward(c.problem(), c.forward_args());
    const DenseOutput dense = dense_of(c, false);
    expect_near(dense.o, out.o);
    expect_near(dense.lse, out.lse);
}

TEST(NeighborhoodReference, CausalWindowOfTheWholeAxisIsCausalDense) {
    const NeighborhoodCase c(small({{7, 1, 7, 3, true}}));
    expect_near(dense_of(c, true).o, neighborhood_forward(c.problem(), c.forward_args()).o);
}

TEST(NeighborhoodReference, WindowOfOneCopiesValues) {
    NeighborhoodSpec spec = small({{5, 2, 1, 1, false}, {3, 1, 1, 1, true}});
    spec.num_q_heads = 2;
    const NeighborhoodCase c(spec);
    expect_near(c.v.values(), neighborhood_forward(c.problem(), c.forward_args()).o);
}

TEST(NeighborhoodReference, VisiblePairsOfASmallGrid) {
    // Six tokens, dilation 2: groups {0, 2, 4} and {1, 3, 5}, windows of two, one more on the left.
    const NeighborhoodGrid grid = small({{6, 2, 2, 1, false}}).grid();
    const char* expected[] = {"x.x...", ".x.x..", "x.x...", ".x.x..", "..x.x.", "...x.x"};
    for (int64 i = 0; i < 6; ++i)
        for (int64 j = 0; j < 6; ++j)
            EXPECT_EQ(neighborhood_sees(grid, i, j), expected[i][j] == 'x') << i << " " << j;
}

/// The scalar whose gradient the backward pass gives: d_o and d_lse as weights of o and lse.
double loss(const NeighborhoodCase& c) {
    const DenseOutput out = neighborhood_forward(c.problem(), c.forward_args());
    const std::vector<double> d_o = c.d_o.values();
    const std::vector<double> d_lse = c.d_lse.values();
    double sum = 0;
    for (std::size_t n = 0; n < d_o.size(); ++n) sum += d_o[n] * out.o[n];
    for (std::size_t n = 0; n < d_lse.size(); ++n) sum += d_lse[n] * out.lse[n];
    return sum;
}

void expect_gradient(const char* name, NeighborhoodCase& c, Tensor& input,
                     const std::vector<double>& gradient) {
    constexpr double kStep = 0x1p-13;
    const TensorLayout layout = input.layout();
    ASSERT_EQ(gradient.size(), static_cast<std::size_t>(input.size())) << name;
    for (std::size_t n = 0; n < gradient.size(); ++n) {
        const auto at = static_cast<int64>(n);
        const int64 d = at % layout.shape[3];
        const int64 l = at / layout.shape[3] % layout.shape[2];
        const int64 row = at / layout.shape[3] / layout.shape[2];
        const int64 h = row % layout.shape[1];
        const int64 b = row / layout.shape[1];
        const double x = input.at(b, h, l, d);
        input.set(b, h, l, d, x + kStep);
        const double high = input.at(b, h, l, d);
        const double at_high = loss(c);
        input.set(b, h, l, d, x - kStep);
        const double low = input.at(b, h, l, d);
        const double at_low = loss(c);
        input.set(b, h, l, d, x);
        const double slope = (at_high - at_low) / (high - low);
        ASSERT_NEAR(gradient[n], slope, 2e-6 * (1 + std::abs(slope)))
            << name << " " << n << " " << describe(c.spec());
    }
}

void expect_all_gradients(NeighborhoodSpec spec) {
    spec.backward = true;
    spec.d_lse = true;
    NeighborhoodCase c(spec);
    const NeighborhoodGradients gradients = neighborhood_backward(c.problem(), c.backward_args());
    expect_gradient("d_q", c, c.q, gradients.d_q);
    expect_gradient("d_k", c, c.k, gradients.d_k);
    expect_gradient("d_v", c, c.v, gradients.d_v);
    if (spec.num_additional == 0) return;
    expect_gradient("d_additional_k", c, c.additional_k, gradients.d_additional_k);
    expect_gradient("d_additional_v", c, c.additional_v, gradients.d_additional_v);
}

TEST(NeighborhoodReference, GradientsOfOneAxisMatchFiniteDifferences) {
    expect_all_gradients(small({{7, 2, 3, 2, false}}));
    expect_all_gradients(small({{7, 1, 4, 2, true}}));
}

TEST(NeighborhoodReference, GradientsOfTwoAxesMatchFiniteDifferences) {
    expect_all_gradients(small({{3, 1, 2, 1, true}, {4, 2, 2, 1, false}}));
}

TEST(NeighborhoodReference, GradientsWithAdditionalKeysMatchFiniteDifferences) {
    NeighborhoodSpec spec = small({{5, 1, 3, 1, false}});
    spec.num_additional = 2;
    spec.num_q_heads = 2;
    spec.k_order = test::MemoryOrder::kPadded;
    expect_all_gradients(spec);
}

}  // namespace
}  // namespace fattn::reference
