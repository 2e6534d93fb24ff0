// The choice of dense forward keys, and what a launch is made of.
#include "cuda/host/dense_forward.h"

#include <gtest/gtest.h>

#include <string>

#include "cuda/host/launch_parts.h"

namespace fattn::cuda {
namespace {

DenseProblem dense_problem_of(DType dtype, int64 head_dim) {
    DenseProblem p{};
    p.batch = 2;
    p.num_q_heads = 8;
    p.num_k_heads = 2;
    p.num_v_heads = 4;
    p.q_len = 300;
    p.kv_len = 500;
    p.head_dim = p.head_dim_v = head_dim;
    p.q = contiguous(2, 8, 300, head_dim, dtype);
    p.k = contiguous(2, 2, 500, head_dim, dtype);
    p.v = contiguous(2, 4, 500, head_dim, dtype);
    p.o = contiguous(2, 8, 300, head_dim, dtype);
    p.window_left = p.window_right = -1;
    p.scale = 0.125F;
    return p;
}

DenseForwardArgs aligned_args() {
    DenseForwardArgs args{};
    args.q = address(0x1000);
    args.k = address(0x2000);
    args.v = address(0x3000);
    args.o = address(0x4000);
    return args;
}

std::string key_of(const DenseProblem& problem, const DenseForwardArgs& args = aligned_args()) {
    return dense_forward_launch(problem, args).key.name();
}

TEST(DenseForward, HeadDimsTakeTheFirstKeyThatHoldsBoth) {
    EXPECT_EQ(key_of(dense_problem_of(DType::kBF16, 64)), "dense_forward_bf16_d64_lean");
    EXPECT_EQ(key_of(dense_problem_of(DType::kBF16, 72)), "dense_forward_bf16_d96_lean");
    EXPECT_EQ(key_of(dense_problem_of(DType::kF16, 1)), "dense_forward_f16_d32_general");
    EXPECT_EQ(key_of(dense_problem_of(DType::kF16, 256)), "dense_forward_f16_d256_lean");
    DenseProblem unequal = dense_problem_of(DType::kF16, 128);
    unequal.head_dim = 192;
    EXPECT_EQ(dense_forward_launch(unequal, aligned_args()).key.head_dim, 192);
}

TEST(DenseForward, EveryFeatureOfTheGeneralKeyLeavesTheLeanOne) {
    const DenseProblem lean = dense_problem_of(DType::kF16, 128);
    ASSERT_EQ(key_of(lean), "dense_forward_f16_d128_lean");
    const auto with = [&](auto change) {
        DenseProblem p = lean;
        change(p);
        return key_of(p);
    };
    const std::string general = "dense_forward_f16_d128_general";
    EXPECT_EQ(with([](DenseProblem& p) { p.softcap = 30; }), general);
    EXPECT_EQ(with([](DenseProblem& p) { p.has_bias = true; }), general);
    EXPECT_EQ(with([](DenseProblem& p) { p.has_alibi = true; }), general);
    EXPECT_EQ(with([](DenseProblem& p) { p.has_mask = true; }), general);
    EXPECT_EQ(with([](DenseProblem& p) { p.dropout_p = 0.5F; }), general);
    EXPECT_EQ(with([](DenseProblem& p) { p.weights = Weights::kSigmoid; }), general);
    EXPECT_EQ(with([](DenseProblem& p) { p.scale = 0; }), general);
    EXPECT_EQ(with([](DenseProblem& p) { p.scale = -1; }), general);
    EXPECT_EQ(with([](DenseProblem& p) { p.o.dtype = DType::kF32; }), general);
    EXPECT_EQ(with([](DenseProblem& p) { p.paged = true; }), general);
}

TEST(DenseForward, CausalityWindowsSinksAndSequencesStayLean) {
    DenseProblem p = dense_problem_of(DType::kF16, 128);
    p.window_left = 100;
    p.window_right = 0;
    p.attention_chunk = 64;
    p.has_sink = true;
    p.varlen = true;
    EXPECT_EQ(key_of(p), "dense_forward_f16_d128_lean");
}

TEST(DenseForward, F32HasGeneralKeysAlone) {
    EXPECT_EQ(key_of(dense_problem_of(DType::kF32, 64)), "dense_forward_f32_d64_general");
}

TEST(DenseForward, RowsThatStartAnywhereTakeTheGeneralKey) {
    DenseForwardArgs args = aligned_args();
    args.v = address(0x3002);
    const ForwardLaunch pointer = dense_forward_launch(dense_problem_of(DType::kBF16, 64), args);
    EXPECT_EQ(pointer.key.features, Features::kGeneral);
    EXPECT_TRUE(pointer.params.wide.k);
    EXPECT_FALSE(pointer.params.wide.v);

    DenseProblem strided = dense_problem_of(DType::kBF16, 64);
    strided.k.strides[2] = 66;
    const ForwardLaunch stride = dense_forward_launch(strided, aligned_args());
    EXPECT_EQ(stride.key.features, Features::kGeneral);
    EXPECT_FALSE(stride.params.wide.k);
}

TEST(DenseForward, StridesOfSingleEntriesDoNotCount) {
    DenseProblem p = dense_problem_of(DType::kBF16, 64);
    p.batch = 1;
    for (TensorLayout* layout : {&p.q, &p.k, &p.v, &p.o}) {
        layout->shape[0] = 1;
        layout->strides[0] = 7;
    }
    EXPECT_EQ(key_of(p), "dense_forward_bf16_d64_lean");
}

TEST(DenseForward, BlocksCoverEveryTileOfEveryHeadAndEntry) {
    const ForwardLaunch launch =
        dense_forward_launch(dense_problem_of(DType::kBF16, 64), aligned_args());
    EXPECT_EQ(launch.key.tile().tile_q, 128);
    EXPECT_EQ(launch.params.num_tiles, 3);
    EXPECT_EQ(launch.num_blocks, 3U * 8 * 2);
    DenseProblem none = dense_problem_of(DType::kBF16, 64);
    none.q_len = 0;
    EXPECT_EQ(dense_forward_launch(none, aligned_args()).num_blocks, 0U);
}

DenseProblem decode_problem(int64 q_len = 1) {
    DenseProblem p = dense_problem_of(DType::kBF16, 64);
    p.num_v_heads = 2;
    p.v = contiguous(2, 2, 9000, 64, DType::kBF16);
    p.k = contiguous(2, 2, 9000, 64, DType::kBF16);
    p.kv_len = 9000;
    p.q_len = q_len;
    p.q = contiguous(2, 8, q_len, 64, DType::kBF16);
    p.o = contiguous(2, 8, q_len, 64, DType::kBF16);
    return p;
}

TEST(DenseForward, HeadsOfAKeyHeadShareABlockForSingleQueries) {
    DenseProblem p = decode_problem();
    p.window_right = 0;
    const ForwardLaunch packed = dense_forward_launch(p, aligned_args());
    EXPECT_EQ(packed.num_blocks, 2U * 2);
    EXPECT_EQ(packed.params.problem.q_len, 4);
    EXPECT_EQ(packed.params.problem.q.row(1, 1, 3), p.q.row(1, 7, 0));
    EXPECT_EQ(packed.params.problem.o.row(1, 0, 2), p.o.row(1, 2, 0));
    EXPECT_EQ(packed.key.name(), "dense_forward_bf16_d64_general");

    const auto blocks_with = [&](auto change) {
        DenseProblem changed = p;
        DenseForwardArgs args = aligned_args();
        change(changed, args);
        return dense_forward_launch(changed, args).num_blocks;
    };
    constexpr uint32 kApart = 2 * 8;
    EXPECT_EQ(blocks_with([](DenseProblem& x, DenseForwardArgs&) { x.has_sink = true; }), kApart);
    EXPECT_EQ(blocks_with([](DenseProblem& x, DenseForwardArgs&) { x.has_alibi = true; }), kApart);
    EXPECT_EQ(blocks_with([](DenseProblem& x, DenseForwardArgs&) { x.has_mask = true; }), kApart);
    EXPECT_EQ(blocks_with([](DenseProblem& x, DenseForwardArgs&) { x.has_bias = true; }), kApart);
    EXPECT_EQ(blocks_with([](DenseProblem& x, DenseForwardArgs&) { x.dropout_p = 0.5F; }), kApart);
    EXPECT_EQ(blocks_with([](DenseProblem& x, DenseForwardArgs&) { x.window_left = 9; }), kApart);
    EXPECT_EQ(blocks_with([](DenseProblem& x, DenseForwardArgs&) { x.num_v_heads = 4; }), kApart);
    EXPECT_EQ(
        blocks_with([](DenseProblem& x, DenseForwardArgs&) { x.alignment = Alignment::kTopLeft; }),
        kApart);
    EXPECT_EQ(
        blocks_with([](DenseProblem&, DenseForwardArgs& args) { args.q_position_offset = 1; }),
        kApart);
}

TEST(DenseForward, KeysAreSplitSoThatRoundsOfBlocksAreFewAndFull) {
    // 4 blocks of 141 tiles.
    EXPECT_EQ(forward_splits(decode_problem(), 400), 29) << "5 tiles each; 4 are the fewest";
    EXPECT_EQ(forward_splits(decode_problem(), 80), 18) << "8 tiles each, as 20 would have";
    EXPECT_EQ(forward_splits(decode_problem(), 40), 10) << "all in one round";
    EXPECT_EQ(forward_splits(decode_problem(), 4), 1) << "they fill a round";
    EXPECT_EQ(forward_splits(decode_problem(), 3), 3) << "four rounds of a third, not two of all";
    EXPECT_EQ(forward_splits(decode_problem(65), 400), 1) << "more than a tile of queries";
    DenseProblem sigmoid = decode_problem();
    sigmoid.weights = Weights::kSigmoid;
    EXPECT_EQ(forward_splits(sigmoid, 80), 18);
    EXPECT_EQ(dense_forward_workspace(sigmoid, 1), 0U);
    DenseProblem sequences = decode_problem();
    sequences.varlen = true;
    EXPECT_EQ(forward_splits(sequences, 80), 80 / 16) << "heads are not packed";
}

TEST(DenseForward, PartsHaveRowsOfTheirOwn) {
    const DenseProblem p = decode_problem();
    const int64 rows = 2 * 8;
    EXPECT_EQ(dense_forward_workspace(p, 5), 5U * rows * (64 + 2) * sizeof(float));
    DenseForwardArgs args = aligned_args();
    args.lse = reinterpret_cast<float*>(0x7000);
    auto* workspace = reinterpret_cast<float*>(0x100000);
    const SplitLaunch launch = dense_split_launch(p, args, 5, workspace);
    EXPECT_EQ(launch.parts.num_blocks, 5U * 2 * 2);
    EXPECT_EQ(launch.parts.params.blocks_of_split, 2U * 2);
    EXPECT_EQ(launch.parts.params.split_rows, rows);
    auto* states = reinterpret_cast<SoftmaxState<float>*>(workspace);
    float* o_parts = workspace + 5 * rows * 2;
    EXPECT_EQ(launch.parts.params.states, states);
    EXPECT_EQ(launch.parts.params.args.o, o_parts);
    EXPECT_EQ(launch.parts.params.args.lse, nullptr);
    EXPECT_EQ(launch.parts.params.problem.o.dtype, DType::kF32);
    EXPECT_EQ(launch.parts.params.problem.o.row(1, 1, 3), 15 * 64);
    EXPECT_EQ(launch.merge.o_parts, o_parts);
    EXPECT_EQ(launch.merge.states, states);
    EXPECT_EQ(launch.merge.args.o, args.o);
    EXPECT_EQ(launch.merge.args.lse, args.lse);
    EXPECT_EQ(launch.num_merge_blocks, 16U * 2 / 4) << "32 numbers of a row a warp";
}

TEST(DenseForward, PartsOfSigmoidWeightsAreSumsWithoutStates) {
    DenseProblem p = decode_problem();
    p.weights = Weights::kSigmoid;
    const int64 rows = 2 * 8;
    EXPECT_EQ(dense_forward_workspace(p, 5), 5U * rows * 64 * sizeof(float));
    auto* workspace = reinterpret_cast<float*>(0x100000);
    const SplitLaunch launch = dense_split_launch(p, aligned_args(), 5, workspace);
    EXPECT_EQ(launch.parts.params.states, nullptr);
    EXPECT_EQ(launch.parts.params.args.o, workspace);
    EXPECT_EQ(launch.merge.states, nullptr);
    EXPECT_EQ(launch.merge.o_parts, workspace);
}

TEST(DenseForward, CausalRunsStartWithTheLongestTiles) {
    DenseProblem p = dense_problem_of(DType::kBF16, 64);
    EXPECT_FALSE(dense_forward_launch(p, aligned_args()).params.last_tile_first);
    p.window_right = 0;
    EXPECT_TRUE(dense_forward_launch(p, aligned_args()).params.last_tile_first);
}

TEST(DenseForward, TokensOfPagesAreOneDimensionFurther) {
    DenseProblem p = dense_problem_of(DType::kF16, 64);
    p.paged = true;
    p.k = contiguous(10, 16, 2, 64, DType::kF16);  // [pages, page_size, Hk, D]
    p.v = contiguous(10, 16, 4, 64, DType::kF16);
    const ForwardLaunch launch = dense_forward_launch(p, aligned_args());
    EXPECT_EQ(launch.params.token_bytes.q, 64 * 2);
    EXPECT_EQ(launch.params.token_bytes.k, 2 * 64 * 2);
    EXPECT_EQ(launch.params.token_bytes.v, 4 * 64 * 2);
}

TEST(DenseForward, EveryTileFitsTheSharedMemoryOfEveryGpu) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const int32 head_dim : kHeadDims) {
            for (const Features features : {Features::kGeneral, Features::kLean}) {
                const ForwardKey key{dtype, head_dim, features};
                EXPECT_LE(key.tile().shared_bytes(), kSharedBytesOfEveryGpu) << key.name();
            }
        }
    }
}

TEST(DenseForward, RefusalsSayWhatWasAskedAndWhatIsAllowed) {
    EXPECT_TRUE(supports_dense_forward(dense_problem_of(DType::kF32, 256)).ok());
    EXPECT_EQ(supports_dense_forward(dense_problem_of(DType::kF16, 257)).message(),
              "the larger head dim is 257; CUDA kernels take up to 256");
    EXPECT_EQ(supports_dense_forward(dense_problem_of(DType::kI8, 64)).message(),
              "q is i8; CUDA kernels take f32, f16 and bf16");
    DenseProblem longest = dense_problem_of(DType::kF16, 64);
    longest.kv_len = int64{1} << 31;
    EXPECT_EQ(supports_dense_forward(longest).message(),
              "a sequence has 2147483648 tokens; CUDA kernels take up to 2147483391");
    DenseProblem many = dense_problem_of(DType::kF16, 64);
    many.batch = int64{1} << 27;
    EXPECT_EQ(supports_dense_forward(many).message(),
              "134217728 sequences with 40 tiles of queries each; CUDA kernels take up to "
              "2147483647 tiles in all");
}

}  // namespace
}  // namespace fattn::cuda
