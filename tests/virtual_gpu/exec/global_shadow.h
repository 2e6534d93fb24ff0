// What is remembered of accesses to device memory within one grid, to find two that nothing orders.
// Used by global accesses.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "exec/shadow.h"
#include "gpu/memory.h"

namespace fattn::vgpu {

struct GlobalCell {
    static constexpr uint8_t kStrongBit = 1;
    static constexpr uint8_t kAsyncBit = 2;  // by a bulk copy
    // Of a granule: word i is agent + i's, or words i and i + 1 are agent + i / 2's.
    static constexpr uint8_t kByWordBit = 4;
    static constexpr uint8_t kByPairBit = 8;
    // Of a read: those of more other clusters came before it than are known by themselves.
    static constexpr uint8_t kManyBit = 32;
    static constexpr uint8_t kSplitBit = 16;  // of a granule's write: its words have their own
    // Of a strong access: its scope is the block or the cluster.
    static constexpr uint8_t kInBlockBit = 64;
    static constexpr uint8_t kInClusterBit = 128;
    static constexpr uint8_t kScopeBits = kInBlockBit | kInClusterBit;
    uint32_t cluster = 0;  // 0: nothing yet
    uint32_t epoch = 0;
    uint16_t agent = 0;
    uint8_t how = 0;
    uint8_t bytes = 0;  // of the word, a bit each
    uint32_t pc = 0;
};

// The two latest accesses of a word, or of a granule of four words that were always accessed alike:
// a write, and a read since then. `more` leads to those that neither of them stands for.
struct GlobalWord {
    GlobalCell write;
    GlobalCell read;
    uint32_t more = 0;  // of GlobalShadow's list; 0: nothing
};

// An access of a word besides the latest: one that is not ordered before what took its place, or
// whose bytes that does not touch.
struct EarlierAccess {
    GlobalCell cell;     // of a read its agent is the first of its warp
    uint32_t lanes = 0;  // of a read: those of its warp that read in its epoch
    uint32_t next = 0;
    bool wrote = false;
};

// Of 4096 bytes. Chunks serve grid after grid, so that their pages are there.
struct GlobalChunk {
    static constexpr uint32_t kBytes = 4096, kGranuleBytes = 16;
    GlobalWord granules[kBytes / kGranuleBytes];
    std::unique_ptr<GlobalWord[]> words;  // of granules that are split
};

struct Access;
struct Span;

class GlobalShadow {
  public:
    GlobalShadow();
    GlobalShadow(GlobalShadow&&) = default;
    ~GlobalShadow();
    void read(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block, uint64_t address,
              uint32_t bytes, AccessFlags flags, bool non_coherent);
    // The same for every lane of `mask`, which fall into one block.
    void read_all(Warp& warp, const Op& op, uint32_t mask, const Span& span, const Access& access);
    void write(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block, uint64_t address,
               uint32_t bytes, AccessFlags flags, const std::byte* data);
    // A bulk copy issued by this lane will read or write here: what was written before must be
    // ordered for the async proxy. Until `settle` nobody may touch what will be written, except
    // that reductions do not mind each other.
    void read_async(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                    uint64_t address, uint32_t bytes);
    void owe(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block, uint64_t address,
             uint32_t bytes, bool reduces);
    // It has, and the writes count as the lane's own of this moment.
    void settle(Warp& warp, uint32_t lane, const MemoryBlock& block, uint64_t address,
                uint32_t bytes);
    // An access of these bytes that one of another grid conflicts with; null when there is none.
    // `wrote` says what it was.
    const GlobalCell* find_conflict(const MemoryBlock& block, uint64_t address, uint32_t bytes,
                                    AccessFlags flags, bool writes, bool& wrote) const;
    // What last wrote the word in this grid; its cluster is 0 when nothing has.
    const GlobalCell& last_write(const MemoryBlock& block, uint64_t address);

  private:
    using Directory = std::vector<std::unique_ptr<GlobalChunk>>;

    GlobalChunk& chunk_of(const MemoryBlock& block, uint64_t offset);
    // f(cells, bytes of each of their words, begin and end in the block) for each granule or word
    // that the bytes touch.
    template <class F>
    void each_unit(const MemoryBlock& block, uint64_t address, uint32_t bytes, F f);
    void conflict(Warp& warp, const Op& op, uint32_t lane, uint64_t address,
                  const GlobalCell& earlier, bool writes, bool earlier_wrote);
    bool ordered(Warp& warp, uint32_t lane, const GlobalCell& earlier) const;
    // Both are strong, with scopes that hold both threads, and neither is a bulk reduction of
    // another operation.
    static bool tolerates(const Warp& warp, const Op& op, AccessFlags flags,
                          const GlobalCell& earlier);
    void need_async(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                    uint64_t address, uint32_t bytes);
    // A read of a whole granule, whose `how` says which parts of it are whose. False where there is
    // a write to compare with, or a read to keep.
    bool note_read(GlobalWord& at, const Warp& warp, GlobalCell made);
    void split_granule(GlobalChunk& chunk, uint32_t index);
    // Accesses beside the latest.
    uint32_t new_earlier(const EarlierAccess& made);
    void keep_write(GlobalWord& at, uint8_t bytes);
    void settle_earlier(const GlobalWord& at, const GlobalCell& ended);
    bool keep_read(GlobalWord& at, uint8_t bytes, uint32_t cluster);
    void need_earlier_ordered(Warp& warp, const Op& op, uint32_t lane, uint64_t address,
                              const GlobalWord& at, uint8_t touched, AccessFlags flags,
                              bool writes);
    void drop_earlier(Warp& warp, uint32_t lane, GlobalWord& at, uint8_t touched, bool strong);
    void free_list(uint32_t first);

    static constexpr uint32_t kMostOthers = 4;  // readers of other clusters that a word keeps
    // Strong writes that nothing orders before the latest.
    static constexpr uint32_t kMostStrongWrites = 8;

    std::unordered_map<uint64_t, Directory> blocks_;  // by address
    const MemoryBlock* last_block_ = nullptr;
    Directory* last_directory_ = nullptr;
    std::vector<EarlierAccess> earlier_;  // the first stands for nothing
    uint32_t free_earlier_ = 0;
};

}  // namespace fattn::vgpu
