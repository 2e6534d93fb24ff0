// Layers of shadow cells, and accesses of whole words.
#include "exec/shadow_layer.h"

#include "exec/cells.h"
#include "exec/warp.h"

namespace fattn::vgpu {
void ShadowLayer::allocate(uint32_t num_cells) {
    size = num_cells;
    cells_ = std::make_unique<uint32_t[]>(4 * size_t{num_cells});
    epochs = cells_.get();
    writers = epochs + num_cells;
    pcs = writers + num_cells;
    last_reads = pcs + num_cells;
    readers_.clear();
}

void ShadowLayer::forget() { std::fill(epochs, epochs + size, 0u); }

void ShadowLayer::make_readers(uint32_t warp) {
    if (warp >= readers_.size()) readers_.resize(warp + 1);
    readers_[warp] = std::make_unique<uint32_t[]>(3 * size_t{size});
}

ShadowLayer ShadowPool::take(uint32_t num_cells) {
    ShadowLayer made;
    for (ShadowLayer& layer : layers_) {
        if (layer.size != num_cells) continue;
        made = std::move(layer);
        std::swap(layer, layers_.back());
        layers_.pop_back();
        return made;
    }
    made.allocate(num_cells);
    return made;
}

ShadowPool& ShadowPool::of_thread() {
    thread_local ShadowPool pool;
    return pool;
}

uint32_t ShadowPool::first_epoch() {
    // Far from the end of what an epoch can be; the layers know no more then.
    if (last_epoch_ > uint32_t{1} << 30) {
        layers_.clear();
        last_epoch_ = 0;
    }
    return last_epoch_ + 1;
}

void ShadowPool::give(ShadowLayer&& layer) {
    if (layer.size == 0 || layers_.size() >= kMostLayers) return;
    layer.forget();
    layers_.push_back(std::move(layer));
}

WordAccess::WordAccess(ShadowLayer& words, const Warp& warp, const Op& op)
    : layer_(words),
      epochs_(words.epochs),
      writers_(words.writers),
      pcs_(words.pcs),
      last_reads_(words.last_reads),
      readers_(words.readers_of(warp.knowledge.first_agent() / 32)),
      floor_(warp.knowledge.floor()),
      epoch_(warp.knowledge.epoch()),
      pc_(warp.program.index_of(op)),
      first_agent_(warp.knowledge.first_agent()) {}

bool WordAccess::read(uint32_t word, uint32_t count, uint32_t lane) const {
    if (count == 4) return read_cells<4>(word, lane);
    const uint32_t bit = 1u << lane;
    for (uint32_t i = word; i < word + count; ++i) {
        if (epochs_[i] > floor_) return false;
    }
    for (uint32_t i = word; i < word + count; ++i) {
        if (readers_.epochs[i] != epoch_ || readers_.pcs[i] >= ShadowLayer::kStrongBit) {
            readers_.epochs[i] = epoch_;
            readers_.lanes[i] = 0;
            readers_.pcs[i] = pc_;
        }
        readers_.lanes[i] |= bit;
        last_reads_[i] = std::max(last_reads_[i], epoch_);
    }
    return true;
}

bool WordAccess::read_row(uint32_t word, uint32_t count) const {
    const uint32_t num_words = 32 * count;
    uint32_t most = 0;
    for (uint32_t i = 0; i < num_words; ++i) most = std::max(most, epochs_[word + i]);
    if (most > floor_) return false;
    uint32_t* const epochs = readers_.epochs + word;
    uint32_t* const lanes = readers_.lanes + word;
    uint32_t* const pcs = readers_.pcs + word;
    uint32_t* const last_reads = last_reads_ + word;
    const uint32_t shift = count == 4 ? 2 : count - 1;
    for (uint32_t i = 0; i < num_words; ++i) {
        const bool mine = epochs[i] == epoch_ && pcs[i] < ShadowLayer::kStrongBit;
        epochs[i] = epoch_;
        lanes[i] = (mine ? lanes[i] : 0) | 1u << (i >> shift);
        pcs[i] = mine ? pcs[i] : pc_;
        last_reads[i] = std::max(last_reads[i], epoch_);
    }
    return true;
}

bool WordAccess::write(uint32_t word, uint32_t count, uint32_t lane) const {
    const uint32_t writer = first_agent_ + lane;
    if (count == 4) return write_cells<4>(word, writer, epoch_);
    for (uint32_t i = word; i < word + count; ++i) {
        if (epochs_[i] > floor_ || last_reads_[i] > floor_) return false;
    }
    for (uint32_t i = word; i < word + count; ++i) {
        epochs_[i] = epoch_;
        writers_[i] = writer;
        pcs_[i] = pc_;
        last_reads_[i] = 0;
    }
    return true;
}

bool WordAccess::owe(uint32_t word, uint32_t count, uint32_t lane) const {
    if (count == 4) return owe<4>(word, lane);
    if (!write(word, count, lane)) return false;
    for (uint32_t i = word; i < word + count; ++i) epochs_[i] = kPendingEpoch;
    return true;
}

bool WordAccess::write_row(uint32_t word, uint32_t count) const {
    const uint32_t num_words = 32 * count;
    uint32_t most = 0;
    for (uint32_t i = 0; i < num_words; ++i)
        most = std::max({most, epochs_[word + i], last_reads_[word + i]});
    if (most > floor_) return false;
    const uint32_t shift = count == 4 ? 2 : count - 1;
    for (uint32_t i = 0; i < num_words; ++i) epochs_[word + i] = epoch_;
    for (uint32_t i = 0; i < num_words; ++i) writers_[word + i] = first_agent_ + (i >> shift);
    for (uint32_t i = 0; i < num_words; ++i) pcs_[word + i] = pc_;
    for (uint32_t i = 0; i < num_words; ++i) last_reads_[word + i] = 0;
    return true;
}

}  // namespace fattn::vgpu
