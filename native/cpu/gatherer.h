// What a family of sparse attention tells the CPU's gathered loops: which queries meet which keys,
// share by share; implemented once a family, asked by gathered_forward.cpp and
// gathered_backward.cpp.
#pragma once

#include "core/types.h"
#include "cpu/gathered_tile.h"

namespace fattn::cpu {

/// The most that one tile of a pass may need. Depends on the plan alone, so that the workspace is
/// known before a run.
struct GatherCapacity {
    int64 rows;      // of a tile, not multiplied by heads
    int64 heads;     // of a forward share
    int64 slots;     // of a tile
    int64 words;     // of all bits of a tile
    uint64 scratch;  // bytes of the gatherer's own
};

/// Memory of one thread for one tile, each part as large as the capacity says. What a gatherer
/// returns may lie here or in memory that outlives the run; the next call with the same buffer
/// overwrites it.
struct GatherBuffer {
    GatheredRow* rows;
    int32* tokens;
    uint64* bits;
    void* scratch;  // 64-byte aligned; keeps its content from call to call, undefined at first
};

/// A piece of a forward run: the rows of a tile for each of some consecutive query heads, which
/// share a key head and a value head.
struct GatheredShare {
    int64 entry;  // of the batch
    int64 first_head;
    int64 num_heads;
    GatheredTile tile;
};

/// The part of a sequence's keys that one task of a backward run owns.
struct KeyChunk {
    int64 index;
    int64 count;  // at least 1; a few where there are few heads, decided by the problem alone

    /// The range [first_of(n), end_of(n)) of n equal things that falls to this chunk.
    constexpr int64 first_of(int64 n) const { return n * index / count; }
    constexpr int64 end_of(int64 n) const { return n * (index + 1) / count; }
};

/// Lists of rows and slots, computed when asked for, on any thread, from what the plan or an
/// earlier step of the run holds. The same call always gives the same lists.
///
/// Sizes. Tiles may have any number of rows and slots; the loops cut them. K and V are packed once
/// a share, so a forward share should have a hundred rows or more (heads included), best a multiple
/// of KernelTable::tile_q or a little less; Q and dO are packed once a key tile of the backward, so
/// that should have some hundred slots, best a multiple of KernelTable::backward_tile_kv.
class Gatherer {
  public:
    virtual ~Gatherer() = default;

    // Forward. Every query of every head and entry is a row of exactly one share, also one that
    // sees nothing: its O is 0 and its LSE -inf.

    virtual GatherCapacity forward_capacity() const = 0;
    virtual int64 num_forward_shares() const = 0;
    /// Shares are taken in ascending order, so those with most work should come first.
    virtual GatheredShare forward_share(int64 index, const GatherBuffer& buffer) const = 0;

    // Backward. The key tiles of a head hold all pairs of that head once. Rows that see nothing of
    // a tile should not be listed. A query may be listed once in a tile only.

    virtual GatherCapacity backward_capacity() const = 0;
    /// How many heads, this one and the next ones, have the same key head, value head and lists, so
    /// that keys are packed once for all of them. At least 1.
    virtual int64 num_equal_heads(int64 entry, int64 head) const = 0;
    /// Key tiles of a head that fall to a chunk. No key token may fall to two chunks, not even from
    /// two heads that share a key head or a value head, directly or through others.
    virtual int64 num_key_tiles(int64 entry, int64 head, KeyChunk chunk) const = 0;
    /// Key tile number tile of those: slots are the keys, rows the queries that see any of them.
    virtual GatheredTile key_tile(int64 entry, int64 head, KeyChunk chunk, int64 tile,
                                  const GatherBuffer& buffer) const = 0;
};

}  // namespace fattn::cpu
