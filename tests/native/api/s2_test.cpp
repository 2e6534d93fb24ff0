// S2 plans at the C boundary: every wrong problem is refused with its message, defaults and flags
// mean what the header says, and the queries answer what the pattern covers.
#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <vector>

#include "api/handles.h"
#include "api/s2_check.h"
#include "support/s2_case.h"

namespace fattn::test {
namespace {

/// q [2, 4, 40, 8], k [2, 2, 50, 8], v [2, 2, 50, 16], f32.
fattn_s2_problem small_s2() {
    fattn_s2_problem p{};
    p.struct_size = sizeof(p);
    p.q = layout(2, 4, 40, 8);
    p.k = layout(2, 2, 50, 8);
    p.v = layout(2, 2, 50, 16);
    p.block_size = 8;
    p.local_blocks = 2;
    p.vertical_stride = 4;
    return p;
}

Plan make_s2_plan(fattn_device* device, const fattn_s2_problem& problem) {
    fattn_plan* plan = nullptr;
    EXPECT_EQ(fattn_s2_plan(device, &problem, &plan), FATTN_STATUS_OK) << fattn_last_error();
    return Plan(plan);
}

TEST(S2Api, WrongProblemsAreRefusedByName) {
    struct Wrong {
        const char* text;
        std::function<void(fattn_s2_problem&)> spoil;
        fattn_status status = FATTN_STATUS_INVALID_ARGUMENT;
    };
    const std::vector<Wrong> wrong = {
        {"flags hold unknown bits (64); this library knows 63", [](auto& p) { p.flags = 64; },
         FATTN_STATUS_UNSUPPORTED},
        {"scale is given, but flags lack FATTN_S2_HAS_SCALE", [](auto& p) { p.scale = 1; }},
        {"the layout of a gradient is given, but flags lack FATTN_S2_BACKWARD",
         [](auto& p) { p.d_q = p.q; }},
        {"q.dtype is u8; allowed are f32, f16, bf16", [](auto& p) { p.q.dtype = FATTN_DTYPE_U8; }},
        {"q.shape[1] is 65537; allowed are 0 to 65536, the query heads",
         [](auto& p) { p.q.shape[1] = 65537; }},
        {"block_size is 0; allowed are 1 to 2147483647, the tokens of a block",
         [](auto& p) { p.block_size = 0; }},
        {"local_blocks is -1; allowed are 1 to 2147483647, the blocks of the local band, the "
         "query's own included",
         [](auto& p) { p.local_blocks = -1; }},
        {"vertical_stride is 0; allowed are 1 to 2147483647, the distance of the distant blocks a "
         "head sees",
         [](auto& p) { p.vertical_stride = 0; }},
        {"head_offset is 2147483648; allowed are -2147483647 to 2147483647, added to block numbers",
         [](auto& p) { p.head_offset = int64{1} << 31; }},
        {"dense_heads is 3; allowed are 0 to 2, the heads of k",
         [](auto& p) { p.dense_heads = 3; }},
        {"dense_heads is 5; allowed are 0 to 4, the query heads",
         [](auto& p) {
             p.flags = FATTN_S2_PATTERN_PER_QUERY_HEAD;
             p.dense_heads = 5;
         }},
    };
    const Device device = cpu_device();
    for (const Wrong& w : wrong) {
        fattn_s2_problem problem = small_s2();
        w.spoil(problem);
        fattn_plan* plan = nullptr;
        EXPECT_FAILS(fattn_s2_plan(device.get(), &problem, &plan), w.status, w.text);
        EXPECT_EQ(plan, nullptr);
        EXPECT_FAILS(fattn_supports_s2(device.get(), &problem), w.status, w.text);
    }
    const fattn_s2_problem right = small_s2();
    EXPECT_EQ(fattn_supports_s2(device.get(), &right), FATTN_STATUS_OK);
    EXPECT_FAILS(fattn_s2_plan(device.get(), &right, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is NULL; a place for the handle is needed");
}

TEST(S2Api, FieldsAndFlagsBecomeThePattern) {
    fattn_s2_problem given = small_s2();
    given.flags = FATTN_S2_NON_CAUSAL | FATTN_S2_HOMOGENEOUS | FATTN_S2_PATTERN_PER_QUERY_HEAD |
                  FATTN_S2_HAS_SCALE | FATTN_S2_BACKWARD;
    given.scale = 0.5F;
    given.head_offset = -3;
    given.dense_heads = 4;
    api::CheckedS2 checked;
    ASSERT_TRUE(api::check_s2_problem(given, &checked).ok());
    EXPECT_EQ(checked.pattern.block_size, 8);
    EXPECT_EQ(checked.pattern.local_blocks, 2);
    EXPECT_EQ(checked.pattern.vertical_stride, 4);
    EXPECT_EQ(checked.pattern.head_offset, -3);
    EXPECT_EQ(checked.pattern.dense_heads, 4);
    EXPECT_EQ(checked.pattern.num_q_heads, 4);
    EXPECT_EQ(checked.pattern.num_k_heads, 2);
    EXPECT_TRUE(checked.pattern.per_query_head && checked.pattern.homogeneous);
    EXPECT_FALSE(checked.pattern.causal);
    EXPECT_TRUE(checked.dense.problem.backward);
    EXPECT_EQ(checked.dense.problem.scale, 0.5F);
    EXPECT_FALSE(checked.dense.problem.has_mask);
    EXPECT_EQ(checked.dense.problem.window_right, -1);
    ASSERT_TRUE(api::check_s2_problem(small_s2(), &checked).ok());
    EXPECT_TRUE(checked.pattern.causal);
    EXPECT_FALSE(checked.pattern.per_query_head || checked.pattern.homogeneous);
}

TEST(S2Api, PlansOfOtherFamiliesAreRefused) {
    const Device device = cpu_device();
    const Plan dense = make_plan(device.get(), small_problem());
    const Plan s2 = make_s2_plan(device.get(), small_s2());
    fattn_s2_forward_args args{};
    args.struct_size = sizeof(args);
    EXPECT_FAILS(fattn_s2_forward(dense.get(), &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is of family 0; a s2 plan is needed (family 4)");
    fattn_dense_forward_args dense_args{};
    dense_args.struct_size = sizeof(dense_args);
    EXPECT_FAILS(fattn_dense_forward(s2.get(), &dense_args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is of family 4; a dense plan is needed (family 0)");
    EXPECT_FAILS(fattn_s2_forward(nullptr, &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "plan is NULL");
    EXPECT_FAILS(fattn_s2_forward(s2.get(), &args, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "args->q is NULL; needed are [2, 4, 40, 8] of f32");
    fattn_s2_backward_args backward{};
    backward.struct_size = sizeof(backward);
    EXPECT_FAILS(fattn_s2_backward(s2.get(), &backward, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "a backward run was asked for; the plan was made without FATTN_S2_BACKWARD");
}

/// A problem with some shards and its data.
S2Spec small_case() {
    S2Spec spec;
    spec.dense.q_len = spec.dense.kv_len = 40;
    spec.dense.head_dim = spec.dense.head_dim_v = 8;
    spec.dense.backward = true;
    spec.block_size = 8;
    return spec;
}

TEST(S2Api, OffsetsMoveWholeBlocks) {
    S2Case c(small_case());
    const CpuDevice& device = cpu_devices().back();
    const PlanHandle plan = make_plan(device, c);
    ASSERT_TRUE(run_forward(plan.get(), c));
    c.dense.reset_gradients();
    const Tensor o = c.dense.o;
    fattn_s2_forward_args forward = c.c_forward();
    forward.q_position_offset = 12;
    EXPECT_FAILS(fattn_s2_forward(plan.get(), &forward, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "args->q_position_offset is 12; allowed are multiples of 8, the block_size, from "
                 "-2147483647 to 2147483647");
    forward.q_position_offset = -8;
    forward.k_position_offset = int64_t{1} << 31;
    EXPECT_FAILS(fattn_s2_forward(plan.get(), &forward, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "args->k_position_offset is 2147483648; allowed are multiples of 8, the "
                 "block_size, from -2147483647 to 2147483647");
    fattn_s2_backward_args backward = c.c_backward();
    backward.k_position_offset = -1;
    EXPECT_FAILS(fattn_s2_backward(plan.get(), &backward, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "args->k_position_offset is -1; allowed are multiples of 8, the block_size, from "
                 "-2147483647 to 2147483647");
    EXPECT_TRUE(c.dense.o.same_bytes(o)) << "nothing is written before all checks";
    EXPECT_TRUE(c.dense.d_k.same_bytes(Tensor(c.dense.d_k.layout())));
}

TEST(S2Api, ArgumentsWithoutOffsetsStandWhereTheyAre) {
    S2Case c(small_case());
    const CpuDevice& device = cpu_devices().back();
    const PlanHandle plan = make_plan(device, c);
    ASSERT_TRUE(run_forward(plan.get(), c));
    ASSERT_TRUE(run_backward(plan.get(), c));
    const Tensor o = c.dense.o, d_k = c.dense.d_k;
    // What lies behind the struct of a caller who does not know the fields.
    c.dense.reset_outputs();
    fattn_s2_forward_args forward = c.c_forward();
    forward.struct_size = offsetof(fattn_s2_forward_args, q_position_offset);
    forward.q_position_offset = forward.k_position_offset = 3;
    ASSERT_TRUE(ok(fattn_s2_forward(plan.get(), &forward, nullptr)));
    EXPECT_TRUE(c.dense.o.same_bytes(o));
    fattn_s2_backward_args backward = c.c_backward();
    backward.struct_size = offsetof(fattn_s2_backward_args, q_position_offset);
    backward.q_position_offset = backward.k_position_offset = 3;
    ASSERT_TRUE(ok(fattn_s2_backward(plan.get(), &backward, nullptr)));
    EXPECT_TRUE(c.dense.d_k.same_bytes(d_k));
}

TEST(S2Api, QueriesSayWhatThePatternCovers) {
    const Device device = cpu_device();
    fattn_s2_problem problem = small_s2();
    problem.k = layout(2, 2, 100, 8);
    problem.v = layout(2, 2, 100, 16);
    const Plan plan = make_s2_plan(device.get(), problem);
    fattn_s2_coverage coverage{};
    coverage.struct_size = sizeof(coverage);
    ASSERT_EQ(fattn_s2_coverage_of(plan.get(), &coverage), FATTN_STATUS_OK);
    EXPECT_EQ(coverage.num_shards, 4);
    EXPECT_EQ(coverage.unseen_shards, 2);  // two patterns, step 1
    EXPECT_GT(coverage.unseen_blocks, 0);
    EXPECT_LT(coverage.unseen_blocks, coverage.allowed_blocks);

    fattn_schedule_stats stats{};
    stats.struct_size = sizeof(stats);
    ASSERT_EQ(fattn_plan_schedule_stats(plan.get(), &stats), FATTN_STATUS_OK);
    EXPECT_EQ(stats.tile_q, 8);
    EXPECT_EQ(stats.num_q_tiles, 6);  // positions 60 to 99 begin inside a block
    EXPECT_EQ(stats.num_kv_tiles, 13);
    std::vector<uint8_t> tiles(6 * 13);
    ASSERT_EQ(fattn_plan_schedule_tiles(plan.get(), 1, 3, tiles.data(), tiles.size()),
              FATTN_STATUS_OK);
    // Head 3 reads key head 1, whose distant blocks are 3 mod 4; query block 12 is the last.
    EXPECT_EQ(std::vector<uint8_t>(tiles.end() - 13, tiles.end()),
              (std::vector<uint8_t>{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1}));

    std::vector<uint8_t> needed(13);
    ASSERT_EQ(fattn_s2_needed_blocks(plan.get(), 1, 80, needed.data(), needed.size()),
              FATTN_STATUS_OK);
    EXPECT_EQ(needed, (std::vector<uint8_t>{0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 1, 1}));
    EXPECT_FAILS(fattn_s2_needed_blocks(plan.get(), 2, 0, needed.data(), needed.size()),
                 FATTN_STATUS_INVALID_ARGUMENT, "k_head is 2; allowed are 0 up to 2, excluded");
    EXPECT_FAILS(fattn_s2_needed_blocks(plan.get(), 0, -1, needed.data(), needed.size()),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "first_position is -1; allowed are 0 to 2147483647");
    EXPECT_FAILS(fattn_s2_needed_blocks(plan.get(), 0, 0, needed.data(), 12),
                 FATTN_STATUS_INVALID_ARGUMENT, "num_bytes is 12; there are 13 key blocks");
    EXPECT_FAILS(fattn_s2_needed_blocks(plan.get(), 0, 0, nullptr, 13),
                 FATTN_STATUS_INVALID_ARGUMENT, "needed is NULL; room for 13 bytes is needed");
}

TEST(BlockPatternApi, WrongPatternsAreRefusedByName) {
    const auto small = [] {
        fattn_block_pattern p{};
        p.struct_size = sizeof(p);
        p.num_heads = 2;
        p.q_len = 6;
        p.kv_len = 10;
        p.block_size = 2;
        p.window_blocks = 1;
        return p;
    };
    struct Wrong {
        const char* text;
        std::function<void(fattn_block_pattern&)> spoil;
        fattn_status status = FATTN_STATUS_INVALID_ARGUMENT;
    };
    const std::vector<Wrong> wrong = {
        {"flags hold unknown bits (2); this library knows 1", [](auto& p) { p.flags = 2; },
         FATTN_STATUS_UNSUPPORTED},
        {"kind is 7; this library knows 0 to 6", [](auto& p) { p.kind = 7; },
         FATTN_STATUS_UNSUPPORTED},
        {"reserved is not zero", [](auto& p) { p.reserved = 1; }, FATTN_STATUS_UNSUPPORTED},
        {"num_heads is -1; allowed are 0 to 2147483647", [](auto& p) { p.num_heads = -1; }},
        {"q_len is 12; allowed are 0 to 10", [](auto& p) { p.q_len = 12; }},
        {"block_size is 0; allowed are 1 to 2147483647", [](auto& p) { p.block_size = 0; }},
        {"q_len is 7 and kv_len is 10; the difference must be a multiple of block_size, 2",
         [](auto& p) { p.q_len = 7; }},
        {"sink_blocks is -1; allowed are 0 to 2147483647", [](auto& p) { p.sink_blocks = -1; }},
        {"stride_blocks is 0; allowed are 1 to 2147483647",
         [](auto& p) { p.kind = FATTN_BLOCK_PATTERN_STRIDED; }},
        {"summary_blocks is 3; allowed are 0 to 2",
         [](auto& p) {
             p.kind = FATTN_BLOCK_PATTERN_FIXED;
             p.stride_blocks = 2;
             p.summary_blocks = 3;
         }},
        {"head_windows is NULL; this kind needs one number a head",
         [](auto& p) { p.kind = FATTN_BLOCK_PATTERN_HEAD_WINDOWS; }},
        {"head_streaming is NULL; this kind needs one byte a head",
         [](auto& p) { p.kind = FATTN_BLOCK_PATTERN_HEAD_CLASSES; }},
    };
    std::vector<uint8_t> mask(2 * 3 * 5);
    for (const Wrong& w : wrong) {
        fattn_block_pattern p = small();
        w.spoil(p);
        EXPECT_FAILS(fattn_block_pattern_mask(&p, mask.data(), mask.size()), w.status, w.text);
    }
    const fattn_block_pattern right = small();
    EXPECT_FAILS(fattn_block_pattern_mask(&right, mask.data(), 29), FATTN_STATUS_INVALID_ARGUMENT,
                 "num_bytes is 29; the mask has 2 times 3 times 5 bytes");
    EXPECT_FAILS(fattn_block_pattern_mask(&right, nullptr, 30), FATTN_STATUS_INVALID_ARGUMENT,
                 "mask is NULL; room for 30 bytes is needed");
    ASSERT_EQ(fattn_block_pattern_mask(&right, mask.data(), mask.size()), FATTN_STATUS_OK);
    EXPECT_EQ(mask, (std::vector<uint8_t>{0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1,
                                          0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}));
}

TEST(BlockPatternApi, HeadsWithoutQueriesTakeNoTime) {
    fattn_block_pattern p{};
    p.struct_size = sizeof(p);
    p.num_heads = 2147483647;
    p.block_size = 1;
    EXPECT_EQ(fattn_block_pattern_mask(&p, nullptr, 0), FATTN_STATUS_OK);
}

}  // namespace
}  // namespace fattn::test
