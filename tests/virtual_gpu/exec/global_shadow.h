// What is remembered of accesses to device memory within one grid, to find two that nothing orders.
// Used by global accesses.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "exec/shadow.h"
#include "gpu/memory.h"

namespace fattn::vgpu {

struct GlobalCell {
    static constexpr uint8_t kStrongBit = 1;
    static constexpr uint8_t kAsyncBit = 2;  // by a bulk copy
    uint32_t cluster = 0;                    // 0: nothing yet
    uint32_t epoch = 0;
    uint16_t agent = 0;
    uint8_t how = 0;
    uint8_t bytes = 0;  // of the word, a bit each
    uint32_t pc = 0;
};

// The two latest accesses of each word: a write, and a read, or that blocks of several clusters
// read.
struct GlobalWord {
    static constexpr uint32_t kMany = 0xffffffff;
    GlobalCell write;
    GlobalCell read;
};

struct Access;
struct Span;

class GlobalShadow {
  public:
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
    // What last wrote the word in this grid; its cluster is 0 when nothing has.
    const GlobalCell& last_write(const MemoryBlock& block, uint64_t address) {
        return words_of(block)[(address - block.base) / 4].write;
    }

  private:
    GlobalWord* words_of(const MemoryBlock& block);
    void conflict(Warp& warp, const Op& op, uint32_t lane, uint64_t address,
                  const GlobalCell& earlier, bool writes, bool earlier_wrote);
    bool ordered(Warp& warp, uint32_t lane, const GlobalCell& earlier) const;
    void need_async(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                    uint64_t address, uint32_t bytes);

    struct Free {
        void operator()(GlobalWord* words) const;
    };
    std::unordered_map<const MemoryBlock*, std::unique_ptr<GlobalWord[], Free>> blocks_;
    const MemoryBlock* last_block_ = nullptr;
    GlobalWord* last_words_ = nullptr;
};

}  // namespace fattn::vgpu
