// Block selection on every CPU target against the reference, for any number of threads.
#include "cpu/permuted_block_select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>

#include "cpu/dispatch.h"
#include "support/permuted_block_case.h"
#include "support/sampling.h"
#include "support/selection_checks.h"

namespace fattn::cpu {
namespace {

using test::gate_is_right;
using test::mask_is_right;
using test::permutation_is_right;
using test::PermutedBlockCase;
using test::PermutedBlockSpec;

std::vector<Choice> targets() {
    std::vector<Choice> choices;
    for (uint32 n = 1; n <= static_cast<uint32>(Target::kNeon); ++n) {
        if (!test::runs_target(n, targets_available())) continue;
        Choice choice;
        EXPECT_TRUE(choose_target(static_cast<Target>(n), &choice).ok());
        choices.push_back(choice);
    }
    return choices;
}

struct Selected {
    std::vector<int32> permutation;
    std::vector<uint8> mask;
    std::vector<float> coverage;
};

/// Memory with a tail that must stay as it is.
class Workspace {
  public:
    explicit Workspace(uint64 bytes)
        : memory_(bytes + 2 * kWorkspaceAlignment, std::byte{0x5a}), bytes_(bytes) {
        void* start = memory_.data();
        std::size_t room = memory_.size();
        data_ = static_cast<std::byte*>(
            std::align(kWorkspaceAlignment, bytes + kWorkspaceAlignment, start, room));
    }
    std::byte* data() { return data_; }
    bool tail_untouched() const {
        return std::all_of(data_ + bytes_, data_ + bytes_ + kWorkspaceAlignment,
                           [](std::byte b) { return b == std::byte{0x5a}; });
    }

  private:
    static constexpr std::size_t kWorkspaceAlignment = 64;
    std::vector<std::byte> memory_;
    uint64 bytes_;
    std::byte* data_;
};

std::size_t mask_size(const PermutedBlockProblem& p) {
    return static_cast<std::size_t>(p.batch * p.num_q_heads * p.num_query_blocks() *
                                    p.num_key_blocks());
}

Selected select(PermutedBlockCase& c, const KernelTable& table, int threads) {
    const PermutedBlockProblem p = c.problem();
    Selected out;
    out.permutation.assign(static_cast<std::size_t>(p.batch * p.num_q_heads * p.kv_len), -7);
    out.mask.assign(mask_size(p), 9);
    out.coverage.assign(static_cast<std::size_t>(p.batch * p.num_q_heads * p.num_query_blocks()),
                        -1.0F);
    const PermutedBlockSelect kernel(p, table);
    Workspace workspace(kernel.workspace(threads));
    EXPECT_TRUE(kernel
                    .select({.q = c.q.data(),
                             .k = c.k.data(),
                             .permutation = out.permutation.data(),
                             .block_mask = out.mask.data(),
                             .coverage = out.coverage.data()},
                            threads, nullptr, workspace.data())
                    .ok());
    EXPECT_TRUE(workspace.tail_untouched()) << describe(c.spec());
    return out;
}

std::vector<uint8> gate(PermutedBlockCase& c, const KernelTable& table, BlockGateArgs args,
                        int threads) {
    const PermutedBlockProblem p = c.problem();
    std::vector<uint8> mask(mask_size(p), 9);
    args.q = c.q.data();
    args.k = c.k.data();
    args.block_mask = mask.data();
    const PermutedBlockSelect kernel(p, table);
    Workspace workspace(kernel.workspace(threads));
    EXPECT_TRUE(kernel.gate(args, threads, nullptr, workspace.data()).ok());
    EXPECT_TRUE(workspace.tail_untouched()) << describe(c.spec());
    return mask;
}

PermutedBlockSpec random_spec(uint64 seed) {
    std::mt19937_64 random(seed);
    const auto one_of = [&](auto... values) {
        const int64 list[] = {static_cast<int64>(values)...};
        return list[random() % (sizeof(list) / sizeof(list[0]))];
    };
    PermutedBlockSpec s;
    s.seed = seed;
    s.dtype = static_cast<DType>(one_of(DType::kF32, DType::kF16, DType::kBF16));
    s.batch = one_of(1, 2);
    s.num_k_heads = one_of(1, 2);
    s.num_q_heads = s.num_k_heads + one_of(0, 1, 2);
    s.block = one_of(1, 4, 7, 16);
    s.segment = s.block * one_of(1, 2, 3);
    s.query_block = s.block == 16 ? one_of(0, 1, 8) : 0;
    s.kv_len = one_of(1, 5, 16, 33, 47, 64, 100);
    const int64 later = s.kv_len / s.block * s.block;
    s.q_len = s.kv_len - (later > 0 ? random() % static_cast<uint64>(later / s.block + 1) : 0) *
                             static_cast<uint64>(s.block);
    s.head_dim = one_of(1, 3, 16, 24);
    s.head_dim_v = 2;
    s.coverage = static_cast<float>(one_of(50, 90, 99, 100)) / 100;
    s.causal = one_of(0, 1, 1) != 0;
    s.max_pool = one_of(0, 0, 1) != 0;
    s.shared = one_of(0, 1) != 0;
    if (one_of(0, 1) != 0) s.scale = 0.7F;
    if (one_of(0, 0, 1) != 0) s.scale = -1.3F;
    s.q_order = test::MemoryOrder::kPadded;
    s.k_order = one_of(0, 1) != 0 ? test::MemoryOrder::kTokensOutside : test::MemoryOrder::kPacked;
    s.magnitude = static_cast<double>(one_of(1, 8));
    return s;
}

TEST(PermutedBlockSelect, IsOneThatTheReferenceAllows) {
    for (uint64 seed = 1; seed <= 60; ++seed) {
        PermutedBlockCase c(random_spec(seed));
        for (const Choice& target : targets()) {
            const Selected out = select(c, *target.kernels, 2);
            ASSERT_TRUE(permutation_is_right(c.problem(), c.q.data(), c.k.data(), out.permutation))
                << target.kernels->name << " " << describe(c.spec());
            ASSERT_TRUE(
                mask_is_right(c.problem(), c.q.data(), c.k.data(), out.permutation, out.mask))
                << target.kernels->name << " " << describe(c.spec());
        }
    }
}

TEST(PermutedBlockSelect, GivesTheSameBitsForAnyNumberOfThreads) {
    PermutedBlockSpec spec = random_spec(3);
    spec.kv_len = spec.q_len = 9000;  // several chunks of keys and of rows
    spec.block = 16;
    spec.query_block = 16;
    spec.segment = 48;
    spec.num_q_heads = 2;
    spec.num_k_heads = 1;
    PermutedBlockCase c(spec);
    for (const Choice& target : targets()) {
        const Selected one = select(c, *target.kernels, 1);
        for (const int threads : {2, 5}) {
            const Selected more = select(c, *target.kernels, threads);
            EXPECT_EQ(more.permutation, one.permutation);
            EXPECT_EQ(more.mask, one.mask);
            EXPECT_EQ(more.coverage, one.coverage);
        }
    }
}

TEST(PermutedBlockSelect, KeysOfManyChunksAreSortedAsOne) {
    PermutedBlockSpec spec;
    spec.kv_len = spec.q_len = 4500;
    spec.block = 4;
    spec.segment = 900;
    spec.coverage = 1;
    PermutedBlockCase c(spec);
    for (const Choice& target : targets()) {
        const Selected out = select(c, *target.kernels, 2);
        EXPECT_TRUE(permutation_is_right(c.problem(), c.q.data(), c.k.data(), out.permutation));
    }
}

/// Makes every key the one of number j mod num_kinds.
void repeat_keys(PermutedBlockCase& c, int64 num_kinds) {
    const PermutedBlockSpec& s = c.spec();
    for (int64 b = 0; b < s.batch; ++b)
        for (int64 h = 0; h < s.num_k_heads; ++h)
            for (int64 j = num_kinds; j < s.kv_len; ++j)
                for (int64 d = 0; d < s.head_dim; ++d)
                    c.k.set(b, h, j, d, c.k.at(b, h, j % num_kinds, d));
}

TEST(PermutedBlockSelect, EqualKeysKeepTheirOrder) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const int64 num_kinds : {1, 3}) {
            PermutedBlockSpec spec;
            spec.dtype = dtype;
            spec.num_q_heads = 2;
            spec.kv_len = 4517;  // several tiles and chunks of keys, and a tail
            spec.q_len = 37;
            spec.block = 20;
            spec.query_block = 1;
            spec.segment = 900;
            spec.head_dim = 19;
            spec.shared = num_kinds == 3;
            PermutedBlockCase c(spec);
            repeat_keys(c, num_kinds);
            for (const Choice& target : targets()) {
                const Selected out = select(c, *target.kernels, 2);
                for (int64 slot = 0; slot < 2 * spec.kv_len; ++slot) {
                    const int32* tokens = out.permutation.data() + slot / spec.kv_len * spec.kv_len;
                    const int64 own = slot % spec.kv_len;
                    if (num_kinds == 1) {
                        ASSERT_EQ(tokens[own], own) << target.kernels->name;
                    }
                    if (own % spec.segment == 0 || own >= 4500) continue;
                    // Neighbours of one kind ascend, and kinds do not mix.
                    const bool same = tokens[own] % num_kinds == tokens[own - 1] % num_kinds;
                    ASSERT_EQ(same, tokens[own] == tokens[own - 1] + num_kinds)
                        << target.kernels->name << " slot " << slot;
                    const int64 of_kind = spec.segment / num_kinds;
                    ASSERT_EQ(same, own % spec.segment % of_kind != 0)
                        << target.kernels->name << " slot " << slot;
                }
            }
        }
    }
}

TEST(PermutedBlockSelect, OfEqualBlocksCoverageKeepsTheLowest) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        PermutedBlockSpec spec;
        spec.dtype = dtype;
        spec.kv_len = spec.q_len = 816;
        spec.block = 8;
        spec.segment = 24;
        spec.head_dim = 19;
        spec.coverage = 0.57F;  // of no number of blocks here a share, so that no sum ends there
        PermutedBlockCase c(spec);
        repeat_keys(c, 1);
        const PermutedBlockProblem p = c.problem();
        for (const Choice& target : targets()) {
            const Selected out = select(c, *target.kernels, 1);
            for (int64 row = 0; row < p.num_query_blocks(); ++row) {
                const int64 candidates = p.segment_of_query_block(row) * 3;
                const auto kept_of_them = static_cast<int64>(std::ceil(
                    static_cast<double>(spec.coverage) * static_cast<double>(candidates)));
                for (int64 kb = 0; kb < p.num_key_blocks(); ++kb) {
                    const bool own = kb >= candidates && kb < candidates + 3;
                    const auto at = static_cast<std::size_t>(row * p.num_key_blocks() + kb);
                    ASSERT_EQ(out.mask[at] != 0, own || kb == 0 || kb < kept_of_them)
                        << target.kernels->name << " row " << row << " block " << kb;
                }
            }
        }
    }
}

TEST(PermutedBlockSelect, ReportsTheCoverageItReached) {
    PermutedBlockSpec spec;
    spec.kv_len = spec.q_len = 256;
    spec.block = 8;
    spec.segment = 16;
    spec.coverage = 0.7F;
    PermutedBlockCase c(spec);
    for (const Choice& target : targets()) {
        const Selected out = select(c, *target.kernels, 1);
        const std::vector<double> weights =
            reference::block_weights(c.problem(), c.q.data(), c.k.data(), out.permutation);
        for (std::size_t row = 0; row < 32; ++row) {
            double sum = 0;
            for (std::size_t kb = 0; kb < 32; ++kb)
                sum += out.mask[row * 32 + kb] != 0 ? weights[row * 32 + kb] : 0.0;
            EXPECT_NEAR(out.coverage[row], row < 2 ? 1.0 : sum, 1e-5) << row;
            EXPECT_GE(out.coverage[row], 0.69999F) << row;
        }
    }
}

TEST(PermutedBlockSelect, ValuesThatAreNotFiniteStillGiveAPermutation) {
    for (const double bad :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        PermutedBlockSpec spec;
        spec.kv_len = spec.q_len = 40;
        spec.batch = 2;
        PermutedBlockCase c(spec);
        PermutedBlockCase clean(spec);
        c.k.set(0, 0, 5, 1, bad);
        c.q.set(0, 0, 39, 0, bad);
        for (const Choice& target : targets()) {
            const Selected out = select(c, *target.kernels, 1);
            for (int64 begin = 0; begin < 40; begin += 8) {
                std::vector<int32> sorted(out.permutation.begin() + begin,
                                          out.permutation.begin() + begin + 8);
                std::sort(sorted.begin(), sorted.end());
                for (int64 j = 0; j < 8; ++j)
                    EXPECT_EQ(sorted[static_cast<std::size_t>(j)], begin + j);
            }
            // The other entry of the batch does not notice.
            const Selected expected = select(clean, *target.kernels, 1);
            EXPECT_TRUE(std::equal(out.permutation.begin() + 40, out.permutation.end(),
                                   expected.permutation.begin() + 40));
            EXPECT_TRUE(
                std::equal(out.mask.begin() + 100, out.mask.end(), expected.mask.begin() + 100));
        }
    }
}

TEST(PermutedBlockSelect, NoQueriesGiveTheIdentity) {
    PermutedBlockSpec spec;
    spec.kv_len = 24;
    spec.q_len = 0;
    PermutedBlockCase c(spec);
    for (const Choice& target : targets()) {
        const Selected out = select(c, *target.kernels, 1);
        for (int32 j = 0; j < 24; ++j) EXPECT_EQ(out.permutation[static_cast<std::size_t>(j)], j);
    }
}

TEST(BlockGates, AreThoseThatTheReferenceAllows) {
    for (uint64 seed = 1; seed <= 60; ++seed) {
        PermutedBlockCase c(random_spec(seed));
        std::mt19937_64 random(seed);
        std::normal_distribution<float> normal;
        std::vector<float> scores(mask_size(c.problem()));
        for (float& s : scores) s = normal(random);
        for (const Choice& target : targets()) {
            for (const BlockGate kind :
                 {BlockGate::kMoba, BlockGate::kTopK, BlockGate::kThreshold}) {
                for (const bool given : {false, true}) {
                    BlockGateArgs args{};
                    args.gate = kind;
                    args.top_k = 3;
                    args.threshold = 0.15F;
                    args.scores = given ? scores.data() : nullptr;
                    ASSERT_TRUE(gate_is_right(
                        c.problem(), c.q.data(), c.k.data(),
                        {kind, args.top_k, static_cast<double>(args.threshold)},
                        given ? scores : std::vector<float>{}, gate(c, *target.kernels, args, 2)))
                        << target.kernels->name << " " << describe(c.spec());
                }
            }
        }
    }
}

TEST(BlockGates, OfEqualBlocksTheLowestAreChosen) {
    PermutedBlockSpec spec;
    spec.kv_len = spec.q_len = 808;
    spec.block = spec.segment = 8;
    spec.head_dim = 19;
    for (const bool causal : {true, false}) {
        spec.causal = causal;
        PermutedBlockCase c(spec);
        repeat_keys(c, 1);
        const int64 blocks = c.problem().num_key_blocks();
        const std::vector<float> equal(mask_size(c.problem()), 0.25F);
        for (const Choice& target : targets()) {
            for (const BlockGate kind : {BlockGate::kMoba, BlockGate::kTopK}) {
                for (const bool given : {false, true}) {
                    BlockGateArgs args{};
                    args.gate = kind;
                    args.top_k = 7;
                    args.scores = given ? equal.data() : nullptr;
                    const std::vector<uint8> mask = gate(c, *target.kernels, args, 2);
                    for (int64 n = 0; n < blocks * blocks; ++n) {
                        const int64 own = n / blocks;
                        const int64 kb = n % blocks;
                        // The own block is one of the seven of MoBA, wherever it stands.
                        const int64 chosen = kind == BlockGate::kTopK || own < 6 ? 7 : 6;
                        const bool kept = kb == own || (kb < chosen && (!causal || kb < own));
                        ASSERT_EQ(mask[static_cast<std::size_t>(n)] != 0, kept)
                            << target.kernels->name << " row " << own << " block " << kb;
                    }
                }
            }
        }
    }
}

}  // namespace
}  // namespace fattn::cpu
