// What is remembered of accesses to shared memory, to find two that nothing orders. Used by every
// access to a block's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "exec/shadow_layer.h"

namespace fattn::vgpu {

class Warp;
struct Op;

// Whole chunks of 16 bytes of shared memory.
struct SharedRange {
    uint32_t at;
    uint32_t bytes;
};

// The shared memory of one block: contents, which bytes have been written, and the shadow.
class SharedMemory {
  public:
    // `pool` is null where no shadow is wanted.
    void allocate(uint32_t size, ShadowPool* pool);
    ~SharedMemory();

    void read(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size,
              AccessFlags flags) {
        if (!words_.size) return;
        for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word)
            read_word(warp, op, lane, word, offset, size, flags);
    }
    // The same for every lane of `mask`; `in_row` says that all lanes are there and that each has
    // its bytes behind those of the lane before.
    void read_all(Warp& warp, const Op& op, uint32_t mask, const uint32_t* offsets, bool in_row,
                  uint32_t size, AccessFlags flags);
    // `data` is what will be written, before it is; null where that does not matter.
    void write(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size,
               AccessFlags flags, const std::byte* data) {
        if (!words_.size) return;
        if (!held_.empty()) need_free(warp, op, lane, offset, size);
        for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
            write_word(warp, op, lane, word, offset, size, flags, data);
        }
    }
    // A strong write of whole words by all lanes of `mask`.
    void write_strong(Warp& warp, const Op& op, uint32_t mask, uint32_t offset, uint32_t size);
    // Writes of one instruction to whole words, lane by lane.
    WordAccess words_of(const Warp& warp, const Op& op) { return {words_, warp, op}; }
    bool has_shadow() const { return words_.size != 0; }
    bool is_held() const { return !held_.empty(); }
    // An asynchronous operation issued by this lane will write here: nobody may touch it until
    // `settle`.
    void owe(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    // A bulk copy issued by this lane will read or write here: what was written before must be
    // ordered for the async proxy.
    void read_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    // The same without a trace: who reads is noted when the read has ended.
    void need_readable(Warp& warp, const Op& op, uint32_t lane,
                       const std::vector<SharedRange>& ranges);
    void owe_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    // Of either proxy's reduction, which does not mind other reductions.
    void owe_reduction(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size,
                       bool async_proxy);
    // Nobody may write here from `hold` to `unhold`: an asynchronous operation reads. Whole
    // chunks of 16 bytes.
    void hold(uint32_t offset, uint32_t size, uint32_t pc);
    void unhold(uint32_t offset, uint32_t size);
    // `agent`, which need not be a thread, has read here in `epoch`.
    void note_read(uint32_t offset, uint32_t size, uint32_t agent, uint32_t epoch, uint32_t pc);
    // It has, and the writes count as the lane's own of this moment (or of `agent` in `epoch`).
    void settle(uint32_t offset, uint32_t size, uint32_t agent, uint32_t epoch, uint32_t pc);

    // Where the last write of whole words is this one it counts as that of `agent` in `epoch`.
    void replace_write(uint32_t offset, uint32_t size, uint32_t writer, uint32_t written,
                       uint32_t agent, uint32_t epoch) {
        for (uint32_t word = offset / 4; word < (offset + size) / 4; ++word) {
            if (words_.epochs[word] != written || words_.writers[word] != writer) continue;
            words_.epochs[word] = epoch;
            words_.writers[word] = agent;
        }
    }

    std::vector<std::byte> bytes;
    std::vector<uint8_t> defined;
    uint64_t id = 0;  // of no other block in the grid, and never 0

  private:
    void read_word(Warp& warp, const Op& op, uint32_t lane, uint32_t word, uint32_t offset,
                   uint32_t size, AccessFlags flags);
    void write_word(Warp& warp, const Op& op, uint32_t lane, uint32_t word, uint32_t offset,
                    uint32_t size, AccessFlags flags, const std::byte* data);
    void read_cell(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer, uint32_t cell,
                   AccessFlags flags);
    void need_write_ordered(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer,
                            uint32_t cell, AccessFlags flags, bool same_value);
    void write_cell(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer, uint32_t cell,
                    AccessFlags flags, bool same_value);
    bool is_split(uint32_t word) const { return words_.epochs[word] == ShadowLayer::kSplit; }
    void split(uint32_t word);
    void owe_part(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    void need_readable_chunk(Warp& warp, const Op& op, uint32_t lane, uint32_t offset);
    void need_free(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    void need_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    [[noreturn]] void race(Warp& warp, const Op& op, uint32_t lane, const ShadowLayer& layer,
                           uint32_t cell, bool writes, bool earlier_wrote, uint32_t agent,
                           uint32_t pc, bool pending);

    // Of a chunk of 16 bytes, how many asynchronous operations read it until somebody has waited
    // for them.
    struct Held {
        uint32_t count = 0;
        uint32_t pc = 0;
    };

    // Strong writes of a warp that nothing orders before the latest one of their cell, with which
    // that does not conflict; so many.
    struct StrongWrite {
        uint32_t first_agent = 0;  // of the warp
        uint32_t lanes = 0;
        uint32_t epoch = 0;
        uint32_t pc = 0;
    };
    static constexpr size_t kMostStrongWrites = 64;
    using StrongWrites = std::unordered_map<uint32_t, std::vector<StrongWrite>>;
    StrongWrites& strong_writes_of(const ShadowLayer& layer) {
        return strong_writes_[&layer == &words_ ? 0 : 1];
    }
    void need_strong_ordered(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer,
                             uint32_t cell, bool writes);
    static bool keeps(const StrongWrites& writes, uint32_t cell, const StrongWrite& wanted);
    void keep_strong_write(const Warp& warp, uint32_t mask, ShadowLayer& layer, uint32_t cell);
    void keep_strong_write(const Warp& warp, uint32_t mask, ShadowLayer& layer, uint32_t cell,
                           const StrongWrite& made);

    StrongWrites strong_writes_[2];  // of words and of bytes, by cell
    uint32_t first_strong_ = ~0u;    // all words that have had some lie between these
    uint32_t last_strong_ = 0;
    ShadowPool* pool_ = nullptr;
    ShadowLayer words_;
    ShadowLayer bytes_;
    std::vector<Held> held_;  // empty before the first
};

}  // namespace fattn::vgpu
