// The reference's gradients of linear attention against finite differences of its forward pass.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "reference/lightning.h"
#include "support/lightning_case.h"

namespace fattn::reference {
namespace {

using test::LightningCase;
using test::LightningSpec;
using test::Tensor;

/// The scalar whose gradient the backward pass gives: d_o and d_final_state as weights.
double loss(const LightningCase& c) {
    const LightningOutput out = lightning_forward(c.problem(), c.forward_args());
    const std::vector<double> d_o = c.d_o.values();
    const std::vector<double> d_state = c.d_final_state.values();
    double sum = 0;
    for (std::size_t n = 0; n < d_o.size(); ++n) sum += d_o[n] * out.o[n];
    for (std::size_t n = 0; n < d_state.size(); ++n) sum += d_state[n] * out.final_state[n];
    return sum;
}

/// Central difference around x, which input holds at [a, b, l, d].
double difference(const LightningCase& c, Tensor& input, const int64 (&at)[4], double step) {
    const auto loss_at = [&](double x, double* stored) {
        input.set(at[0], at[1], at[2], at[3], x);
        *stored = input.at(at[0], at[1], at[2], at[3]);
        return loss(c);
    };
    const double x = input.at(at[0], at[1], at[2], at[3]);
    double high = 0, low = 0;
    const double at_high = loss_at(x + step, &high);
    const double at_low = loss_at(x - step, &low);
    input.set(at[0], at[1], at[2], at[3], x);
    return (at_high - at_low) / (high - low);
}

/// Differences over every element of an input. Two steps together cancel the third derivative,
/// which a small sum of weights makes large.
void expect_gradient(const char* name, const LightningCase& c, Tensor& input,
                     const std::vector<double>& gradient) {
    constexpr double kStep = 0x1p-12;
    std::size_t n = 0;
    const TensorLayout& layout = input.layout();
    ASSERT_EQ(gradient.size(), static_cast<std::size_t>(input.size())) << name;
    for (int64 a = 0; a < layout.shape[0]; ++a)
        for (int64 b = 0; b < layout.shape[1]; ++b)
            for (int64 l = 0; l < layout.shape[2]; ++l)
                for (int64 d = 0; d < layout.shape[3]; ++d, ++n) {
                    const int64 at[] = {a, b, l, d};
                    const double slope = (4 * difference(c, input, at, kStep / 2) -
                                          difference(c, input, at, kStep)) /
                                         3;
                    ASSERT_NEAR(gradient[n], slope, 5e-6 * (1 + std::abs(slope)))
                        << name << " [" << a << "," << b << "," << l << "," << d << "] "
                        << describe(c.spec());
                }
}

void expect_all_gradients(LightningSpec spec) {
    spec.backward = true;
    spec.initial_state = true;
    spec.d_final_state = true;
    LightningCase c(spec);
    // Away from the kink of relu.
    for (Tensor* tensor : {&c.q, &c.k})
        for (int64 n = 0; n < tensor->size(); ++n) {
            float& x = tensor->floats()[n];
            if (std::abs(x) < 0.01F) x = 0.01F;
        }
    const LightningGradients gradients = lightning_backward(c.problem(), c.backward_args());
    expect_gradient("d_q", c, c.q, gradients.d_q);
    expect_gradient("d_k", c, c.k, gradients.d_k);
    expect_gradient("d_v", c, c.v, gradients.d_v);
    expect_gradient("d_initial_state", c, c.initial_state, gradients.d_initial_state);
}

LightningSpec lightning_small() {
    LightningSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 3;
    spec.num_kv_heads = 2;
    spec.len = 4;
    spec.head_dim = 3;
    spec.head_dim_v = 2;
    return spec;
}

TEST(LightningGradients, OfGroupedHeadsMatchFiniteDifferences) {
    LightningSpec spec = lightning_small();
    spec.scale = 0.6F;
    expect_all_gradients(spec);
}

TEST(LightningGradients, OfTheNonCausalFormMatchFiniteDifferences) {
    LightningSpec spec = lightning_small();
    spec.causal = false;
    expect_all_gradients(spec);
}

TEST(LightningGradients, ThroughEveryFeatureMapMatchFiniteDifferences) {
    for (const FeatureMap map :
         {FeatureMap::kEluPlusOne, FeatureMap::kRelu, FeatureMap::kSoftmax, FeatureMap::kTaylor2}) {
        for (const bool normalize : {false, true}) {
            LightningSpec spec = lightning_small();
            spec.map = map;
            spec.normalize = normalize;
            spec.causal = normalize;
            expect_all_gradients(spec);
        }
    }
}

TEST(LightningGradients, OfNormalisedNonCausalRowsMatchFiniteDifferences) {
    LightningSpec spec = lightning_small();
    spec.map = FeatureMap::kEluPlusOne;
    spec.normalize = true;
    spec.causal = false;
    expect_all_gradients(spec);
}

TEST(LightningGradients, OfAQuotientAreTheSumOfItsTwoTerms) {
    LightningSpec spec = lightning_small();
    spec.map = FeatureMap::kTaylor2;
    spec.normalize = true;
    spec.initial_state = true;
    spec.backward = true;
    const LightningCase c(spec);
    const auto terms = [&](QuotientTerms of) {
        return lightning_backward(c.problem(), c.backward_args(), of);
    };
    const LightningGradients both = terms(QuotientTerms::kBoth);
    const LightningGradients numerator = terms(QuotientTerms::kNumerator);
    const LightningGradients denominator = terms(QuotientTerms::kDenominator);
    for (std::vector<double> LightningGradients::*gradient :
         {&LightningGradients::d_q, &LightningGradients::d_k, &LightningGradients::d_v,
          &LightningGradients::d_initial_state}) {
        double largest = 0;
        for (std::size_t n = 0; n < (both.*gradient).size(); ++n) {
            EXPECT_NEAR((both.*gradient)[n], (numerator.*gradient)[n] + (denominator.*gradient)[n],
                        1e-10);
            largest = std::max(largest, std::abs((numerator.*gradient)[n]));
        }
        EXPECT_GT(largest, 0);
    }
}

}  // namespace
}  // namespace fattn::reference
