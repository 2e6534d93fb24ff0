// Permuted block-sparse attention at the C boundary: every wrong problem and run is refused with
// its message before anything is written, and what a plan and a selection say about themselves.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "api/handles.h"
#include "support/permuted_block_truth.h"

namespace fattn::test {
namespace {

constexpr fattn_status kInvalid = FATTN_STATUS_INVALID_ARGUMENT;

fattn_permuted_block_problem small_blocks() {
    fattn_permuted_block_problem p{};
    p.struct_size = sizeof p;
    p.q = layout(2, 4, 40, 8);
    p.k = layout(2, 2, 40, 8);
    p.v = layout(2, 1, 40, 16);
    p.block_size = 8;
    p.segment_size = 16;
    return p;
}

/// One key head, blocks of one token.
void sizes(fattn_permuted_block_problem& p, int64_t heads, int64_t q_len, int64_t kv_len,
           int64_t head_dim) {
    p.q = layout(1, heads, q_len, head_dim);
    p.k = layout(1, 1, kv_len, head_dim);
    p.v = layout(1, 1, kv_len, 1);
    p.block_size = p.segment_size = 1;
}

struct PermutedWrongProblem {
    const char* text;
    std::function<void(fattn_permuted_block_problem&)> spoil;
    fattn_status status = FATTN_STATUS_INVALID_ARGUMENT;
};

TEST(PermutedBlockCheck, WrongProblemsAreRefused) {
    const Device device = cpu_device();
    const std::vector<PermutedWrongProblem> wrong = {
        {"q.rank is 0, so q is not given; it must be (rank 4)", [](auto& p) { p.q.rank = 0; }},
        {"block_size is -1; allowed are 1 to 2147483647, and 0 for 128",
         [](auto& p) { p.block_size = -1; }},
        {"segment_size is 20; it must be a multiple of 8, the block_size",
         [](auto& p) { p.segment_size = 20; }},
        {"query_block is 3; it must divide 8, the block_size", [](auto& p) { p.query_block = 3; }},
        {"query_block is 16; it must divide 8, the block_size",
         [](auto& p) { p.query_block = 16; }},
        {"max_blocks is -2; allowed are positive numbers, and 0 for the worst case",
         [](auto& p) { p.max_blocks = -2; }},
        {"coverage is given, but flags lack FATTN_PERMUTED_BLOCK_HAS_COVERAGE",
         [](auto& p) { p.coverage = 0.5F; }},
        {"coverage is 0; allowed are 0 to 1, 0 excluded",
         [](auto& p) { p.flags = FATTN_PERMUTED_BLOCK_HAS_COVERAGE; }},
        {"coverage is 1.5; allowed are 0 to 1, 0 excluded",
         [](auto& p) {
             p.flags = FATTN_PERMUTED_BLOCK_HAS_COVERAGE;
             p.coverage = 1.5F;
         }},
        {"scale is given, but flags lack FATTN_PERMUTED_BLOCK_HAS_SCALE",
         [](auto& p) { p.scale = 2; }},
        {"the layout of a gradient is given, but flags lack FATTN_PERMUTED_BLOCK_BACKWARD",
         [](auto& p) { p.d_q = p.q; }},
        {"q.shape[2] is 48; allowed are 0 to 40, the tokens of k, whose last ones the queries are",
         [](auto& p) { p.q = layout(2, 4, 48, 8); }},
        {"q.shape[2] is 30 and k.shape[2] is 40; their difference 10 must be a multiple of 8, the "
         "query_block",
         [](auto& p) { p.q = layout(2, 4, 30, 8); }},
        {"permutation of this problem has 2147483647 times 2147483647 times 1 elements; allowed "
         "are at most 144115188075855871",
         [](auto& p) { sizes(p, 2147483647, 1, 2147483647, 1); }},
        {"block_mask of this problem has 1048576 times 1048576 times 1048576 elements; allowed are "
         "at most 144115188075855871",
         [](auto& p) { sizes(p, 1048576, 1048576, 1048576, 1); }},
        {"workspace of this problem has 1048576 times 2147483647 times 256 elements; allowed are "
         "at most 144115188075855871",
         [](auto& p) { sizes(p, 1048576, 1, 2147483647, 256); }},
        {"flags hold unknown bits (128); this library knows 127", [](auto& p) { p.flags = 128; },
         FATTN_STATUS_UNSUPPORTED},
        {"reserved is 1; allowed is 0", [](auto& p) { p.reserved = 1; }, FATTN_STATUS_UNSUPPORTED}};
    for (const PermutedWrongProblem& w : wrong) {
        fattn_permuted_block_problem problem = small_blocks();
        w.spoil(problem);
        fattn_plan* plan = nullptr;
        EXPECT_FAILS(fattn_permuted_block_plan(device.get(), &problem, &plan), w.status, w.text);
        EXPECT_EQ(plan, nullptr);
        EXPECT_FAILS(fattn_supports_permuted_block(device.get(), &problem), w.status, w.text);
    }
}

TEST(PermutedBlockCheck, TheSmallProblemIsSupported) {
    const Device device = cpu_device();
    const fattn_permuted_block_problem problem = small_blocks();
    EXPECT_EQ(fattn_supports_permuted_block(device.get(), &problem), FATTN_STATUS_OK);
}

/// A case with a selection, and its plan on the first device.
class PermutedBlockRuns : public testing::Test {
  protected:
    PermutedBlockRuns() : c_(spec()), plan_(make_plan(cpu_devices().front(), c_)) {
        c_.draw_selection(0.5);
    }

    static PermutedBlockSpec spec() {
        PermutedBlockSpec s;
        s.batch = 2;
        s.num_q_heads = 2;
        s.q_len = s.kv_len = 22;
        s.backward = true;
        return s;
    }

    void expect_refused(const char* text) {
        c_.reset_outputs();
        const Tensor untouched = c_.o;
        const fattn_permuted_block_forward_args args = c_.c_forward();
        EXPECT_FAILS(fattn_permuted_block_forward(plan_.get(), &args, nullptr), kInvalid, text);
        EXPECT_TRUE(c_.o.same_bytes(untouched)) << "nothing is written before all checks";
        const fattn_permuted_block_backward_args back = c_.c_backward();
        EXPECT_FAILS(fattn_permuted_block_backward(plan_.get(), &back, nullptr), kInvalid, text);
        fattn_schedule_stats stats{};
        stats.struct_size = sizeof stats;
        const fattn_permuted_block_selection selection = selection_of_case();
        EXPECT_FAILS(fattn_permuted_block_stats(plan_.get(), &selection, &stats), kInvalid, text);
    }

    fattn_permuted_block_selection selection_of_case() const {
        fattn_permuted_block_selection selection{};
        selection.struct_size = sizeof selection;
        selection.permutation = c_.permutation.data();
        selection.block_mask = c_.block_mask.data();
        return selection;
    }

    PermutedBlockCase c_;
    PlanHandle plan_;
};

TEST_F(PermutedBlockRuns, TokensOfOtherSegmentsAreRefused) {
    c_.permutation[22 + 3] = 8;
    expect_refused(
        "permutation of head 1 (of all entries) puts token 8 into slot 3; allowed are tokens 0 up "
        "to 8, excluded, the segment of the slot");
    c_.permutation[22 + 3] = std::numeric_limits<int32>::min();
    expect_refused(
        "permutation of head 1 (of all entries) puts token -2147483648 into slot 3; allowed are "
        "tokens 0 up to 8, excluded, the segment of the slot");
}

TEST_F(PermutedBlockRuns, TokensThatComeTwiceAreRefused) {
    for (int32 j = 0; j < 8; ++j) c_.permutation[static_cast<std::size_t>(66 + j)] = j;
    c_.permutation[66 + 5] = 2;
    expect_refused(
        "permutation of head 3 (of all entries) holds token 2 twice, the second time in slot 5; "
        "every token of a segment must come once");
}

TEST_F(PermutedBlockRuns, MissingTensorsAndOverlapsAreRefused) {
    fattn_permuted_block_select_args select = c_.c_select();
    select.permutation = nullptr;
    EXPECT_FAILS(fattn_permuted_block_select(plan_.get(), &select, nullptr), kInvalid,
                 "permutation is NULL; needed are 88 elements");
    select = c_.c_select();
    select.block_mask = nullptr;
    EXPECT_FAILS(fattn_permuted_block_select(plan_.get(), &select, nullptr), kInvalid,
                 "block_mask is NULL; needed are [2, 2, 6, 6] of u8");
    select = c_.c_select();
    select.coverage = static_cast<float*>(c_.q.data());
    EXPECT_FAILS(fattn_permuted_block_select(plan_.get(), &select, nullptr), kInvalid,
                 "coverage and q overlap in memory; an output must not meet an input");
    fattn_permuted_block_forward_args forward = c_.c_forward();
    forward.flags = 1;
    EXPECT_FAILS(fattn_permuted_block_forward(plan_.get(), &forward, nullptr),
                 FATTN_STATUS_UNSUPPORTED, "args->flags is 1; this library knows none");
}

TEST_F(PermutedBlockRuns, WrongGatesAreRefused) {
    fattn_permuted_block_gate_args right{};
    right.struct_size = sizeof right;
    right.q = c_.q.data();
    right.k = c_.k.data();
    right.block_mask = c_.block_mask.data();
    right.top_k = 2;
    ASSERT_EQ(fattn_permuted_block_gate(plan_.get(), &right, nullptr), FATTN_STATUS_OK);
    std::vector<float> scores(c_.block_mask.size());
    const struct {
        const char* text;
        std::function<void(fattn_permuted_block_gate_args&)> spoil;
    } wrong[] = {
        {"gate is 3; allowed are 0 (MoBA), 1 (top k) and 2 (threshold)",
         [](auto& a) { a.gate = 3; }},
        {"top_k is 0; a gate of the highest scores needs at least 1", [](auto& a) { a.top_k = 0; }},
        {"threshold is 2; allowed are 0 to 1",
         [](auto& a) {
             a.gate = FATTN_BLOCK_GATE_THRESHOLD;
             a.threshold = 2;
         }},
        {"threshold is nan; allowed are 0 to 1",
         [](auto& a) {
             a.gate = FATTN_BLOCK_GATE_THRESHOLD;
             a.threshold = std::numeric_limits<float>::quiet_NaN();
         }},
        {"q is given; with scores it is not read", [&](auto& a) { a.scores = scores.data(); }},
        {"k is NULL; needed are [2, 1, 22, 4] of f32", [](auto& a) { a.k = nullptr; }}};
    for (const auto& w : wrong) {
        fattn_permuted_block_gate_args args = right;
        w.spoil(args);
        EXPECT_FAILS(fattn_permuted_block_gate(plan_.get(), &args, nullptr), kInvalid, w.text);
    }
}

TEST_F(PermutedBlockRuns, PlansOfOtherFamiliesAreRefused) {
    const Device device = cpu_device();
    const Plan dense = make_plan(device.get(), small_problem());
    const fattn_permuted_block_forward_args args = c_.c_forward();
    EXPECT_FAILS(fattn_permuted_block_forward(dense.get(), &args, nullptr), kInvalid,
                 "plan is of family 0; a permuted block plan is needed (family 3)");
}

TEST_F(PermutedBlockRuns, SharedHeadsMustHaveEqualSelections) {
    PermutedBlockSpec s = spec();
    s.shared = true;
    PermutedBlockCase shared(s);
    shared.draw_selection(0.5);
    const PlanHandle plan = make_plan(cpu_devices().front(), shared);
    ASSERT_TRUE(run_forward(plan.get(), shared));
    shared.block_mask[36] ^= 1;
    fattn_permuted_block_forward_args args = shared.c_forward();
    EXPECT_FAILS(fattn_permuted_block_forward(plan.get(), &args, nullptr), kInvalid,
                 "block_mask of head 1 (of all entries) differs from that of head 0; with "
                 "FATTN_PERMUTED_BLOCK_SHARE_PERMUTATION query heads of a KV head must have equal "
                 "ones");
    shared.block_mask[36] ^= 1;
    std::swap(shared.permutation[22], shared.permutation[23]);
    args = shared.c_forward();
    EXPECT_FAILS(fattn_permuted_block_forward(plan.get(), &args, nullptr), kInvalid,
                 "permutation of head 1 (of all entries) differs from that of head 0; with "
                 "FATTN_PERMUTED_BLOCK_SHARE_PERMUTATION query heads of a KV head must have equal "
                 "ones");
}

TEST_F(PermutedBlockRuns, ASmallWorkspaceIsRefusedAndTheStatedOneIsEnough) {
    uint64 bytes = 0;
    ASSERT_EQ(fattn_plan_workspace(plan_.get(), FATTN_PASS_FORWARD, 1, &bytes, nullptr),
              FATTN_STATUS_OK);
    std::vector<std::byte> memory(bytes + 64);
    void* start = memory.data();
    std::size_t room = memory.size();
    fattn_run run{};
    run.struct_size = sizeof run;
    run.max_threads = 1;
    run.workspace = std::align(64, bytes, start, room);
    run.workspace_bytes = bytes;
    const fattn_permuted_block_select_args select = c_.c_select();
    const fattn_permuted_block_forward_args forward = c_.c_forward();
    c_.reset_selection();
    const fattn_permuted_block_select_args fresh = c_.c_select();
    EXPECT_EQ(fattn_permuted_block_select(plan_.get(), &fresh, &run), FATTN_STATUS_OK)
        << fattn_last_error();
    EXPECT_EQ(fattn_permuted_block_forward(plan_.get(), &forward, &run), FATTN_STATUS_OK)
        << fattn_last_error();
    run.workspace_bytes = bytes - 1;
    EXPECT_EQ(fattn_permuted_block_select(plan_.get(), &select, &run),
              FATTN_STATUS_WORKSPACE_TOO_SMALL);
}

TEST_F(PermutedBlockRuns, CancelledRunsSaySo) {
    const int32 cancel = 1;
    fattn_run run{};
    run.struct_size = sizeof run;
    run.cancel = &cancel;
    const fattn_permuted_block_select_args select = c_.c_select();
    EXPECT_EQ(fattn_permuted_block_select(plan_.get(), &select, &run), FATTN_STATUS_CANCELLED);
}

TEST_F(PermutedBlockRuns, StatsAndTilesCountWhatTheSelectionShows) {
    const PermutedBlockProblem p = c_.problem();
    const std::vector<uint8> visible =
        reference::visible_tokens(p, c_.permutation.data(), c_.block_mask.data());
    double needed = 0;
    for (const uint8 sees : visible) needed += sees;
    fattn_schedule_stats stats{};
    stats.struct_size = sizeof stats;
    const fattn_permuted_block_selection selection = selection_of_case();
    ASSERT_EQ(fattn_permuted_block_stats(plan_.get(), &selection, &stats), FATTN_STATUS_OK);
    EXPECT_EQ(stats.needed_pairs, needed);
    EXPECT_GE(stats.visited_pairs, needed);
    EXPECT_EQ(stats.num_q_tiles, 6);
    EXPECT_EQ(stats.num_kv_tiles, 6);
    int64 full = 0, partial = 0;
    for (int64 b = 0; b < 2; ++b)
        for (int64 h = 0; h < 2; ++h) {
            std::vector<uint8> tiles(36);
            ASSERT_EQ(fattn_permuted_block_tiles(plan_.get(), &selection, b, h, tiles.data(),
                                                 tiles.size()),
                      FATTN_STATUS_OK);
            const int64 head = b * 2 + h;
            for (int64 n = 0; n < 36; ++n) {
                // Pairs of the tile, counted one by one.
                int64 seen = 0, pairs = 0;
                for (int64 i = n / 6 * 4; i < std::min<int64>(22, n / 6 * 4 + 4); ++i)
                    for (int64 s = n % 6 * 4; s < std::min<int64>(22, n % 6 * 4 + 4); ++s, ++pairs)
                        seen += visible[static_cast<std::size_t>(
                            (head * 22 + i) * 22 +
                            c_.permutation[static_cast<std::size_t>(head * 22 + s)])];
                const bool whole = pairs == 16;
                const uint8 expected = seen == 0                ? FATTN_TILE_SKIPPED
                                       : whole && seen == pairs ? FATTN_TILE_FULL
                                                                : FATTN_TILE_PARTIAL;
                EXPECT_EQ(tiles[static_cast<std::size_t>(n)], expected) << head << " " << n;
                full += expected == FATTN_TILE_FULL;
                partial += expected == FATTN_TILE_PARTIAL;
            }
        }
    EXPECT_EQ(stats.full_tiles, full);
    EXPECT_EQ(stats.partial_tiles, partial);
    EXPECT_EQ(stats.skipped_tiles, 4 * 36 - full - partial);
}

TEST_F(PermutedBlockRuns, APlanCountsEveryBlockAsKept) {
    fattn_schedule_stats of_plan{}, of_all{};
    of_plan.struct_size = of_all.struct_size = sizeof of_all;
    ASSERT_EQ(fattn_plan_schedule_stats(plan_.get(), &of_plan), FATTN_STATUS_OK);
    ASSERT_EQ(fattn_permuted_block_stats(plan_.get(), nullptr, &of_all), FATTN_STATUS_OK);
    fattn_permuted_block_selection selection{};
    selection.struct_size = sizeof selection;
    fattn_schedule_stats of_none = of_all;
    ASSERT_EQ(fattn_permuted_block_stats(plan_.get(), &selection, &of_none), FATTN_STATUS_OK);
    EXPECT_EQ(of_none.visited_pairs, of_all.visited_pairs);
    selection.flags = 1;
    EXPECT_FAILS(fattn_permuted_block_stats(plan_.get(), &selection, &of_none),
                 FATTN_STATUS_UNSUPPORTED, "selection->flags is 1; this library knows none");
    EXPECT_EQ(of_plan.visited_pairs, of_all.visited_pairs);
    EXPECT_EQ(of_plan.needed_pairs, 4 * 22 * 23 / 2);
    fattn_plan_description description{};
    description.struct_size = sizeof description;
    ASSERT_EQ(fattn_plan_info(plan_.get(), &description), FATTN_STATUS_OK);
    EXPECT_EQ(description.family, static_cast<fattn_family>(FATTN_FAMILY_PERMUTED_BLOCK));
    EXPECT_EQ(description.forward_flops, 2 * (4 + 4) * of_all.visited_pairs);
}

}  // namespace
}  // namespace fattn::test
