// A gatherer of random patterns and the same pattern as a dense mask; used by the tests of the
// gathered forward and backward.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cpu/gatherer.h"
#include "support/dense_case.h"

namespace fattn::cpu {

/// What patterns look like and how they are cut into tiles. The cut never changes the pattern.
struct GatherStyle {
    uint64 seed = 1;
    bool holes = false;         // rows see random ones of their keys, not all of an interval
    bool equal_heads = true;    // heads that share keys and values share the pattern too
    bool shuffle = false;       // slots in random order, so that bits are needed throughout
    bool unseen_slots = false;  // lists hold keys that none of their rows sees
    int64 rows_of_tile = 64;
    int64 slots_of_tile = 100;  // backward
};

std::string describe(const GatherStyle& style);

/// The last num_additional keys of the spec are additional ones.
class RandomGatherer final : public Gatherer {
  public:
    RandomGatherer(const test::DenseSpec& spec, const GatherStyle& style);

    bool sees(int64 entry, int64 head, int64 query, int64 key) const;
    /// Makes the mask of a case, which has one a head and entry, say the same.
    void hide(test::DenseCase& c) const;

    GatherCapacity forward_capacity() const override;
    int64 num_forward_shares() const override { return static_cast<int64>(shares_.size()); }
    GatheredShare forward_share(int64 index, const GatherBuffer& buffer) const override;
    GatherCapacity backward_capacity() const override;
    int64 num_equal_heads(int64 entry, int64 head) const override;
    int64 num_key_tiles(int64 entry, int64 head, KeyChunk chunk) const override;
    GatheredTile key_tile(int64 entry, int64 head, KeyChunk chunk, int64 tile,
                          const GatherBuffer& buffer) const override;

  private:
    /// Heads [first, first + count) of an entry with one pattern.
    struct Pattern {
        int64 entry;
        int64 first;
        int64 count;
        std::vector<int32> queries;  // all, in the order in which they are listed
        std::vector<int32> keys;     // all, in an order in which what a row sees is an interval
        std::vector<uint8> visible;  // [q_len, kv_len] by token
    };
    struct Share {
        std::size_t pattern;
        int64 begin;  // of its queries
        int64 end;
    };

    void add_patterns(int64 entry, int64 first, int64 count);
    const Pattern& pattern_of(int64 entry, int64 head) const;
    GatheredTile list(const Pattern& pattern, const std::vector<int32>& queries,
                      const std::vector<int32>& keys, bool all_rows,
                      const GatherBuffer& buffer) const;

    test::DenseSpec spec_;
    GatherStyle style_;
    std::vector<Pattern> patterns_;
    std::vector<Share> shares_;
};

}  // namespace fattn::cpu
