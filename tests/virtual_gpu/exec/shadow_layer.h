// Arrays of what is remembered of each word or byte of shared memory, and the accesses that leave
// their mark there without being looked at one by one. Used by SharedMemory and its callers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "exec/cells.h"

namespace fattn::vgpu {

class Warp;
struct Op;

enum AccessFlags : uint16_t {
    kPlain = 0,
    kStrong = 1,  // atomic, volatile, relaxed or stronger
    // Strong for threads of the same block or cluster alone.
    kStrongInBlock = kStrong | 2,
    kStrongInCluster = kStrong | 4,
    kBulkReduction = kStrong | 8,  // which minds reductions of other operations
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
        return known_readers(warp);
    }
    // Of a warp that has some.
    Readers known_readers(uint32_t warp) const {
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

    // Of `count` cells, by weak reads.
    template <uint32_t count>
    void note_reads(const Readers& readers, uint32_t cell, uint32_t lanes, uint32_t epoch,
                    uint32_t pc) const {
        using V = CellsOf<count>;
        for (uint32_t i = cell; i < cell + count; i += kWidthOf<V>) {
            const V earlier_pcs = cells_at<V>(readers.pcs + i);
            const V mine =
                V(cells_at<V>(readers.epochs + i) == epoch) & V(earlier_pcs < kStrongBit);
            const V reads = cells_at<V>(last_reads + i), now = V{} + epoch;
            set_cells(readers.epochs + i, now);
            set_cells(readers.lanes + i, (cells_at<V>(readers.lanes + i) & mine) | lanes);
            set_cells(readers.pcs + i, choose(mine, earlier_pcs, V{} + pc));
            set_cells(last_reads + i, choose(V(reads > now), reads, now));
        }
    }

    // Strong reads do not take the place of weak ones behind `floor`, with which more conflicts.
    void note_strong_read(uint32_t warp, uint32_t cell, uint32_t lanes, uint32_t epoch, uint32_t pc,
                          uint32_t floor) {
        const Readers readers = readers_of(warp);
        if (readers.epochs[cell] > floor && !(readers.pcs[cell] & kStrongBit)) return;
        note_read(warp, cell, lanes, epoch, pc | kStrongBit);
    }

    // Whether one of `count` words is split.
    template <uint32_t count>
    bool any_split(uint32_t cell) const {
        using V = CellsOf<count>;
        V found = {};
        for (uint32_t i = 0; i < count; i += kWidthOf<V>)
            found |= V(cells_at<V>(epochs + cell + i) == kSplit);
        return any_of(found);
    }

    // `count` words count as written, and as read by nobody since.
    template <uint32_t count>
    void set_written(uint32_t cell, uint32_t agent, uint32_t epoch, uint32_t pc) const {
        fill_cells<count>(epochs + cell, epoch);
        fill_cells<count>(writers + cell, agent);
        fill_cells<count>(pcs + cell, pc);
        fill_cells<count>(last_reads + cell, 0);
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
    // The same of 4 words, or a multiple of 8.
    template <uint32_t count>
    bool owe(uint32_t word, uint32_t lane) const {
        return write_cells<count>(word, first_agent_ + lane, kPendingEpoch);
    }
    template <uint32_t count>
    bool read_cells(uint32_t word, uint32_t lane) const {
        using V = CellsOf<count>;
        V late = {};
        for (uint32_t i = word; i < word + count; i += kWidthOf<V>)
            late |= V(cells_at<V>(epochs_ + i) > floor_);
        if (any_of(late)) return false;
        layer_.note_reads<count>(readers_, word, 1u << lane, epoch_, pc_);
        return true;
    }
    // Words that have been looked at.
    template <uint32_t count>
    void set_owed(uint32_t word, uint32_t lane) const {
        layer_.set_written<count>(word, first_agent_ + lane, kPendingEpoch, pc_);
    }
    // The same where each of 32 lanes has `count` words behind those of the lane before.
    bool read_row(uint32_t word, uint32_t count) const;
    bool write_row(uint32_t word, uint32_t count) const;

  private:
    template <uint32_t count>
    bool write_cells(uint32_t word, uint32_t writer, uint32_t epoch) const {
        using V = CellsOf<count>;
        V late = {};
        for (uint32_t i = word; i < word + count; i += kWidthOf<V>)
            late |= V(cells_at<V>(epochs_ + i) > floor_) | V(cells_at<V>(last_reads_ + i) > floor_);
        if (any_of(late)) return false;
        layer_.set_written<count>(word, writer, epoch, pc_);
        return true;
    }

    ShadowLayer& layer_;
    uint32_t* epochs_;
    uint32_t* writers_;
    uint32_t* pcs_;
    uint32_t* last_reads_;
    ShadowLayer::Readers readers_;
    uint32_t floor_, epoch_, pc_, first_agent_;
};

}  // namespace fattn::vgpu
