// The choice of dense backward keys, and what a run's launches are made of.
#include "cuda/host/dense_backward.h"

#include <gtest/gtest.h>

#include "cuda/host/launch_parts.h"

namespace fattn::cuda {
namespace {

DenseProblem problem_of(DType dtype, int64 head_dim) {
    DenseProblem p{};
    p.batch = 2;
    p.num_q_heads = 8;
    p.num_k_heads = p.num_v_heads = 4;
    p.q_len = 300;
    p.kv_len = 500;
    p.head_dim = p.head_dim_v = head_dim;
    p.q = p.o = p.d_o = p.d_q = contiguous(2, 8, 300, head_dim, dtype);
    p.k = p.v = p.d_k = p.d_v = contiguous(2, 4, 500, head_dim, dtype);
    p.window_left = p.window_right = -1;
    p.scale = 0.125F;
    p.backward = true;
    return p;
}

DenseBackwardArgs args_of_all() {
    DenseBackwardArgs args{};
    args.q = address(0x1000);
    args.k = address(0x2000);
    args.v = address(0x3000);
    args.d_o = address(0x4000);
    args.d_q = address(0x5000);
    args.d_k = address(0x6000);
    args.d_v = address(0x7000);
    return args;
}

TEST(DenseBackward, HeadDimsTakeTheFirstKeyThatHoldsBoth) {
    EXPECT_EQ(backward_key(problem_of(DType::kBF16, 64), Side::kQueries).name(),
              "dense_backward_bf16_d64_queries");
    EXPECT_EQ(backward_key(problem_of(DType::kF16, 65), Side::kKeys).name(),
              "dense_backward_f16_d128_keys");
    DenseProblem unequal = problem_of(DType::kF32, 16);
    unequal.head_dim_v = 256;
    const BackwardKey key = backward_key(unequal, Side::kKeys);
    EXPECT_EQ(key.name(), "dense_backward_f32_d256_keys");
    EXPECT_EQ(key.unit(), "dense_backward_f32");
}

TEST(DenseBackward, EveryTileFitsTheSharedMemoryOfEveryGpu) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const int32 head_dim : kBackwardHeadDims) {
            for (const Side side : {Side::kQueries, Side::kKeys}) {
                const BackwardKey key{dtype, head_dim, side};
                EXPECT_LE(key.tile().shared_bytes(), kSharedBytesOfEveryGpu) << key.name();
            }
        }
    }
}

TEST(DenseBackward, BlocksCoverEveryTileOfBothSides) {
    const DenseBackwardRun run =
        dense_backward_run(problem_of(DType::kBF16, 64), args_of_all(), address(0x8000));
    EXPECT_EQ(run.d_q.num_blocks, 3U * 8 * 2);
    EXPECT_TRUE(run.d_k_d_v.params.both_sums);
    EXPECT_EQ(run.d_k_d_v.num_blocks, 4U * 4 * 2);
    EXPECT_EQ(run.num_term_blocks, 300U * 8 * 2 / 4);
    EXPECT_EQ(run.num_sink_blocks, 0U);
    EXPECT_EQ(run.d_bias.num_blocks, 0U);
    EXPECT_TRUE(run.zeros.empty());
    EXPECT_TRUE(run.d_q.params.simple);
}

TEST(DenseBackward, KeysAndValuesHaveBlocksOfTheirOwnWhereHeadsOrRoomDiffer) {
    DenseProblem heads = problem_of(DType::kBF16, 64);
    heads.num_v_heads = 2;
    const DenseBackwardRun unequal = dense_backward_run(heads, args_of_all(), address(0x8000));
    EXPECT_FALSE(unequal.d_k_d_v.params.both_sums);
    EXPECT_EQ(unequal.d_k_d_v.params.num_k_blocks, 4);
    EXPECT_EQ(unequal.d_k_d_v.num_blocks, 4U * (4 + 2) * 2);

    const DenseBackwardRun large =
        dense_backward_run(problem_of(DType::kBF16, 256), args_of_all(), address(0x8000));
    EXPECT_FALSE(large.d_k_d_v.params.both_sums);
    EXPECT_EQ(large.d_k_d_v.num_blocks, 8U * (4 + 4) * 2);
}

TEST(DenseBackward, GradientsThatNobodyAsksForAreNotComputed) {
    DenseBackwardArgs args = args_of_all();
    args.d_q = args.d_k = nullptr;
    const DenseBackwardRun values =
        dense_backward_run(problem_of(DType::kBF16, 64), args, address(0x8000));
    EXPECT_EQ(values.d_q.num_blocks, 0U);
    EXPECT_EQ(values.d_k_d_v.params.num_k_blocks, 0);
    EXPECT_EQ(values.d_k_d_v.num_blocks, 4U * 4 * 2);
    args.d_v = nullptr;
    const DenseBackwardRun none =
        dense_backward_run(problem_of(DType::kBF16, 64), args, address(0x8000));
    EXPECT_EQ(none.d_k_d_v.num_blocks, 0U);
    EXPECT_EQ(none.num_term_blocks, 0U);
}

TEST(DenseBackward, BiasGradientsHaveABlockForEveryPairOfTiles) {
    DenseProblem p = problem_of(DType::kBF16, 64);
    p.has_bias = true;
    p.bias = contiguous(2, 8, 300, 500, DType::kF32);
    p.d_bias = contiguous(1, 8, 300, 500, DType::kF32);
    DenseBackwardArgs args = args_of_all();
    args.d_bias = static_cast<float*>(address(0x9000));
    const DenseBackwardRun run = dense_backward_run(p, args, address(0x8000));
    EXPECT_EQ(run.d_bias.num_blocks, 3U * 8 * 8);
    EXPECT_TRUE(run.d_bias.params.bias_gradient);
    EXPECT_FALSE(run.d_q.params.bias_gradient);
    EXPECT_FALSE(run.d_q.params.simple);
}

TEST(DenseBackward, RowsOutsideSequencesAreCleared) {
    DenseProblem p = problem_of(DType::kBF16, 64);
    p.has_kv_len = true;
    const DenseBackwardRun shorter = dense_backward_run(p, args_of_all(), address(0x8000));
    ASSERT_EQ(shorter.zeros.size(), 2U);
    EXPECT_EQ(shorter.zeros[0].params.data, address(0x6000));
    EXPECT_EQ(shorter.zeros[0].num_blocks, 2U * 4 * 500 / 4);
    p.varlen = true;
    EXPECT_EQ(dense_backward_run(p, args_of_all(), address(0x8000)).zeros.size(), 3U);
}

TEST(DenseBackward, TheWorkspaceHoldsTermsOfRowsOfSoftmax) {
    DenseProblem p = problem_of(DType::kBF16, 64);
    EXPECT_EQ(dense_backward_workspace(p), 2U * 8 * 300 * 8);
    p.weights = Weights::kSigmoid;
    EXPECT_EQ(dense_backward_workspace(p), 0U);
    const DenseBackwardRun run = dense_backward_run(p, args_of_all(), nullptr);
    EXPECT_EQ(run.num_term_blocks, 0U);
    EXPECT_EQ(run.d_q.params.terms, nullptr);
    EXPECT_FALSE(run.d_q.params.simple);
}

TEST(DenseBackward, RefusalsSayWhatWasAskedAndWhatIsAllowed) {
    EXPECT_TRUE(supports_dense_backward(problem_of(DType::kF32, 256)).ok());
    EXPECT_EQ(supports_dense_backward(problem_of(DType::kF16, 257)).message(),
              "the larger head dim is 257; CUDA kernels take up to 256");
    DenseProblem many = problem_of(DType::kF16, 64);
    many.batch = int64{1} << 26;
    EXPECT_EQ(supports_dense_backward(many).message(),
              "67108864 sequences with 32 tiles of keys each; CUDA kernels take up to 2147483647 "
              "tiles in all");
    DenseProblem rows = problem_of(DType::kF16, 64);
    rows.batch = 1;
    rows.num_q_heads = int64{1} << 27;
    rows.q_len = 128;
    rows.q = contiguous(1, rows.num_q_heads, rows.q_len, 64, DType::kF16);
    EXPECT_EQ(supports_dense_backward(rows).message(),
              "q has 17179869184 rows in all heads; the backward on CUDA takes up to 8589934588");
}

}  // namespace
}  // namespace fattn::cuda
