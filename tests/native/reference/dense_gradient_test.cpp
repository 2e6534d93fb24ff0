// The reference's gradients against finite differences of its forward pass.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "reference/dense.h"
#include "reference/merge.h"
#include "support/dense_case.h"

namespace fattn::reference {
namespace {

using test::DenseCase;
using test::DenseSpec;
using test::Tensor;

/// The scalar whose gradient the backward pass gives: d_o and d_lse as weights of o and lse.
double loss(const DenseCase& c) {
    const DenseOutput out = dense_forward(c.problem(), c.forward_args());
    const std::vector<double> d_o = c.d_o.values();
    const std::vector<double> d_lse = c.d_lse.values();
    double sum = 0;
    for (std::size_t n = 0; n < d_o.size(); ++n) sum += d_o[n] * out.o[n];
    for (std::size_t n = 0; n < d_lse.size(); ++n)
        if (std::isfinite(out.lse[n])) sum += d_lse[n] * out.lse[n];
    return sum;
}

/// Central differences over every element of an input. The step is a power of two that f32 data of
/// size 1 resolve well; the error is about step^2 / 6 times the third derivative, some 1e-8 here.
void expect_gradient(const char* name, DenseCase& c, Tensor& input,
                     const std::vector<double>& gradient) {
    constexpr double kStep = 0x1p-13;
    std::size_t n = 0;
    const TensorLayout& layout = input.layout();
    ASSERT_EQ(gradient.size(), static_cast<std::size_t>(input.size())) << name;
    for (int64 a = 0; a < layout.shape[0]; ++a)
        for (int64 b = 0; b < layout.shape[1]; ++b)
            for (int64 l = 0; l < layout.shape[2]; ++l)
                for (int64 d = 0; d < layout.shape[3]; ++d, ++n) {
                    const double x = input.at(a, b, l, d);
                    if (!std::isfinite(x)) {  // a hidden bias, or a key that does not exist
                        EXPECT_EQ(gradient[n], 0.0)
                            << name << " " << n << " " << describe(c.spec());
                        continue;
                    }
                    input.set(a, b, l, d, x + kStep);
                    const double high = input.at(a, b, l, d);
                    const double at_high = loss(c);
                    input.set(a, b, l, d, x - kStep);
                    const double low = input.at(a, b, l, d);
                    const double at_low = loss(c);
                    input.set(a, b, l, d, x);
                    const double slope = (at_high - at_low) / (high - low);
                    ASSERT_NEAR(gradient[n], slope, 2e-6 * (1 + std::abs(slope)))
                        << name << " [" << a << "," << b << "," << l << "," << d << "] "
                        << describe(c.spec());
                }
}

void expect_all_gradients(DenseSpec spec) {
    spec.backward = true;
    DenseCase c(spec);
    const DenseGradients gradients = dense_backward(c.problem(), c.backward_args());
    expect_gradient("d_q", c, c.q, gradients.d_q);
    expect_gradient("d_k", c, c.k, gradients.d_k);
    expect_gradient("d_v", c, c.v, gradients.d_v);
    if (c.bias.present()) expect_gradient("d_bias", c, c.bias, gradients.d_bias);
    if (c.sink_logits.present())
        expect_gradient("d_sink", c, c.sink_logits, gradients.d_sink_logits);
}

DenseSpec small() {
    DenseSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 3;
    spec.num_k_heads = 1;
    spec.num_v_heads = 2;
    spec.q_len = 4;
    spec.kv_len = 5;
    spec.head_dim = 3;
    spec.head_dim_v = 2;
    spec.d_lse = true;
    return spec;
}

TEST(DenseGradients, OfGroupedHeadsMatchFiniteDifferences) { expect_all_gradients(small()); }

TEST(DenseGradients, OfCausalRowsMatchFiniteDifferences) {
    DenseSpec spec = small();
    spec.causal = true;
    spec.kv_len = 3;  // the first row sees nothing
    expect_all_gradients(spec);
}

TEST(DenseGradients, OfWindowsChunksAndOffsetsMatchFiniteDifferences) {
    DenseSpec spec = small();
    spec.window_left = 2;
    spec.window_right = 1;
    spec.attention_chunk = 4;
    spec.q_position_offset = 1;
    expect_all_gradients(spec);
}

TEST(DenseGradients, ThroughTheSoftcapMatchFiniteDifferences) {
    DenseSpec spec = small();
    spec.softcap = 1.5F;
    spec.scale = 2.0F;
    expect_all_gradients(spec);
}

TEST(DenseGradients, OfEveryBroadcastOfBiasMatchFiniteDifferences) {
    for (const bool per_batch : {false, true}) {
        for (const bool per_head : {false, true}) {
            DenseSpec spec = small();
            spec.bias = DType::kF32;
            spec.bias_per_batch = per_batch;
            spec.bias_per_head = per_head;
            spec.bias_hidden = 0.2;
            spec.softcap = 3.0F;
            expect_all_gradients(spec);
        }
    }
}

TEST(DenseGradients, OfSinksMatchFiniteDifferences) {
    DenseSpec spec = small();
    spec.sink = true;
    spec.causal = true;
    spec.kv_len = 3;
    spec.alibi = true;
    expect_all_gradients(spec);
}

TEST(DenseGradients, UnderDropoutMatchFiniteDifferences) {
    DenseSpec spec = small();
    spec.dropout_p = 0.4F;
    spec.sink = true;
    expect_all_gradients(spec);
}

TEST(DenseGradients, OfSigmoidWeightsMatchFiniteDifferences) {
    DenseSpec spec = small();
    spec.sigmoid = true;
    spec.sigmoid_bias = -1.5F;
    spec.d_lse = false;
    spec.mask = DType::kU8;
    spec.bias = DType::kF32;
    spec.softcap = 2.0F;
    spec.dropout_p = 0.3F;
    expect_all_gradients(spec);
}

TEST(DenseGradients, OfMaskedAndNegativelyScaledScoresMatchFiniteDifferences) {
    DenseSpec spec = small();
    spec.mask = DType::kBit;
    spec.mask_per_batch = true;
    spec.mask_per_head = true;
    spec.scale = -0.75F;
    expect_all_gradients(spec);
    spec.scale = 0.0F;
    expect_all_gradients(spec);
}

TEST(DenseGradients, OfPackedSequencesMatchFiniteDifferences) {
    DenseSpec spec = small();
    spec.batch = 4;
    spec.q_lens = {2, 0, 3, 1};
    spec.kv_lens = {3, 2, 0, 4};
    spec.causal = true;
    expect_all_gradients(spec);
}

TEST(DenseGradients, OfShortenedSequencesMatchFiniteDifferences) {
    DenseSpec spec = small();
    spec.kv_len_of_run = {5, 2};
    expect_all_gradients(spec);
}

/// Each part's own backward with the merged o and lse and the same d_o and d_lse gives the whole
/// gradient.
TEST(DenseGradients, OfMergedPartsAreTheWholeGradient) {
    DenseSpec spec = small();
    spec.backward = true;
    DenseCase whole(spec);
    const DenseOutput output = dense_forward(whole.problem(), whole.forward_args());
    const DenseGradients expected = dense_backward(whole.problem(), whole.backward_args());

    const int64 split = 2;
    std::vector<double> d_q(expected.d_q.size());
    std::vector<double> d_k;
    for (const auto& [begin, end] : {std::pair<int64, int64>{0, split}, {split, spec.kv_len}}) {
        DenseProblem problem = whole.problem();
        DenseBackwardArgs args = whole.backward_args();
        problem.kv_len = problem.k.shape[2] = problem.v.shape[2] = end - begin;
        problem.d_k.shape[2] = problem.d_v.shape[2] = end - begin;
        args.k = static_cast<const float*>(args.k) + begin * spec.head_dim;
        args.v = static_cast<const float*>(args.v) + begin * spec.head_dim_v;
        const DenseGradients part = dense_backward(problem, args, Arithmetic::kExact, &output);
        for (std::size_t n = 0; n < d_q.size(); ++n) d_q[n] += part.d_q[n];
        for (int64 b = 0, n = 0; b < spec.batch; ++b)
            for (int64 j = begin; j < end; ++j)
                for (int64 d = 0; d < spec.head_dim; ++d, ++n)
                    EXPECT_NEAR(part.d_k[static_cast<std::size_t>(n)],
                                expected.d_k[static_cast<std::size_t>(
                                    (b * spec.kv_len + j) * spec.head_dim + d)],
                                1e-13);
    }
    for (std::size_t n = 0; n < d_q.size(); ++n) EXPECT_NEAR(d_q[n], expected.d_q[n], 1e-13);
}

/// Results of disjoint key ranges merge into the result of all keys; one part is all hidden.
TEST(DenseGradients, MergeOfPartsEqualsWhole) {
    const DenseSpec spec = small();
    DenseCase whole(spec);
    const DenseOutput expected = dense_forward(whole.problem(), whole.forward_args());
    std::vector<std::vector<float>> o_parts, lse_parts;
    for (const auto& [begin, end] : {std::pair<int64, int64>{0, 2}, {2, 2}, {2, spec.kv_len}}) {
        DenseProblem problem = whole.problem();
        DenseForwardArgs args = whole.forward_args();
        problem.kv_len = problem.k.shape[2] = problem.v.shape[2] = end - begin;
        args.k = static_cast<const float*>(args.k) + begin * spec.head_dim;
        args.v = static_cast<const float*>(args.v) + begin * spec.head_dim_v;
        const DenseOutput part = dense_forward(problem, args);
        o_parts.emplace_back(part.o.begin(), part.o.end());
        lse_parts.emplace_back(part.lse.begin(), part.lse.end());
    }
    std::vector<const void*> o_pointers;
    std::vector<const float*> lse_pointers;
    for (const auto& part : o_parts) o_pointers.push_back(part.data());
    for (const auto& part : lse_parts) lse_pointers.push_back(part.data());
    const DenseOutput merged = merge({.part = whole.problem().o,
                                      .o = whole.problem().o,
                                      .num_parts = 3,
                                      .o_parts = o_pointers.data(),
                                      .lse_parts = lse_pointers.data(),
                                      .out = nullptr,
                                      .lse = nullptr});
    for (std::size_t n = 0; n < expected.o.size(); ++n)
        EXPECT_NEAR(merged.o[n], expected.o[n], 1e-6);
    for (std::size_t n = 0; n < expected.lse.size(); ++n)
        EXPECT_NEAR(merged.lse[n], expected.lse[n], 1e-6);
}

}  // namespace
}  // namespace fattn::reference
