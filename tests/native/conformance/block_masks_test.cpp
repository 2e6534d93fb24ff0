// The published block masks through permuted block-sparse attention, against dense attention under
// the same mask.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "reference/dense.h"
#include "support/compare.h"
#include "support/permuted_block_truth.h"

namespace fattn::test {
namespace {

constexpr int64 kBlock = 16;
constexpr int64_t kHeadWindows[] = {1, 5};
constexpr uint8_t kHeadStreaming[] = {1, 0};

PermutedBlockSpec spec_of(bool causal, int64 q_len) {
    PermutedBlockSpec spec;
    spec.num_q_heads = 2;
    spec.kv_len = 13 * kBlock + 5;
    spec.q_len = q_len;
    spec.head_dim = 24;
    spec.head_dim_v = 40;
    // One segment: the mask decides about every block.
    spec.block = kBlock;
    spec.segment = 16 * kBlock;
    spec.causal = causal;
    spec.backward = true;
    return spec;
}

std::vector<uint8> mask_of(fattn_block_pattern_kind kind, const PermutedBlockSpec& spec) {
    fattn_block_pattern pattern{};
    pattern.struct_size = sizeof pattern;
    pattern.flags = spec.causal ? 0U : static_cast<uint32>(FATTN_BLOCK_PATTERN_NON_CAUSAL);
    pattern.kind = kind;
    pattern.num_heads = spec.num_q_heads;
    pattern.q_len = spec.q_len;
    pattern.kv_len = spec.kv_len;
    pattern.block_size = spec.block;
    pattern.sink_blocks = 1;
    pattern.window_blocks = 2;
    pattern.stride_blocks = 3;
    pattern.summary_blocks = 1;
    pattern.random_blocks = 2;
    pattern.seed = 5;
    pattern.head_windows = kHeadWindows;
    pattern.head_streaming = kHeadStreaming;
    const auto blocks = [&](int64 tokens) { return ceil_div(tokens, spec.block); };
    std::vector<uint8> mask(
        static_cast<std::size_t>(spec.num_q_heads * blocks(spec.q_len) * blocks(spec.kv_len)), 9);
    EXPECT_TRUE(ok(fattn_block_pattern_mask(&pattern, mask.data(), mask.size())));
    return mask;
}

/// Dense attention under the mask, token by token.
TruthInTwoSteps<PermutedBlockTruth> masked_dense_truth(PermutedBlockCase& c) {
    const PermutedBlockProblem p = c.problem();
    DenseProblem dense = p;
    dense.window_right = p.causal ? 0 : -1;
    dense.has_mask = true;
    dense.mask = contiguous(1, p.num_q_heads, p.q_len, p.kv_len, DType::kU8);
    std::vector<uint8> tokens;
    for (int64 head = 0; head < p.num_q_heads; ++head)
        for (int64 i = 0; i < p.q_len; ++i)
            for (int64 j = 0; j < p.kv_len; ++j) {
                const int64 row = head * p.num_query_blocks() + i / p.query_block;
                tokens.push_back(
                    c.block_mask[static_cast<std::size_t>(row * p.num_key_blocks() + j / p.block)]);
            }
    DenseForwardArgs forward{};
    forward.q = c.q.data();
    forward.k = c.k.data();
    forward.v = c.v.data();
    forward.mask = tokens.data();
    DenseBackwardArgs backward{};
    backward.q = forward.q;
    backward.k = forward.k;
    backward.v = forward.v;
    backward.mask = forward.mask;
    backward.d_o = c.d_o.data();
    const reference::DenseOutput output = reference::dense_forward(dense, forward);
    const reference::DenseGradients gradients = reference::dense_backward(dense, backward);
    return TruthInTwoSteps<PermutedBlockTruth>([&c, output, gradients](Effort effort) {
        PermutedBlockTruth truth = permuted_block_truth(c, effort);
        truth.output = output;
        truth.gradients = gradients;
        return truth;
    });
}

TEST(BlockMasks, OfEveryKindAreDenseAttentionUnderThem) {
    for (fattn_block_pattern_kind kind = FATTN_BLOCK_PATTERN_SINK_WINDOW;
         kind <= FATTN_BLOCK_PATTERN_HEAD_CLASSES; ++kind) {
        SCOPED_TRACE("kind " + std::to_string(kind));
        for (const bool causal : {true, false}) {
            for (const int64 q_len : {13 * kBlock + 5, 4 * kBlock + 5}) {
                PermutedBlockCase c(spec_of(causal, q_len));
                c.block_mask = mask_of(kind, c.spec());
                TruthInTwoSteps<PermutedBlockTruth> truth = masked_dense_truth(c);
                for (const CpuDevice& device : cpu_devices()) expect_near_truth(device, truth, c);
                ASSERT_FALSE(testing::Test::HasFailure());
            }
        }
    }
}

TEST(BlockMasks, KeepSomethingOfEveryRowAndNotEverything) {
    for (fattn_block_pattern_kind kind = FATTN_BLOCK_PATTERN_SINK_WINDOW;
         kind <= FATTN_BLOCK_PATTERN_HEAD_CLASSES; ++kind) {
        const PermutedBlockSpec spec = spec_of(false, 13 * kBlock + 5);
        const std::vector<uint8> mask = mask_of(kind, spec);
        const auto kept = std::count(mask.begin(), mask.end(), uint8{1});
        EXPECT_GT(kept, static_cast<std::ptrdiff_t>(mask.size() / 14)) << "kind " << kind;
        EXPECT_LT(kept, static_cast<std::ptrdiff_t>(mask.size())) << "kind " << kind;
    }
}

}  // namespace
}  // namespace fattn::test
