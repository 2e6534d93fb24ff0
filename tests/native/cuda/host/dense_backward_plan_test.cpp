// Backward runs of dense plans on the virtual GPU through the C interface: gradients against the
// double-precision reference, laws to the bit, and what a run refuses.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cuda/graph_capture.h"
#include "cuda/host/dense_on_device.h"
#include "support/random_dense.h"
#include "support/sampling.h"

namespace fattn::cuda {
namespace {

using test::DenseCase;
using test::DenseSpec;
using test::ok;
using test::PlanHandle;

class DenseBackwardOnCuda : public DensePlanOnCuda {
  protected:
    /// Forward and backward of the case.
    void run_both(DenseCase& c) {
        const PlanHandle plan = plan_of(c);
        ASSERT_NE(plan, nullptr);
        run_forward(device, plan.get(), c);
        run_backward(device, plan.get(), c);
    }

    void expect_near(const DenseSpec& spec) {
        DenseCase c(spec);
        run_both(c);
        test::TruthInTwoSteps<test::DenseTruth> truth(
            [&](test::Effort effort) { return dense_truth(c, {}, effort); });
        EXPECT_TRUE(
            truth.check([&](const test::DenseTruth& of_c) { return backward_is_near(of_c, c); }));
    }
};

DenseSpec spec_of(DType dtype, int64 q_len, int64 kv_len, int64 head_dim) {
    DenseSpec spec;
    spec.dtype = dtype;
    spec.q_len = q_len;
    spec.kv_len = kv_len;
    spec.head_dim = spec.head_dim_v = head_dim;
    spec.backward = true;
    return spec;
}

TEST_F(DenseBackwardOnCuda, GroupedHeadsUnderCausality) {
    DenseSpec spec = spec_of(DType::kBF16, 70, 130, 64);
    spec.num_q_heads = 4;
    spec.num_k_heads = spec.num_v_heads = 2;
    spec.causal = spec.d_lse = true;
    expect_near(spec);
}

TEST_F(DenseBackwardOnCuda, KeyAndValueHeadsDiffer) {
    DenseSpec spec = spec_of(DType::kF16, 33, 65, 128);
    spec.batch = 2;
    spec.head_dim_v = 96;
    spec.num_q_heads = 4;
    spec.num_k_heads = 2;
    expect_near(spec);
}

TEST_F(DenseBackwardOnCuda, LargeHeadDims) {
    DenseSpec spec = spec_of(DType::kBF16, 40, 70, 200);
    spec.window_left = 30;
    spec.window_right = 9;
    expect_near(spec);
    spec.dtype = DType::kF32;
    spec.q_len = 20;
    expect_near(spec);
}

TEST_F(DenseBackwardOnCuda, CappedScoresDistancesAndSinks) {
    DenseSpec spec = spec_of(DType::kF32, 40, 70, 40);
    spec.softcap = 5;
    spec.alibi = spec.sink = true;
    spec.num_q_heads = 2;
    expect_near(spec);
}

TEST_F(DenseBackwardOnCuda, SharedBiasAndDroppedWeights) {
    DenseSpec spec = spec_of(DType::kBF16, 20, 90, 32);
    spec.batch = spec.num_q_heads = 2;
    spec.dropout_p = 0.25F;
    spec.bias = DType::kF32;
    spec.bias_hidden = 0.1;
    for (const bool per_batch : {false, true}) {
        spec.bias_per_batch = per_batch;
        spec.bias_per_head = !per_batch;
        expect_near(spec);
    }
    spec.bias_per_head = true;
    spec.bias = DType::kBF16;
    spec.causal = true;
    expect_near(spec);
}

TEST_F(DenseBackwardOnCuda, SigmoidWeightsAndMasks) {
    DenseSpec spec = spec_of(DType::kF16, 50, 66, 24);
    spec.sigmoid = true;
    spec.sigmoid_bias = -3;
    spec.mask = DType::kBit;
    expect_near(spec);
}

TEST_F(DenseBackwardOnCuda, PackedSequencesOfShorterKeys) {
    DenseSpec spec = spec_of(DType::kF16, 70, 70, 64);
    spec.q_lens = {70, 0, 13};
    spec.kv_lens = {40, 7, 66};
    spec.kv_len_of_run = {33, 7, 66};
    spec.batch = 3;
    spec.causal = true;
    expect_near(spec);
}

/// Gradients of 16 bits under an output of f32, and so a gradient of f32, are those of f32 rounded.
TEST_F(DenseBackwardOnCuda, OutputsOfF32HaveGradientsOfF32) {
    DenseSpec spec = spec_of(DType::kF16, 40, 70, 64);
    spec.f32_output = spec.causal = spec.d_lse = true;
    spec.num_q_heads = 2;
    spec.bias = DType::kF32;
    expect_near(spec);
    spec.bias = DType::kDefault;
    spec.q_lens = {20, 0, 13};
    spec.kv_lens = {40, 7, 16};
    spec.batch = 3;
    DenseCase wide(spec);
    run_both(wide);
    EXPECT_TRUE(backward_is_near(dense_truth(wide), wide));
    DenseCase narrow(spec);
    for (test::Tensor* one : {&narrow.d_q, &narrow.d_k, &narrow.d_v}) retype(one, spec.dtype);
    run_both(narrow);
    EXPECT_TRUE(is_rounded(wide.d_q, narrow.d_q));
    EXPECT_TRUE(is_rounded(wide.d_k, narrow.d_k));
    EXPECT_TRUE(is_rounded(wide.d_v, narrow.d_v));
}

TEST_F(DenseBackwardOnCuda, RowsWithoutKeysHaveNoGradients) {
    DenseSpec spec = spec_of(DType::kBF16, 80, 10, 32);
    spec.causal = true;  // the first 70 queries see nothing
    DenseCase c(spec);
    run_both(c);
    EXPECT_TRUE(backward_is_near(dense_truth(c), c));
    for (int64 i = 0; i < 70; ++i) {
        for (int64 d = 0; d < 32; ++d) ASSERT_EQ(c.d_q.at(0, 0, i, d), 0) << "row " << i;
    }
}

// A whole block of queries that see no key, and one of keys that no query sees: they copy their own
// rows and nothing else.
TEST_F(DenseBackwardOnCuda, BlocksWithoutTilesHaveNoGradients) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
        DenseSpec queries = spec_of(dtype, 200, 40, 64);
        queries.causal = true;
        DenseSpec keys = spec_of(dtype, 40, 200, 64);
        keys.causal = true;
        keys.window_left = 20;
        keys.num_q_heads = 2;
        for (const DenseSpec& spec : {queries, keys}) {
            DenseCase c(spec);
            run_both(c);
            EXPECT_TRUE(backward_is_near(dense_truth(c), c));
        }
    }
}

TEST_F(DenseBackwardOnCuda, RunsRepeatToTheBitAndEveryGradientIsTheSameAlone) {
    DenseSpec spec = spec_of(DType::kBF16, 70, 100, 64);
    spec.num_q_heads = 2;
    spec.bias = DType::kF32;
    spec.sink = spec.causal = true;
    DenseCase all(spec);
    const PlanHandle plan = plan_of(all);
    ASSERT_NE(plan, nullptr);
    run_forward(device, plan.get(), all);
    run_backward(device, plan.get(), all);
    DenseCase c(spec);
    run_forward(device, plan.get(), c);
    run_backward(device, plan.get(), c);
    EXPECT_TRUE(c.d_q.same_bytes(all.d_q));
    EXPECT_TRUE(c.d_k.same_bytes(all.d_k));
    EXPECT_TRUE(c.d_v.same_bytes(all.d_v));
    EXPECT_TRUE(c.d_bias.same_bytes(all.d_bias));
    EXPECT_TRUE(c.d_sink_logits.same_bytes(all.d_sink_logits));
    for (const bool of_keys : {true, false}) {
        BackwardOnDevice alone(device, plan.get(), c);
        alone.args.d_q = alone.args.d_bias = alone.args.d_sink_logits = nullptr;
        (of_keys ? alone.args.d_v : alone.args.d_k) = nullptr;
        ASSERT_TRUE(ok(alone.start()));
        alone.get_gradients();
        EXPECT_TRUE(of_keys ? c.d_k.same_bytes(all.d_k) : c.d_v.same_bytes(all.d_v));
        EXPECT_FALSE(c.d_q.same_bytes(all.d_q)) << "it was not asked for";
    }
}

TEST_F(DenseBackwardOnCuda, InfinitiesReachOnlyPairsThatAreVisible) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        DenseSpec spec = spec_of(dtype, 70, 70, 64);
        spec.causal = true;
        DenseCase finite(spec);
        const PlanHandle plan = plan_of(finite);
        ASSERT_NE(plan, nullptr);
        run_forward(device, plan.get(), finite);
        run_backward(device, plan.get(), finite);
        // Query 1 sees keys 0 and 1 alone; key 69 is seen by query 69 alone.
        DenseCase c(spec);
        run_forward(device, plan.get(), c);
        c.d_o.set(0, 0, 1, 5, INFINITY);
        c.k.set(0, 0, 69, 5, NAN);
        run_backward(device, plan.get(), c);
        for (int64 d = 0; d < spec.head_dim; ++d) {
            for (int64 i = 0; i < spec.q_len; ++i) {
                if (i == 1 || i == 69) continue;
                ASSERT_EQ(c.d_q.at(0, 0, i, d), finite.d_q.at(0, 0, i, d)) << "d_q " << i;
            }
        }
        EXPECT_TRUE(std::isnan(c.d_q.at(0, 0, 69, 5)));
        // Query 69 sees every key; without it those from 2 on are as before.
        c.k.set(0, 0, 69, 5, 0.5);
        finite.k.set(0, 0, 69, 5, 0.5);
        run_backward(device, plan.get(), finite);
        run_backward(device, plan.get(), c);
        for (int64 d = 0; d < spec.head_dim; ++d) {
            for (int64 j = 2; j < spec.kv_len; ++j) {
                ASSERT_EQ(c.d_k.at(0, 0, j, d), finite.d_k.at(0, 0, j, d)) << "d_k " << j;
                ASSERT_EQ(c.d_v.at(0, 0, j, d), finite.d_v.at(0, 0, j, d)) << "d_v " << j;
            }
        }
        EXPECT_EQ(c.d_v.at(0, 0, 0, 5), INFINITY);
    }
}

TEST_F(DenseBackwardOnCuda, ARunIsCapturedAndReplayed) {
    DenseCase c(spec_of(DType::kBF16, 20, 40, 64));
    const PlanHandle plan = plan_of(c);
    ASSERT_NE(plan, nullptr);
    run_forward(device, plan.get(), c);
    BackwardOnDevice backward(device, plan.get(), c);
    Stream stream;
    ASSERT_STATUS_OK(Stream::create(device, 0, &stream));
    backward.run.stream = stream.handle();
    GraphCapture capture(stream);
    ASSERT_EQ(capture.begin(), Result::kSuccess);
    ASSERT_TRUE(ok(backward.start()));
    ASSERT_EQ(capture.end(), Result::kSuccess) << "a run neither waits nor allocates nor loads";
    ASSERT_EQ(capture.replay(), Result::kSuccess);
    ASSERT_STATUS_OK(stream.synchronize());
    backward.get_gradients();
    EXPECT_TRUE(backward_is_near(dense_truth(c), c));
}

TEST_F(DenseBackwardOnCuda, TheWorkspaceIsAskedForAndChecked) {
    DenseCase c(spec_of(DType::kBF16, 20, 40, 64));
    const PlanHandle plan = plan_of(c);
    ASSERT_NE(plan, nullptr);
    BackwardOnDevice backward(device, plan.get(), c);
    EXPECT_EQ(backward.run.workspace_bytes, 20U * 8);
    backward.run.workspace_bytes = 20 * 8 - 1;
    EXPECT_EQ(backward.start(), FATTN_STATUS_WORKSPACE_TOO_SMALL);
    EXPECT_NE(std::strstr(fattn_last_error(), "run->workspace_bytes is 159; this run needs 160"),
              nullptr)
        << fattn_last_error();
    backward.run.workspace_bytes = 20 * 8;
    alignas(64) static char on_host[20 * 8];
    backward.run.workspace = on_host;
    EXPECT_EQ(backward.start(), FATTN_STATUS_INVALID_ARGUMENT);
    EXPECT_NE(std::strstr(fattn_last_error(), "run->workspace is not device memory"), nullptr)
        << fattn_last_error();
}

TEST_F(DenseBackwardOnCuda, RandomProblemsAreNearTheReference) {
    constexpr double kMostWork = 4e5;  // multiply-adds that the interpreter does in some seconds
    const test::Sampling seeds = test::sampling(12, 200);
    int num_problems = 0;
    for (uint64 seed = seeds.first_seed; num_problems < seeds.count; ++seed) {
        const DenseSpec spec = test::random_dense_spec(seed, true);
        if (spec.work() > kMostWork || spec.head_dim > 256) continue;
        ++num_problems;
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        expect_near(spec);
    }
}

}  // namespace
}  // namespace fattn::cuda
