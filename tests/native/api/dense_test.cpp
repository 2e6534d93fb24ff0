// Dense attention through the C interface: plans and runs give the reference's numbers whatever the
// features.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "fused_attention/fused_attention.h"
#include "reference/dense.h"
#include "support/dense_case.h"

namespace fattn::test {
namespace {

void expect_forward_matches_reference(const DenseSpec& spec) {
    SCOPED_TRACE(describe(spec));
    DenseCase c(spec);
    fattn_device* device = nullptr;
    ASSERT_EQ(fattn_device_cpu(&device), FATTN_STATUS_OK) << fattn_last_error();
    fattn_plan* plan = nullptr;
    const fattn_dense_problem problem = c.c_problem();
    ASSERT_EQ(fattn_dense_plan(device, &problem, &plan), FATTN_STATUS_OK) << fattn_last_error();
    const fattn_dense_forward_args args = c.c_forward();
    ASSERT_EQ(fattn_dense_forward(plan, &args, nullptr), FATTN_STATUS_OK) << fattn_last_error();
    const reference::DenseOutput expected = reference::dense_forward(c.problem(), c.forward_args());
    const std::vector<double> o = c.o.values();
    for (std::size_t i = 0; i < o.size(); ++i) ASSERT_NEAR(o[i], expected.o[i], 2e-5) << i;
    const std::vector<double> lse = c.lse.values();
    for (std::size_t i = 0; i < expected.lse.size(); ++i) {
        if (std::isinf(expected.lse[i])) {
            ASSERT_EQ(lse[i], expected.lse[i]) << i;
        } else {
            ASSERT_NEAR(lse[i], expected.lse[i], 2e-5) << i;
        }
    }
    fattn_plan_release(plan);
    fattn_device_release(device);
}

DenseSpec small_spec() {
    DenseSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 6;
    spec.num_k_heads = 2;
    spec.num_v_heads = 3;
    spec.q_len = 19;
    spec.kv_len = 37;
    spec.head_dim = 24;
    spec.head_dim_v = 40;
    return spec;
}

TEST(Dense, ForwardMatchesReference) { expect_forward_matches_reference(small_spec()); }

TEST(Dense, CausalIsARightWindowOfZero) {
    DenseSpec spec = small_spec();
    spec.causal = true;
    expect_forward_matches_reference(spec);
    spec.window_left = 7;
    spec.window_right = 5;
    expect_forward_matches_reference(spec);
    spec.top_left = true;
    expect_forward_matches_reference(spec);
}

TEST(Dense, EveryScoreFeatureReachesTheKernel) {
    DenseSpec spec = small_spec();
    spec.scale = 0.3f;
    spec.softcap = 5;
    spec.alibi = true;
    spec.sink = true;
    spec.bias = DType::kF32;
    spec.bias_per_head = true;
    spec.mask = DType::kBit;
    spec.mask_per_batch = true;
    expect_forward_matches_reference(spec);
    spec.sink = false;
    spec.sigmoid = true;
    spec.sigmoid_bias = -2;
    expect_forward_matches_reference(spec);
}

TEST(Dense, PackedSequencesAndPagesAreFound) {
    DenseSpec spec = small_spec();
    spec.batch = 4;
    spec.q_lens = {5, 0, 17, 1};
    spec.kv_lens = {9, 13, 0, 20};
    expect_forward_matches_reference(spec);
    spec = small_spec();
    spec.kv_len_of_run = {11, 37};
    spec.causal = true;
    expect_forward_matches_reference(spec);
    spec.page_size = 8;
    expect_forward_matches_reference(spec);
}

TEST(Dense, PositionOffsetsShiftThePredicate) {
    DenseSpec spec = small_spec();
    spec.causal = true;
    spec.attention_chunk = 8;
    spec.q_position_offset = -9;
    spec.k_position_offset = 3;
    expect_forward_matches_reference(spec);
}

TEST(Dense, PackedRowsOfNoSequenceSeeNoKeyAndGetNoGradient) {
    constexpr int64_t kHeads = 2, kTokens = 9, kDim = 8;
    fattn_dense_problem p{};
    p.struct_size = sizeof(p);
    p.flags = FATTN_DENSE_VARLEN | FATTN_DENSE_BACKWARD;
    p.q = p.k = p.v = to_c(contiguous(1, kHeads, kTokens, kDim, DType::kF32));
    p.num_seqs = 2;
    p.max_q_len = p.max_kv_len = 4;
    fattn_device* device = nullptr;
    ASSERT_EQ(fattn_device_cpu(&device), FATTN_STATUS_OK);
    fattn_plan* plan = nullptr;
    ASSERT_EQ(fattn_dense_plan(device, &p, &plan), FATTN_STATUS_OK) << fattn_last_error();
    const std::vector<float> x(kHeads * kTokens * kDim, 0.5f);
    std::vector<float> o(x.size(), 7), d_q(x.size(), 7), d_k(x.size(), 7), d_v(x.size(), 7);
    std::vector<float> lse(kHeads * kTokens, 7);
    const int32_t cu[] = {0, 3, 7};  // tokens 7 and 8 belong to no sequence
    fattn_dense_forward_args forward{};
    forward.struct_size = sizeof(forward);
    forward.q = forward.k = forward.v = x.data();
    forward.o = o.data();
    forward.lse = lse.data();
    forward.cu_seqlens_q = forward.cu_seqlens_k = cu;
    ASSERT_EQ(fattn_dense_forward(plan, &forward, nullptr), FATTN_STATUS_OK) << fattn_last_error();
    fattn_dense_backward_args backward{};
    backward.struct_size = sizeof(backward);
    backward.q = backward.k = backward.v = backward.d_o = x.data();
    backward.o = o.data();
    backward.lse = lse.data();
    backward.cu_seqlens_q = backward.cu_seqlens_k = cu;
    backward.d_q = d_q.data();
    backward.d_k = d_k.data();
    backward.d_v = d_v.data();
    ASSERT_EQ(fattn_dense_backward(plan, &backward, nullptr), FATTN_STATUS_OK)
        << fattn_last_error();
    for (int64_t h = 0; h < kHeads; ++h) {
        for (int64_t i = 0; i < kTokens; ++i) {
            const bool used = i < 7;
            const auto row = static_cast<std::size_t>(h * kTokens + i);
            EXPECT_EQ(std::isfinite(lse[row]), used) << i;
            if (!used) {
                EXPECT_EQ(lse[row], -INFINITY);
            }
            for (std::size_t c = row * kDim; c < (row + 1) * kDim; ++c) {
                EXPECT_NEAR(o[c], used ? 0.5f : 0.0f, 1e-6f);
                if (!used) {
                    EXPECT_EQ(d_q[c], 0);
                    EXPECT_EQ(d_k[c], 0);
                    EXPECT_EQ(d_v[c], 0);
                }
            }
        }
    }
    fattn_plan_release(plan);
    fattn_device_release(device);
}

}  // namespace
}  // namespace fattn::test
