// What one lane was found to be ordered behind while it looks at the words that one asynchronous
// operation touches: most of them have been accessed alike, and need no second look. Used by
// SharedMemory.
#pragma once

#include <cstdint>
#include <vector>

#include "exec/cells.h"
#include "exec/shadow_layer.h"

namespace fattn::vgpu {

// The last write of a word. It stands for what the same agent wrote no later.
class PassedWrite {
  public:
    template <uint32_t count>
    bool stands_for(const ShadowLayer& words, uint32_t word) const {
        if (!known_) return false;
        using V = CellsOf<count>;
        V others = {};
        for (uint32_t i = 0; i < count; i += kWidthOf<V>) {
            const auto late = V(cells_at<V>(words.epochs + word + i) > epoch_);
            others |= late | (cells_at<V>(words.writers + word + i) ^ writer_);
        }
        return !any_of(others);
    }
    void pass(uint32_t epoch, uint32_t writer) {
        known_ = epoch < ShadowLayer::kSplit;
        epoch_ = epoch;
        writer_ = writer;
    }

  private:
    bool known_ = false;
    uint32_t epoch_ = 0, writer_ = 0;
};

// The same with the reads since then, for a write.
class PassedAccesses {
  public:
    explicit PassedAccesses(uint32_t floor) : floor_(floor) {}

    template <uint32_t count>
    bool stand_for(const ShadowLayer& words, uint32_t word) const {
        if (!write_.stands_for<count>(words, word)) return false;
        using V = CellsOf<count>;
        V read = {};
        for (uint32_t i = 0; i < count; i += kWidthOf<V>)
            read |= V(cells_at<V>(words.last_reads + word + i) > floor_);
        if (!any_of(read)) return true;
        if (reads_.size() < words.num_readers()) return false;
        V others = {};
        for (uint32_t warp = 0; warp < words.num_readers(); ++warp) {
            if (!words.has_readers(warp)) continue;
            const ShadowLayer::Readers readers = words.known_readers(warp);
            const Read& known = reads_[warp];
            for (uint32_t i = 0; i < count; i += kWidthOf<V>) {
                const V epochs = cells_at<V>(readers.epochs + word + i);
                const V lanes = cells_at<V>(readers.lanes + word + i) & ~known.lanes;
                others |= V(epochs > floor_) & (V(epochs > known.epoch) | V(lanes != 0));
            }
        }
        return !any_of(others);
    }
    // To be taken before the word is looked at.
    void take(const ShadowLayer& words, uint32_t word) {
        write_.pass(words.epochs[word], words.writers[word]);
        if (words.last_reads[word] <= floor_) return;
        reads_.resize(words.num_readers());
        for (uint32_t warp = 0; warp < words.num_readers(); ++warp) {
            if (!words.has_readers(warp)) continue;
            const ShadowLayer::Readers readers = words.known_readers(warp);
            const Read made{readers.epochs[word], readers.lanes[word]};
            Read& known = reads_[warp];
            const bool in_known = made.epoch <= known.epoch && (made.lanes & ~known.lanes) == 0;
            if (made.epoch > floor_ && !in_known) known = made;
        }
    }

  private:
    // Of a warp these lanes, up to this epoch.
    struct Read {
        uint32_t epoch = 0, lanes = 0;
    };

    uint32_t floor_;
    PassedWrite write_;
    std::vector<Read> reads_;  // by warp
};

}  // namespace fattn::vgpu
