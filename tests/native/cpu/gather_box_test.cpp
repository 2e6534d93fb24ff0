// Lists that the box gatherer makes, against the definition of neighborhood attention pair by pair.
#include "cpu/gather_box.h"

#include <gtest/gtest.h>

#include <vector>

#include "plan/neighborhood_plan.h"
#include "plan/small_grids.h"

namespace fattn::cpu {
namespace {

/// A buffer of exactly the capacity, with marks behind every part.
class Buffer {
  public:
    explicit Buffer(const GatherCapacity& capacity)
        : rows_(size(capacity.rows) + 1, GatheredRow{-7, -7, -7, nullptr}),
          tokens_(size(capacity.slots) + 1, -7),
          bits_(size(capacity.words) + 1, 7),
          buffer_{rows_.data(), tokens_.data(), bits_.data(), nullptr} {}

    const GatherBuffer& get() const { return buffer_; }
    bool marks_untouched() const {
        return rows_.back().query == -7 && tokens_.back() == -7 && bits_.back() == 7;
    }

  private:
    static std::size_t size(int64 n) { return static_cast<std::size_t>(n); }

    std::vector<GatheredRow> rows_;
    std::vector<int32> tokens_;
    std::vector<uint64> bits_;
    GatherBuffer buffer_;
};

bool shows(const GatheredRow& row, int64 slot) {
    if (slot < row.begin || slot >= row.end) return false;
    return row.bits == nullptr || (row.bits[slot / kBitsOfWord] >> (slot % kBitsOfWord) & 1) != 0;
}

struct BoxCase {
    NeighborhoodProblem problem{};
    BoxScheduleData keys_of_queries;
    BoxScheduleData queries_of_keys;
    std::string text;

    BoxCase(const NeighborhoodGrid& grid, const Patch& queries, const Patch& keys, int64 additional)
        : keys_of_queries(neighborhood_schedule(grid, queries, {{1, 1, 1}})),
          queries_of_keys(neighborhood_schedule_of_keys(grid, keys, {{1, 1, 1}})),
          text(test::describe(grid, queries, keys) + "additional " + std::to_string(additional)) {
        problem.grid = grid;
        problem.dense.batch = 2;
        problem.dense.backward = true;
        problem.dense.num_q_heads = 5;
        problem.dense.num_k_heads = 2;
        problem.num_additional = additional;
    }
    BoxGatherer gatherer() const {
        return {problem, keys_of_queries.view(), queries_of_keys.view()};
    }
    int64 num_keys() const { return problem.num_tokens() + problem.num_additional; }
    bool sees(int64 i, int64 j) const {
        return j >= problem.num_tokens() || reference::neighborhood_sees(problem.grid, i, j);
    }
};

template <class Visit>
void for_each_setup(const Visit& visit) {
    test::for_each_small_grid(
        [&](const NeighborhoodGrid& grid, const Patch& queries, const Patch& keys) {
            for (const int64 additional : {0, 3}) visit(BoxCase(grid, queries, keys, additional));
        });
}

TEST(BoxGatherer, ForwardSharesListEveryQueryOnceWithWhatItSees) {
    for_each_setup([](const BoxCase& s) {
        const BoxGatherer gatherer = s.gatherer();
        const GatherCapacity capacity = gatherer.forward_capacity();
        const int64 tokens = s.problem.num_tokens();
        std::vector<int> times(static_cast<std::size_t>(s.problem.dense.batch * 5 * tokens));
        Buffer buffer(capacity);
        for (int64 n = 0; n < gatherer.num_forward_shares(); ++n) {
            const GatheredShare share = gatherer.forward_share(n, buffer.get());
            ASSERT_TRUE(buffer.marks_untouched()) << s.text;
            ASSERT_LE(share.num_heads, capacity.heads);
            ASSERT_LE(share.tile.num_rows, capacity.rows);
            ASSERT_LE(share.tile.num_slots, capacity.slots);
            for (int64 r = 0; r < share.tile.num_rows; ++r) {
                const GatheredRow& row = share.tile.rows[r];
                for (int64 h = share.first_head; h < share.first_head + share.num_heads; ++h) {
                    ASSERT_EQ(s.problem.dense.k_head(h), s.problem.dense.k_head(share.first_head));
                    ++times[static_cast<std::size_t>((share.entry * 5 + h) * tokens + row.query)];
                }
                std::vector<bool> listed(static_cast<std::size_t>(s.num_keys()));
                for (int64 slot = 0; slot < share.tile.num_slots; ++slot) {
                    if (shows(row, slot)) {
                        const auto token = static_cast<std::size_t>(share.tile.tokens[slot]);
                        ASSERT_FALSE(listed[token]) << s.text;
                        listed[token] = true;
                    }
                }
                for (int64 j = 0; j < s.num_keys(); ++j) {
                    ASSERT_EQ(listed[static_cast<std::size_t>(j)], s.sees(row.query, j))
                        << s.text << " query " << row.query << " key " << j;
                }
            }
        }
        for (const int count : times) ASSERT_EQ(count, 1) << s.text;
    });
}

TEST(BoxGatherer, BackwardTilesHoldEveryPairOnceInOneChunkPerKey) {
    for_each_setup([](const BoxCase& s) {
        const BoxGatherer gatherer = s.gatherer();
        const GatherCapacity capacity = gatherer.backward_capacity();
        const int64 tokens = s.problem.num_tokens();
        Buffer buffer(capacity);
        for (const int64 count : {1, 3}) {
            std::vector<int> times(static_cast<std::size_t>(tokens * s.num_keys()));
            std::vector<int64> chunk_of(static_cast<std::size_t>(s.num_keys()), -1);
            for (int64 index = 0; index < count; ++index) {
                const KeyChunk chunk{index, count};
                for (int64 t = 0; t < gatherer.num_key_tiles(0, 0, chunk); ++t) {
                    const GatheredTile tile = gatherer.key_tile(0, 0, chunk, t, buffer.get());
                    ASSERT_TRUE(buffer.marks_untouched()) << s.text;
                    ASSERT_LE(tile.num_rows, capacity.rows);
                    ASSERT_LE(tile.num_slots, capacity.slots);
                    for (int64 slot = 0; slot < tile.num_slots; ++slot) {
                        int64& owner = chunk_of[static_cast<std::size_t>(tile.tokens[slot])];
                        ASSERT_TRUE(owner == -1 || owner == index) << s.text;
                        owner = index;
                    }
                    for (int64 r = 0; r < tile.num_rows; ++r) {
                        const GatheredRow& row = tile.rows[r];
                        bool any = false;
                        for (int64 slot = 0; slot < tile.num_slots; ++slot) {
                            if (!shows(row, slot)) continue;
                            any = true;
                            ++times[static_cast<std::size_t>(row.query * s.num_keys() +
                                                             tile.tokens[slot])];
                        }
                        ASSERT_TRUE(any) << s.text << " query " << row.query << " sees nothing";
                    }
                }
            }
            for (int64 i = 0; i < tokens; ++i) {
                for (int64 j = 0; j < s.num_keys(); ++j) {
                    ASSERT_EQ(times[static_cast<std::size_t>(i * s.num_keys() + j)],
                              s.sees(i, j) ? 1 : 0)
                        << s.text << " query " << i << " key " << j;
                }
            }
        }
    });
}

TEST(BoxGatherer, HeadsOfAKeyHeadAreOneShareAndEqual) {
    const BoxCase s({{single_token_axis(), single_token_axis(), {6, 1, 3, 1, false}}}, {{1, 1, 6}},
                    {{1, 1, 6}}, 0);
    const BoxGatherer gatherer = s.gatherer();
    EXPECT_EQ(gatherer.forward_capacity().heads, 3);
    EXPECT_EQ(gatherer.num_forward_shares(), 4);
    EXPECT_EQ(gatherer.num_equal_heads(0, 0), 3);
    EXPECT_EQ(gatherer.num_equal_heads(0, 1), 2);
    EXPECT_EQ(gatherer.num_equal_heads(0, 3), 2);
    EXPECT_EQ(gatherer.num_equal_heads(1, 4), 1);
}

TEST(BoxGatherer, OneAxisNeedsNoBits) {
    for (const int64 additional : {0, 5}) {
        const BoxCase s({{single_token_axis(), single_token_axis(), {64, 2, 9, 1, false}}},
                        {{1, 1, 8}}, {{1, 1, 8}}, additional);
        const BoxGatherer gatherer = s.gatherer();
        Buffer buffer(gatherer.forward_capacity());
        for (int64 n = 0; n < gatherer.num_forward_shares(); ++n) {
            const GatheredShare share = gatherer.forward_share(n, buffer.get());
            for (int64 r = 0; r < share.tile.num_rows; ++r) {
                EXPECT_EQ(share.tile.rows[r].bits, nullptr);
                EXPECT_EQ(share.tile.rows[r].end - share.tile.rows[r].begin, 9 + additional);
            }
        }
    }
}

TEST(BoxGatherer, BlocksOfTheWindowsSizeNeedNoBits) {
    const NeighborhoodAxis blocks{16, 1, 4, 4, false};
    const BoxCase s({{single_token_axis(), blocks, blocks}}, {{1, 4, 4}}, {{1, 4, 4}}, 0);
    const BoxGatherer gatherer = s.gatherer();
    Buffer buffer(gatherer.forward_capacity());
    for (int64 n = 0; n < gatherer.num_forward_shares(); ++n) {
        const GatheredShare share = gatherer.forward_share(n, buffer.get());
        EXPECT_EQ(share.tile.num_slots, 16);
        for (int64 r = 0; r < share.tile.num_rows; ++r) {
            EXPECT_EQ(share.tile.rows[r].bits, nullptr);
        }
    }
}

}  // namespace
}  // namespace fattn::cpu
