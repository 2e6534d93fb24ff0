// The reference's recurrence against the definition as a sum over pairs of tokens, and its laws.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/linear_state.h"
#include "reference/lightning.h"
#include "support/lightning_case.h"

namespace fattn::reference {
namespace {

using test::LightningCase;
using test::LightningSpec;

constexpr FeatureMap kMaps[] = {FeatureMap::kIdentity, FeatureMap::kEluPlusOne, FeatureMap::kRelu,
                                FeatureMap::kSoftmax, FeatureMap::kTaylor2};

LightningSpec lightning_lightning_small() {
    LightningSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 3;
    spec.num_kv_heads = 2;
    spec.len = 6;
    spec.head_dim = 4;
    spec.head_dim_v = 3;
    spec.initial_state = true;
    return spec;
}

std::vector<double> row_of(const test::Tensor& tensor, int64 b, int64 h, int64 t) {
    std::vector<double> row;
    for (int64 d = 0; d < tensor.layout().shape[3]; ++d) row.push_back(tensor.at(b, h, t, d));
    return row;
}

double dot(const std::vector<double>& x, const std::vector<double>& y) {
    double sum = 0;
    for (std::size_t n = 0; n < x.size(); ++n) sum += x[n] * y[n];
    return sum;
}

/// o as the sum over pairs that the definition writes down.
std::vector<double> by_pairs(const LightningCase& c) {
    const LightningProblem p = c.problem();
    std::vector<double> o;
    for (int64 b = 0; b < p.batch; ++b)
        for (int64 h = 0; h < p.num_q_heads; ++h)
            for (int64 t = 0; t < p.len; ++t) {
                const int64 kv = h * p.num_kv_heads / p.num_q_heads;
                const double slope = c.slopes.at(0, 0, 0, h);
                const std::vector<double> q = features(p.map, row_of(c.q, b, h, t));
                std::vector<double> sums(static_cast<std::size_t>(p.head_dim_v));
                double weights = 0;
                for (int64 u = 0; u < p.len; ++u) {
                    if (p.causal && u > t) continue;
                    const double weight = std::exp(-slope * std::abs(static_cast<double>(t - u))) *
                                          dot(q, features(p.map, row_of(c.k, b, kv, u)));
                    weights += weight;
                    for (int64 d = 0; d < p.head_dim_v; ++d)
                        sums[static_cast<std::size_t>(d)] += weight * c.v.at(b, kv, u, d);
                }
                for (int64 a = 0; a < p.state_rows() && c.initial_state.present(); ++a) {
                    const double weight = std::exp(-slope * static_cast<double>(t + 1)) *
                                          q[static_cast<std::size_t>(a)];
                    for (int64 d = 0; d < p.head_dim_v; ++d)
                        sums[static_cast<std::size_t>(d)] +=
                            weight * c.initial_state.at(b, h, a, d);
                    if (p.normalize) weights += weight * c.initial_state.at(b, h, a, p.head_dim_v);
                }
                for (const double x : sums)
                    o.push_back(p.normalize ? (weights == 0 ? 0 : x / weights)
                                            : x * static_cast<double>(p.scale));
            }
    return o;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b,
                 const std::string& context) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t n = 0; n < a.size(); ++n)
        ASSERT_NEAR(a[n], b[n], 1e-12 * (1 + std::abs(b[n]))) << n << " " << context;
}

TEST(LightningReference, RecurrenceEqualsTheSumOverPairs) {
    for (const FeatureMap map : kMaps)
        for (const bool causal : {true, false})
            for (const bool normalize : {true, false}) {
                if (normalize && map == FeatureMap::kIdentity) continue;
                LightningSpec spec = lightning_lightning_small();
                spec.map = map;
                spec.causal = causal;
                spec.normalize = normalize;
                spec.scale = 0.7F;
                const LightningCase c(spec);
                expect_near(lightning_forward(c.problem(), c.forward_args()).o, by_pairs(c),
                            describe(spec));
            }
}

TEST(LightningReference, SplitAnywhereEqualsWhole) {
    LightningSpec spec = lightning_lightning_small();
    const LightningCase whole(spec);
    const LightningOutput expected = lightning_forward(whole.problem(), whole.forward_args());
    for (int64 split = 0; split <= spec.len; ++split) {
        std::vector<float> state;
        std::vector<double> parts[2];
        for (int part = 0; part < 2; ++part) {
            LightningProblem p = whole.problem();
            LightningForwardArgs args = whole.forward_args();
            const int64 begin = part == 0 ? 0 : split;
            p.len = part == 0 ? split : spec.len - split;
            for (TensorLayout* layout : {&p.q, &p.k, &p.v, &p.o}) layout->shape[2] = p.len;
            const auto skip = [&](const void* data, const TensorLayout& layout) {
                return static_cast<const float*>(data) + begin * layout.strides[2];
            };
            args.q = skip(args.q, p.q);
            args.k = skip(args.k, p.k);
            args.v = skip(args.v, p.v);
            if (part == 1) args.initial_state = state.data();
            const LightningOutput out = lightning_forward(p, args);
            state.assign(out.final_state.begin(), out.final_state.end());
            parts[part] = out.o;
        }
        const LightningProblem p = whole.problem();
        for (int64 bh = 0; bh < p.batch * p.num_q_heads; ++bh)
            for (int64 t = 0; t < p.len; ++t)
                for (int64 d = 0; d < p.head_dim_v; ++d) {
                    const bool first = t < split;
                    const int64 len = first ? split : p.len - split;
                    const int64 at = (bh * len + (first ? t : t - split)) * p.head_dim_v + d;
                    const double got = parts[first ? 0 : 1][static_cast<std::size_t>(at)];
                    // The state between the parts is f32.
                    ASSERT_NEAR(
                        got,
                        expected.o[static_cast<std::size_t>((bh * p.len + t) * p.head_dim_v + d)],
                        1e-5)
                        << split;
                }
    }
}

TEST(LightningReference, TaylorFeaturesMultiplyToTheSecondOrderSeries) {
    const std::vector<double> x{0.5, -1.0, 2.0, 0.25, -0.75}, y{1.0, 0.5, -0.5, 2.0, 0.1};
    const double s = dot(x, y) / std::sqrt(5.0);
    const std::vector<double> a = features(FeatureMap::kTaylor2, x);
    EXPECT_EQ(static_cast<int64>(a.size()), num_features(FeatureMap::kTaylor2, 5));
    EXPECT_NEAR(dot(a, features(FeatureMap::kTaylor2, y)), 1 + s + s * s / 2, 1e-14);
}

TEST(LightningReference, NormalisedRowsAreMeansOfValues) {
    LightningSpec spec = lightning_lightning_small();
    spec.map = FeatureMap::kSoftmax;
    spec.normalize = true;
    spec.initial_state = false;
    LightningCase c(spec);
    c.v.fill([] { return 2.5; });
    for (const double x : lightning_forward(c.problem(), c.forward_args()).o)
        EXPECT_NEAR(x, 2.5, 1e-12);
}

TEST(LightningReference, RowsWithoutWeightAreZero) {
    LightningSpec spec = lightning_lightning_small();
    spec.map = FeatureMap::kRelu;
    spec.normalize = true;
    spec.initial_state = false;
    spec.backward = true;
    LightningCase c(spec);
    c.q.fill([] { return -1.0; });
    for (const double x : lightning_forward(c.problem(), c.forward_args()).o) EXPECT_EQ(x, 0.0);
    for (const double x : lightning_backward(c.problem(), c.backward_args()).d_v) EXPECT_EQ(x, 0.0);
}

TEST(LinearState, DecayIsExactlyOneAtDistanceZeroAndNeverOverflows) {
    for (const float slope : {0.0F, 1e-6F, 0.5F, 1e4F, 3e38F}) {
        EXPECT_EQ(decay(slope, 0), 1.0F);
        EXPECT_LE(decay(slope, int64{1} << 40), 1.0F);
        EXPECT_GE(decay(slope, int64{1} << 40), 0.0F);
    }
    EXPECT_EQ(decay(0.0F, int64{1} << 40), 1.0F);
    EXPECT_EQ(decay(1e4F, 1), 0.0F);
}

TEST(LinearState, DecayIsWithinTwoUnitsInTheLastPlace) {
    for (const float slope : {1e-5F, 0.003F, 0.25F, 0.7F, 3.0F}) {
        for (int64 distance = 0; distance < 3000; distance += 7) {
            const double exact =
                std::exp(-static_cast<double>(slope) * static_cast<double>(distance));
            if (exact < 0x1p-126) continue;
            const double ulp = std::exp2(std::floor(std::log2(exact)) - 23);
            ASSERT_NEAR(static_cast<double>(decay(slope, distance)), exact, 2 * ulp)
                << slope << " " << distance;
        }
    }
}

}  // namespace
}  // namespace fattn::reference
