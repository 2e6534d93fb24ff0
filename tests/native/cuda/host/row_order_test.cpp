// The order that launches over block masks get on the virtual GPU: by the blocks that their rows
// keep, counted here row by row; and what attention gives in that order.
#include "cuda/host/row_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "cuda/graph_capture.h"
#include "cuda/host/sparse_on_device.h"

namespace fattn::cuda {
namespace {

using test::PermutedBlockCase;
using test::PermutedBlockSpec;
using test::PlanHandle;

/// Numbers of a launch, in its numbering.
struct Ordered {
    std::vector<uint32> counts;
    std::vector<uint32> order;
};

/// Launches over a problem whose rows keep more blocks or fewer, without data.
class RowOrderOnCuda : public SparseOnCuda {
  protected:
    void SetUp() override {
        SparseOnCuda::SetUp();
        if (device == nullptr) return;
        ImageOrigins origins;
        ASSERT_STATUS_OK(process_origins(*driver, &origins));
        store = std::make_unique<KernelStore>(device, origins);
        ASSERT_STATUS_OK(Stream::borrow(device, nullptr, &stream));
        memory = std::make_unique<OnDevice>(device);
    }

    static DenseProblem tensors(int64 batch, int64 q_heads, int64 k_heads, int64 v_heads,
                                int64 tokens) {
        DenseProblem p{};
        p.batch = batch;
        p.num_q_heads = q_heads;
        p.num_k_heads = k_heads;
        p.num_v_heads = v_heads;
        p.q_len = p.kv_len = tokens;
        p.head_dim = p.head_dim_v = 64;
        p.q = p.o = p.d_q = p.d_o = contiguous(batch, q_heads, tokens, 64, DType::kBF16);
        p.k = p.d_k = contiguous(batch, k_heads, tokens, 64, DType::kBF16);
        p.v = p.d_v = contiguous(batch, v_heads, tokens, 64, DType::kBF16);
        p.scale = 1;
        p.backward = true;
        return p;
    }

    /// Draws masks, and puts them where the pattern finds them.
    GatheredProblem blocks(const DenseProblem& p, int32 block, int32 query_block, bool causal) {
        GatheredPattern pattern{};
        pattern.kind = PatternKind::kPermutedBlock;
        pattern.blocks.block = block;
        pattern.blocks.segment = 3 * block;
        pattern.blocks.query_block = query_block;
        pattern.blocks.num_query_blocks = narrow<int32>(ceil_div<int64>(p.q_len, query_block));
        pattern.blocks.num_key_blocks = narrow<int32>(ceil_div<int64>(p.kv_len, block));
        pattern.blocks.causal = causal;
        const int64 rows = p.batch * p.num_q_heads * pattern.blocks.num_query_blocks;
        std::mt19937 random(7);
        mask.clear();
        for (int64 row = 0; row < rows; ++row) {
            const auto chance = static_cast<uint32>(random() % 9);
            for (int32 kb = 0; kb < pattern.blocks.num_key_blocks; ++kb) {
                mask.push_back(random() % 8 < chance ? 1 : 0);
            }
        }
        pattern.blocks.block_mask = memory->put_numbers(mask);
        return gathered_by_position(p, pattern, false);
    }

    bool keeps(const GatheredProblem& g, int64 entry, int64 head, int64 qb, int64 kb) const {
        const PermutedBlocks& b = g.pattern.blocks;
        const int64 row = (entry * g.dense.num_q_heads + head) * b.num_query_blocks + qb;
        return mask[static_cast<std::size_t>(row * b.num_key_blocks + kb)] != 0;
    }

    /// Blocks of keys that a tile of queries keeps, up to the segment or the block of its last one.
    uint32 kept_by_queries(const GatheredProblem& g, int64 tile, int64 head, int64 entry) const {
        const PermutedBlocks& b = g.pattern.blocks;
        const int64 first = tile * g.queries.positions;
        const int64 end = std::min<int64>(first + g.queries.positions, g.dense.q_len);
        const int64 unit = b.permutation == nullptr ? b.block : b.segment;
        uint32 count = 0;
        for (int64 kb = 0; kb < b.num_key_blocks; ++kb) {
            bool kept = false;
            for (int64 q = first; q < end; ++q) {
                kept = kept || keeps(g, entry, head, q / b.query_block, kb);
            }
            const bool hidden = b.causal && kb * b.block / unit > (end - 1) / unit;
            if (kept && !hidden) ++count;
        }
        return count;
    }
    /// Blocks of queries that keep a tile of keys, of all query heads from first to end.
    uint32 kept_by_keys(const GatheredProblem& g, int64 tile, int64 first_head, int64 end_head,
                        int64 entry) const {
        const PermutedBlocks& b = g.pattern.blocks;
        const bool by_token = b.slot_of_token != nullptr;
        const int64 first = tile * g.keys.positions;
        const int64 end = std::min<int64>(first + g.keys.positions, g.dense.kv_len);
        uint32 count = 0;
        for (int64 head = first_head; head < end_head; ++head) {
            for (int64 qb = 0; qb < b.num_query_blocks; ++qb) {
                bool kept = false;
                for (int64 kb = 0; kb < b.num_key_blocks; ++kb) {
                    const int64 unit = by_token ? b.segment : b.block;
                    const bool in_tile = kb * b.block / unit >= first / unit &&
                                         kb * b.block / unit <= (end - 1) / unit;
                    kept = kept || (in_tile && keeps(g, entry, head, qb, kb));
                }
                const int64 last = std::min<int64>((qb + 1) * b.query_block, g.dense.q_len) - 1;
                const bool in_segments = b.permutation != nullptr && !by_token;
                const int64 first_token = in_segments ? first / b.segment * b.segment : first;
                if (kept && !(b.causal && last < first_token)) ++count;
            }
        }
        return count;
    }

    /// Orders a launch, and says what the device found.
    template <class Launch, class... Sides>
    Ordered order(const GatheredProblem& g, Launch* launch, Sides... side) {
        RowOrder row_order(g, device);
        EXPECT_TRUE(row_order.load(store.get()).ok());
        const uint32 n = launch->num_blocks;
        auto* at = static_cast<uint32*>(memory->reserve(n * 2 * sizeof(uint32)));
        EXPECT_TRUE(row_order.order(launch, side..., at, stream).ok());
        EXPECT_EQ(launch->params.row_order, at + n);
        Ordered found{std::vector<uint32>(n), std::vector<uint32>(n)};
        memory->get_numbers(at, found.counts);
        memory->get_numbers(at + n, found.order);
        return found;
    }

    /// Most first, equals as they were, within each span.
    static void expect_sorted(const Ordered& found) {
        std::vector<uint32> expected(found.counts.size());
        std::iota(expected.begin(), expected.end(), 0);
        for (std::size_t begin = 0; begin < expected.size(); begin += kRowOrderSpan) {
            const auto first = expected.begin() + static_cast<std::ptrdiff_t>(begin);
            const std::size_t size = std::min<std::size_t>(kRowOrderSpan, expected.size() - begin);
            std::stable_sort(first, first + static_cast<std::ptrdiff_t>(size),
                             [&](uint32 a, uint32 b) { return found.counts[a] > found.counts[b]; });
        }
        EXPECT_EQ(found.order, expected);
    }

    void expect_queries(const GatheredProblem& g) {
        GatheredForwardLaunch forward = gathered_forward_launch(g, g.pattern, {});
        const Ordered found = order(g, &forward);
        expect_sorted(found);
        const int64 tiles = g.queries.num_tiles;
        for (std::size_t n = 0; n < found.counts.size(); ++n) {
            const auto idx = static_cast<int64>(n);
            const int64 head = idx / tiles % g.dense.num_q_heads;
            const int64 tile = g.pattern.blocks.causal ? tiles - 1 - idx % tiles : idx % tiles;
            ASSERT_EQ(found.counts[n],
                      kept_by_queries(g, tile, head, idx / tiles / g.dense.num_q_heads))
                << "tile " << tile << " of head " << head;
        }
    }

    /// wants_k and wants_v: whose gradients are asked for.
    void expect_keys(const GatheredProblem& g, bool wants_k, bool wants_v) {
        const DenseProblem& p = g.dense;
        char somewhere = 0;
        DenseBackwardArgs args{};
        if (wants_k) args.d_k = &somewhere;
        if (wants_v) args.d_v = &somewhere;
        GatheredBackwardRun run = gathered_backward_run(g, g.pattern, g.pattern, args, nullptr);
        const Ordered found = order(g, &run.d_k_d_v, Side::kKeys);
        expect_sorted(found);
        const bool both = wants_k && wants_v && p.num_k_heads == p.num_v_heads;
        const int64 k_groups = wants_k ? p.num_k_heads : 0;
        const int64 groups = both ? k_groups : k_groups + (wants_v ? p.num_v_heads : 0);
        ASSERT_EQ(static_cast<int64>(found.counts.size()), g.keys.num_tiles * groups * p.batch);
        for (std::size_t n = 0; n < found.counts.size(); ++n) {
            const auto idx = static_cast<int64>(n);
            const int64 group = idx / g.keys.num_tiles % groups;
            const bool of_k = group < k_groups;
            const int64 heads = of_k ? p.num_k_heads : p.num_v_heads;
            int64 first = p.num_q_heads, end = 0;
            for (int64 h = 0; h < p.num_q_heads; ++h) {
                if (h * heads / p.num_q_heads != (of_k ? group : group - k_groups)) continue;
                first = std::min(first, h);
                end = h + 1;
            }
            ASSERT_EQ(found.counts[n], kept_by_keys(g, idx % g.keys.num_tiles, first, end,
                                                    idx / g.keys.num_tiles / groups))
                << "tile " << idx % g.keys.num_tiles << " of group " << group;
        }
    }

    /// Entries of a batch, at least some, with which blocks_of_entry each do not start at once.
    int64 batch_of(int64 fewest, int64 blocks_of_entry) const {
        return std::max(fewest, device->properties().num_multiprocessors / blocks_of_entry + 1);
    }

    std::unique_ptr<KernelStore> store;
    Stream stream;
    std::unique_ptr<OnDevice> memory;
    std::vector<uint8> mask;
};

TEST_F(RowOrderOnCuda, LaunchesAreInTheOrderOfTheBlocksTheyKeep) {
    for (const bool causal : {false, true}) {
        for (const int32 query_block : {16, 48}) {
            GatheredProblem g =
                blocks(tensors(batch_of(2, 16), 6, 3, 2, 500), 48, query_block, causal);
            // Without a permutation, with one a key head, with one a query head.
            const int32 nothing = 0;
            for (int way = 0; way < 3; ++way) {
                SCOPED_TRACE(testing::Message() << "causal " << causal << ", query block "
                                                << query_block << ", way " << way);
                g.pattern.blocks.permutation = way > 0 ? &nothing : nullptr;
                g.pattern.blocks.slot_of_token = way > 1 ? &nothing : nullptr;
                expect_queries(g);
                expect_keys(g, true, true);
                expect_keys(g, false, true);
            }
            g = blocks(tensors(batch_of(1, 24), 6, 3, 3, 500), 48, query_block, causal);
            expect_keys(g, true, true);
        }
    }
}

TEST_F(RowOrderOnCuda, LongLaunchesAreOrderedInSpans) {
    const GatheredProblem g = blocks(tensors(3, 70, 1, 1, 64 * 21), 64, 64, false);
    ASSERT_GT(3 * 70 * 21, kRowOrderSpan);
    expect_queries(g);
}

TEST_F(RowOrderOnCuda, WhatStartsAtOnceAndWhatHasNoMaskStaysAsItIs) {
    const GatheredProblem one = blocks(tensors(1, 1, 1, 1, 60), 16, 16, true);
    EXPECT_EQ(RowOrder(one, device).bytes(Pass::kForward), 0);
    EXPECT_EQ(RowOrder(one, device).bytes(Pass::kBackward), 0);
    const GatheredProblem many = blocks(tensors(8, 8, 8, 8, 200), 16, 16, true);
    EXPECT_EQ(RowOrder(many, device).bytes(Pass::kForward), 8 * 8 * 8 * 4);
    GatheredPattern unmasked = many.pattern;
    unmasked.blocks.block_mask = nullptr;
    GatheredForwardLaunch launch = gathered_forward_launch(many, unmasked, {});
    ASSERT_STATUS_OK(RowOrder(many, device).order(&launch, &launch, stream));
    EXPECT_EQ(launch.params.row_order, nullptr);
}

/// Several tiles a head, of which the first ones keep most.
PermutedBlockSpec spec_of_many_rows(int64 batch, bool shared) {
    PermutedBlockSpec spec;
    spec.dtype = DType::kBF16;
    spec.batch = batch;
    spec.num_q_heads = 4;
    spec.num_k_heads = spec.num_v_heads = 2;
    spec.shared = shared;
    spec.q_len = spec.kv_len = 300;
    spec.block = 16;
    spec.segment = 64;
    spec.head_dim = spec.head_dim_v = 32;
    spec.backward = true;
    return spec;
}

TEST_F(RowOrderOnCuda, ResultsHaveTheBitsOfRowsInTheirOwnOrder) {
    for (const bool shared : {false, true}) {
        PermutedBlockCase c(spec_of_many_rows(batch_of(3, 10), shared));
        c.draw_selection(0.4);
        const PlanHandle plan = sparse_plan(c);
        ASSERT_NE(plan, nullptr);
        run_forward(device, plan.get(), c);
        run_backward(device, plan.get(), c);
        EXPECT_TRUE(is_near(permuted_block_truth(c), c));

        // Without a workspace nothing is ordered.
        PermutedBlockCase as_numbered(c.spec());
        as_numbered.permutation = c.permutation;
        as_numbered.block_mask = c.block_mask;
        RunOnDevice on(device, plan.get(), FATTN_PASS_FORWARD, as_numbered.c_forward());
        put_forward(&on, as_numbered);
        put_selection(&on, as_numbered);
        on.run.workspace = nullptr;
        on.run.workspace_bytes = 0;
        ASSERT_TRUE(test::ok(fattn_permuted_block_forward(plan.get(), &on.args, &on.run)));
        get_forward(&on, as_numbered);
        EXPECT_TRUE(as_numbered.o.same_bytes(c.o));
        EXPECT_TRUE(as_numbered.lse.same_bytes(c.lse));
    }
}

}  // namespace
}  // namespace fattn::cuda
