// The lists of S2 attention, computed from the closed form of its pattern; asked by the gathered
// loops through the CPU's S2 kernel.
#pragma once

#include <memory>
#include <vector>

#include "core/problem.h"
#include "core/s2.h"
#include "cpu/gatherer.h"

namespace fattn::cpu {

/// Forward: a share is some query blocks of heads with one pattern. Causal slots are the blocks of
/// the band that fall out of it while the rows go on, then what all rows see, then the diagonal, so
/// that every row sees an interval; where a share is longer than the band, or the pattern is
/// two-sided, rows carry bits, one set a query block.
///
/// Backward: blocks of a head's shard are seen by all later queries, others by the band alone;
/// either kind has its own key tiles.
class S2Gatherer final : public Gatherer {
  public:
    /// tile_q and tile_kv are rows and keys that the loops like a share and a key tile to have.
    S2Gatherer(const DenseProblem& problem, const S2Pattern& pattern, int64 tile_q, int64 tile_kv);

    /// The same for a run whose positions are moved by whole blocks. Needs as much memory as the
    /// gatherer it is made from, makes as many shares and allocates nothing.
    S2Gatherer moved(int64 q_position_offset, int64 k_position_offset) const;

    GatherCapacity forward_capacity() const override;
    int64 num_forward_shares() const override;
    GatheredShare forward_share(int64 index, const GatherBuffer& buffer) const override;

    GatherCapacity backward_capacity() const override;
    int64 num_equal_heads(int64 entry, int64 head) const override;
    int64 num_key_tiles(int64 entry, int64 head, KeyChunk chunk) const override;
    GatheredTile key_tile(int64 entry, int64 head, KeyChunk chunk, int64 tile,
                          const GatherBuffer& buffer) const override;

  private:
    /// Consecutive query heads with one key head, value head and pattern.
    struct Run {
        int64 first_head;
        int64 count;
        int64 pattern_head;
        bool open;  // every block is visible as far as causality says
    };

    /// How the queries of some runs are cut into shares.
    struct Cut {
        std::vector<Run> runs;
        int64 blocks = 1;   // query blocks of a share
        int64 spacing = 1;  // from one to the next
        int64 parts = 1;    // shares of one query block; 1 where a share has several
        int64 shares = 0;   // of a run
    };

    /// Blocks first, first + spacing, ..., count of them.
    struct Blocks {
        int64 first;
        int64 count;
        int64 spacing;
        constexpr int64 at(int64 n) const { return first + n * spacing; }
    };

    /// The key blocks of a chunk.
    struct KeyBlocks {
        int64 begin;
        int64 end;
    };

    /// What does not depend on positions.
    struct Lists {
        std::vector<Run> runs;  // ascending
        std::vector<int32> run_of_head;
        std::vector<Cut> cuts;  // longest lists first
    };

    void add_cut(bool open, int64 tile_q, Lists* lists) const;
    int64 most_slots(const Cut& cut) const;
    bool uses_bits(const Cut& cut) const;
    const Run& run_of(int64 head) const;
    bool is_open(int64 pattern_head) const;
    KeyBlocks key_blocks(KeyChunk chunk) const;
    /// Of a query, counted from the first key: negative before it, kv_len_ and more past the last.
    int64 position(int64 query) const { return first_position_ + query; }
    int64 extent(int64 kb) const;  // keys of a key block
    int64 append_block(int64 kb, int64 slots, int32* tokens) const;
    /// Keys of the n-th of some blocks that stand before a block, and with a position in it.
    int64 keys_before(const Blocks& keys, int64 qb, int64 position) const;
    int64 first_query_at(int64 position) const;

    GatheredTile open_share(const Blocks& queries, const GatherBuffer& buffer) const;
    GatheredTile interval_share(int64 head, const Blocks& queries,
                                const GatherBuffer& buffer) const;
    GatheredTile bits_share(int64 head, const Blocks& queries, const GatherBuffer& buffer) const;
    void keep_part(int64 part, int64 parts, GatheredTile* tile, const GatherBuffer& buffer) const;

    GatheredTile shard_tile(const Blocks& keys, const GatherBuffer& buffer) const;
    GatheredTile band_tile(int64 head, KeyBlocks keys, const GatherBuffer& buffer) const;
    GatheredTile bits_tile(int64 head, const Blocks& keys, const GatherBuffer& buffer) const;

    S2Pattern pattern_;
    int64 batch_;
    int64 q_len_;
    int64 kv_len_;
    int64 first_position_;  // of query 0
    int64 num_kv_blocks_;
    int64 first_query_block_;
    int64 num_query_blocks_;
    int64 key_blocks_of_tile_;
    int64 band_blocks_of_tile_;  // shard blocks among them are left out
    std::shared_ptr<const Lists> lists_;
};

}  // namespace fattn::cpu
