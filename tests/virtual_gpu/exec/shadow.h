// What is remembered of accesses to shared memory, to find two that nothing orders. Used by every
// access to a block's memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fattn::vgpu {

class Warp;
struct Op;

enum AccessFlags : uint16_t {
    kPlain = 0,
    kStrong = 1,  // atomic, volatile, relaxed or stronger
};

// Epoch of a write that an asynchronous operation still owes.
inline constexpr uint32_t kPendingEpoch = 0xffffffff;

// Cells for units of one size, each part of them in an array by cell, and who read them. Epochs of
// a thread's grids never repeat, so a layer can serve another block when its own has ended.
struct ShadowLayer {
    // Epoch of a word whose four bytes have cells of their own.
    static constexpr uint32_t kSplit = 0xfffffffe;
    static constexpr uint32_t kStrongBit = 1u << 31;

    // Of one warp: the last epoch in which it read, which lanes did, and where; kStrongBit of the
    // latter says that they were strong reads.
    struct Readers {
        uint32_t* epochs;
        uint32_t* lanes;
        uint32_t* pcs;
    };

    uint32_t size = 0;
    uint32_t* epochs = nullptr;   // of the last write
    uint32_t* writers = nullptr;  // its agent, and whether it was strong
    uint32_t* pcs = nullptr;
    uint32_t* last_reads = nullptr;  // the latest epoch in which anything read

    void allocate(uint32_t num_cells);
    void forget();  // what was written or is owed
    bool has_readers(uint32_t warp) const { return warp < readers_.size() && readers_[warp]; }
    uint32_t num_readers() const { return static_cast<uint32_t>(readers_.size()); }
    Readers readers_of(uint32_t warp) {
        if (!has_readers(warp)) make_readers(warp);
        uint32_t* const first = readers_[warp].get();
        return {first, first + size, first + 2 * size_t{size}};
    }
    void note_read(uint32_t warp, uint32_t cell, uint32_t lanes, uint32_t epoch, uint32_t pc) {
        const Readers readers = readers_of(warp);
        if (readers.epochs[cell] != epoch || (readers.pcs[cell] & ~pc & kStrongBit)) {
            readers.epochs[cell] = epoch;
            readers.lanes[cell] = 0;
            readers.pcs[cell] = pc;
        }
        readers.lanes[cell] |= lanes;
        last_reads[cell] = std::max(last_reads[cell], epoch);
    }

    // Strong reads do not take the place of weak ones behind `floor`, with which more conflicts.
    void note_strong_read(uint32_t warp, uint32_t cell, uint32_t lanes, uint32_t epoch, uint32_t pc,
                          uint32_t floor) {
        const Readers readers = readers_of(warp);
        if (readers.epochs[cell] > floor && !(readers.pcs[cell] & kStrongBit)) return;
        note_read(warp, cell, lanes, epoch, pc | kStrongBit);
    }

  private:
    void make_readers(uint32_t warp);

    std::unique_ptr<uint32_t[]> cells_;
    std::vector<std::unique_ptr<uint32_t[]>> readers_;  // by warp of the cluster
};

// Layers of blocks that have ended, of this thread's grids.
class ShadowPool {
  public:
    static ShadowPool& of_thread();

    ShadowLayer take(uint32_t num_cells);
    void give(ShadowLayer&& layer);
    // The first epoch of a cluster that starts: behind those of all layers here.
    uint32_t first_epoch();
    void cluster_ended(uint32_t last_epoch) { last_epoch_ = std::max(last_epoch_, last_epoch); }

  private:
    static constexpr size_t kMostLayers = 16;

    std::vector<ShadowLayer> layers_;
    uint32_t last_epoch_ = 0;
};

// What one warp's accesses of whole words are compared with and leave behind, where nothing is to
// be looked at twice: the last write, of a write also the last read, is ordered before everyone.
class WordAccess {
  public:
    WordAccess(ShadowLayer& words, const Warp& warp, const Op& op);

    // False when the cells have to be looked at one by one.
    bool read(uint32_t word, uint32_t count, uint32_t lane) const;
    bool write(uint32_t word, uint32_t count, uint32_t lane) const;
    // A write that an asynchronous operation owes.
    bool owe(uint32_t word, uint32_t count, uint32_t lane) const;
    // The same where each of 32 lanes has `count` words behind those of the lane before.
    bool read_row(uint32_t word, uint32_t count) const;
    bool write_row(uint32_t word, uint32_t count) const;

  private:
    using Four = uint32_t __attribute__((vector_size(16)));

    uint32_t* epochs_;
    uint32_t* writers_;
    uint32_t* pcs_;
    uint32_t* last_reads_;
    ShadowLayer::Readers readers_;
    uint32_t floor_, epoch_, pc_, first_agent_;
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
    void need_readable(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    void owe_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    // Of either proxy's reduction, which does not mind other reductions.
    void owe_reduction(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size,
                       bool async_proxy);
    // Nobody may write here from `hold` to `unhold`: an asynchronous operation reads. Whole words.
    void hold(uint32_t offset, uint32_t size, uint32_t pc);
    void unhold(uint32_t offset, uint32_t size);
    // `agent`, which need not be a thread, has read here in `epoch`.
    void note_read(uint32_t offset, uint32_t size, uint32_t agent, uint32_t epoch, uint32_t pc);
    // It has, and the writes count as the lane's own of this moment (or of `agent` in `epoch`).
    void settle(uint32_t offset, uint32_t size, uint32_t agent, uint32_t epoch, uint32_t pc);

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
    void write_cell(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer, uint32_t cell,
                    AccessFlags flags, bool same_value);
    bool is_split(uint32_t word) const { return words_.epochs[word] == ShadowLayer::kSplit; }
    void split(uint32_t word);
    void need_free(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    void need_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size);
    [[noreturn]] void race(Warp& warp, const Op& op, uint32_t lane, const ShadowLayer& layer,
                           uint32_t cell, bool writes, bool earlier_wrote, uint32_t agent,
                           uint32_t pc, bool pending);

    // Of a word, how many asynchronous operations read it until somebody has waited for them.
    struct Held {
        uint32_t count = 0;
        uint32_t pc = 0;
    };

    ShadowPool* pool_ = nullptr;
    ShadowLayer words_;
    ShadowLayer bytes_;
    std::vector<Held> held_;  // empty before the first
};

}  // namespace fattn::vgpu
