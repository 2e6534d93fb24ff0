// How rows of gathered runs are numbered, and what every tile of the younger
// kernels needs of a GPU.
#include "cuda/host/gathered_runs.h"

#include <gtest/gtest.h>

#include "cuda/device/block_select_params.h"
#include "cuda/host/launch_parts.h"
#include "cuda/host/lightning_runs.h"

namespace fattn::cuda {
namespace {

DenseProblem grouped_problem(int64 q_len, int64 kv_len) {
    DenseProblem p{};
    p.batch = 2;
    p.num_q_heads = 12;
    p.num_k_heads = p.num_v_heads = 2;
    p.q_len = q_len;
    p.kv_len = kv_len;
    p.head_dim = p.head_dim_v = 128;
    p.q = contiguous(2, 12, q_len, 128, DType::kBF16);
    p.k = p.v = contiguous(2, 2, kv_len, 128, DType::kBF16);
    p.o = p.q;
    p.window_left = p.window_right = -1;
    p.scale = 0.125F;
    return p;
}

TEST(GatheredRuns, HeadsOfAKeyHeadShareATileWhereTheirRowsFit) {
    const GatheredPattern pattern{};
    const auto rows = [&](int64 q_len, bool alike) {
        return gathered_by_position(grouped_problem(q_len, 100), pattern, alike).queries;
    };
    EXPECT_EQ(rows(10, true).heads, 6);
    EXPECT_EQ(rows(10, true).num_groups, 2);
    EXPECT_EQ(rows(10, true).num_tiles, 1);
    EXPECT_EQ(rows(20, true).heads, 3) << "of 64 rows three times 20 are there";
    EXPECT_EQ(rows(20, true).num_groups, 4);
    EXPECT_EQ(rows(64, true).heads, 1);
    EXPECT_EQ(rows(10, false).heads, 1) << "heads with patterns of their own";
    EXPECT_EQ(rows(130, true).num_tiles, 3);
}

TEST(GatheredRuns, BlocksThatFillADeviceTake32RowsAWarp) {
    const auto name = [](DType dtype, int64 head_dim, PatternKind kind, int32 multiprocessors) {
        GatheredPattern pattern{};
        pattern.kind = kind;
        DenseProblem p = grouped_problem(640, 640);  // 2 * 12 * 10 blocks
        p.head_dim = p.head_dim_v = head_dim;
        p.q.dtype = dtype;
        return gathered_keys(gathered_by_position(p, pattern, false), multiprocessors)
            .forward_name();
    };
    const auto s2 = PatternKind::kS2;
    EXPECT_EQ(name(DType::kBF16, 128, s2, 60), "gathered_forward_bf16_d128_rows32");
    EXPECT_EQ(name(DType::kF16, 100, PatternKind::kPermutedBlock, 60),
              "gathered_forward_f16_d128_rows32");
    EXPECT_EQ(name(DType::kBF16, 128, s2, 61), "gathered_forward_bf16_d128") << "less than a round";
    EXPECT_EQ(name(DType::kBF16, 128, PatternKind::kBox, 60), "gathered_forward_bf16_d128");
    EXPECT_EQ(name(DType::kBF16, 64, s2, 60), "gathered_forward_bf16_d64");
    EXPECT_EQ(name(DType::kF32, 128, s2, 60), "gathered_forward_f32_d128");
}

TEST(GatheredRuns, PatchesAreRepeatedForTheHeadsOfAKeyHead) {
    GatheredPattern pattern{};
    pattern.kind = PatternKind::kBox;
    pattern.boxes.grid = {{single_token_axis(), {20, 2, 3, 1, false}, {30, 1, 5, 1, false}}};
    pattern.boxes.num_tokens = 600;
    pattern.boxes.num_additional = 70;
    set_patches({1, 2, 4}, &pattern.boxes);
    GatheredPattern of_keys = pattern;
    set_patches({1, 8, 8}, &of_keys.boxes);
    const GatheredProblem g = gathered_by_patch(grouped_problem(600, 600), pattern, of_keys);
    EXPECT_EQ(g.queries.positions, 8);
    EXPECT_EQ(g.queries.heads, 6);
    EXPECT_EQ(g.queries.num_tiles, 2 * 5 * 8) << "two dilation groups of 10 x 30 tokens";
    EXPECT_EQ(g.keys.positions, 64);
    EXPECT_EQ(g.keys.num_tiles, 2 * 2 * 4 + 2) << "and two tiles of additional keys";
}

TEST(GatheredRuns, PatchesOfUnevenGroupsMayBeMoreThanTokens) {
    GridBoxes boxes{};
    boxes.grid = {{{3, 2, 1, 1, false}, {3, 2, 1, 1, false}, {1 << 27, 1 << 27, 1, 1, false}}};
    set_patches({1, 1, 1}, &boxes);
    EXPECT_EQ(num_patches(boxes), int64{1} << 31) << "of 1.2e9 tokens";
}

TEST(GatheredRuns, RowsOfAllHeadsAreAsManyAsSmallKernelsTake) {
    DenseProblem p = grouped_problem(128, 100);
    p.batch = 1 << 15;
    p.backward = true;
    const auto status_of = [&p](int64 heads) {
        p.num_q_heads = heads;
        p.q = contiguous(p.batch, heads, 128, 128, DType::kBF16);
        return supports_gathered(gathered_by_position(p, {}, false));
    };
    EXPECT_TRUE(status_of(2047).ok());
    EXPECT_EQ(status_of(2048).message(),
              "q has 8589934592 rows in all heads; the backward on CUDA takes up to 8589934588");
}

TEST(GatheredRuns, EveryTileFitsTheSharedMemoryOfEveryGpu) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const int32 head_dim : kGatheredHeadDims) {
            const GatheredKeys keys{dtype, head_dim, 16};
            EXPECT_LE(gathered_forward_bytes(keys.forward_tile()), kSharedBytesOfEveryGpu)
                << keys.forward_name();
            for (const Side side : {Side::kQueries, Side::kKeys}) {
                EXPECT_LE(gathered_backward_bytes(keys.backward_tile(side)), kSharedBytesOfEveryGpu)
                    << keys.backward_name(side);
            }
        }
        for (const int32 head_dim : kLightningHeadDims) {
            const LightningKey key{dtype, head_dim};
            EXPECT_LE(key.shared_bytes(), kSharedBytesOfEveryGpu) << key.name();
        }
    }
    EXPECT_LE(sort_bytes(kMostSortedKeys), kSharedBytesOfEveryGpu);
    EXPECT_LE(choose_bytes(kMostSharedBlocks, 256), kSharedBytesOfEveryGpu);
}

}  // namespace
}  // namespace fattn::cuda
