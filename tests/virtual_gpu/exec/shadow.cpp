// The race rules of shared memory.
#include "exec/shadow.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/lanes.h"
#include "exec/specials.h"
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

void SharedMemory::allocate(uint32_t size, ShadowPool* pool) {
    // The poison of memory that was never written: a signalling NaN in every format.
    bytes.resize(size);
    for (uint32_t i = 0; i < size; ++i)
        bytes[i] = std::byte{static_cast<uint8_t>(i % 2 == 0 ? 0xa5 : 0x7f)};
    defined.assign(size, 0);
    pool_ = pool;
    if (pool && size != 0) words_ = pool->take((size + 3) / 4);
}

SharedMemory::~SharedMemory() {
    if (!pool_) return;
    pool_->give(std::move(words_));
    pool_->give(std::move(bytes_));
}

WordAccess::WordAccess(ShadowLayer& words, const Warp& warp, const Op& op)
    : epochs_(words.epochs),
      writers_(words.writers),
      pcs_(words.pcs),
      last_reads_(words.last_reads),
      readers_(words.readers_of(warp.knowledge.first_agent() / 32)),
      floor_(warp.knowledge.floor()),
      epoch_(warp.knowledge.epoch()),
      pc_(warp.program.index_of(op)),
      first_agent_(warp.knowledge.first_agent()) {}

namespace {

// Elementwise; what the compilers make of a conditional expression over vectors.
template <class V>
V choose(V condition, V yes, V no) {
    return (condition & yes) | (~condition & no);
}

template <class V>
V cells_at(const uint32_t* from) {
    V loaded;
    std::memcpy(&loaded, from, sizeof loaded);
    return loaded;
}

}  // namespace

bool WordAccess::read(uint32_t word, uint32_t count, uint32_t lane) const {
    const uint32_t bit = 1u << lane;
    if (count == 4) {
        const Four past = cells_at<Four>(epochs_ + word) > floor_;
        uint64_t any[2];
        std::memcpy(any, &past, sizeof any);
        if ((any[0] | any[1]) != 0) return false;
        const Four mine = (cells_at<Four>(readers_.epochs + word) == epoch_) &
                          (cells_at<Four>(readers_.pcs + word) < ShadowLayer::kStrongBit);
        const Four lanes = (cells_at<Four>(readers_.lanes + word) & mine) | bit;
        const Four pcs = choose(mine, cells_at<Four>(readers_.pcs + word), Four{} + pc_);
        const Four reads = cells_at<Four>(last_reads_ + word), now = Four{} + epoch_;
        const Four last = choose(Four(reads > now), reads, now);
        std::memcpy(readers_.epochs + word, &now, sizeof now);
        std::memcpy(readers_.lanes + word, &lanes, sizeof lanes);
        std::memcpy(readers_.pcs + word, &pcs, sizeof pcs);
        std::memcpy(last_reads_ + word, &last, sizeof last);
        return true;
    }
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
#pragma GCC ivdep
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

void SharedMemory::read_cell(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer,
                             uint32_t cell, AccessFlags flags) {
    const uint32_t written = layer.epochs[cell], writer = layer.writers[cell];
    const WarpKnowledge& knowledge = warp.knowledge;
    if (written > knowledge.floor()) {
        const bool pending = written == kPendingEpoch;
        const bool strong = writer & ShadowLayer::kStrongBit;
        if (pending || !((flags & kStrong) && strong)) {
            const uint32_t agent = writer & ~ShadowLayer::kStrongBit;
            if (pending || !knowledge.ordered(lane, agent, written)) {
                race(warp, op, lane, layer, cell, false, true, agent, layer.pcs[cell], pending);
            }
        }
    }
    const uint32_t pc = warp.program.index_of(op);
    if (flags & kStrong) {
        return layer.note_strong_read(knowledge.first_agent() / 32, cell, 1u << lane,
                                      knowledge.epoch(), pc, knowledge.floor());
    }
    layer.note_read(knowledge.first_agent() / 32, cell, 1u << lane, knowledge.epoch(), pc);
}

void SharedMemory::read_all(Warp& warp, const Op& op, uint32_t mask, const uint32_t* offsets,
                            bool in_row, uint32_t size, AccessFlags flags) {
    if (!words_.size) return;
    const bool words = size % 4 == 0 && !(flags & kStrong);
    const WordAccess access(words_, warp, op);
    if (words && in_row && access.read_row(offsets[0] / 4, size / 4)) return;
    each_lane(mask, [&](uint32_t lane) {
        const uint32_t offset = offsets[lane];
        if (words && access.read(offset / 4, size / 4, lane)) return;
        read(warp, op, lane, offset, size, flags);
    });
}

void SharedMemory::write_cell(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer,
                              uint32_t cell, AccessFlags flags, bool same_value) {
    const WarpKnowledge& knowledge = warp.knowledge;
    const uint32_t pc = warp.program.index_of(op);
    const uint32_t written = layer.epochs[cell];
    if (written > knowledge.floor()) {
        const bool pending = written == kPendingEpoch;
        const bool strong = layer.writers[cell] & ShadowLayer::kStrongBit;
        const uint32_t agent = layer.writers[cell] & ~ShadowLayer::kStrongBit;
        const bool harmless =
            ((flags & kStrong) && strong) ||
            (same_value && layer.pcs[cell] == pc && !warp.grid.options.checks.strict);
        if (pending || (!harmless && !knowledge.ordered(lane, agent, written))) {
            race(warp, op, lane, layer, cell, true, true, agent, layer.pcs[cell], pending);
        }
    }
    if (layer.last_reads[cell] > knowledge.floor()) {
        for (uint32_t other = 0; other < layer.num_readers(); ++other) {
            if (!layer.has_readers(other)) continue;
            const ShadowLayer::Readers readers = layer.readers_of(other);
            const uint32_t epoch = readers.epochs[cell];
            if (epoch <= knowledge.floor()) continue;
            if ((flags & kStrong) && (readers.pcs[cell] & ShadowLayer::kStrongBit)) continue;
            for (uint32_t lanes = readers.lanes[cell]; lanes != 0; lanes &= lanes - 1) {
                const uint32_t agent = other * 32 + static_cast<uint32_t>(std::countr_zero(lanes));
                if (!knowledge.ordered(lane, agent, epoch)) {
                    race(warp, op, lane, layer, cell, true, false, agent,
                         readers.pcs[cell] & ~ShadowLayer::kStrongBit, false);
                }
            }
        }
    }
    layer.epochs[cell] = knowledge.epoch();
    layer.writers[cell] =
        (knowledge.first_agent() + lane) | (flags & kStrong ? ShadowLayer::kStrongBit : 0);
    layer.pcs[cell] = pc;
    layer.last_reads[cell] = 0;
}

void SharedMemory::split(uint32_t word) {
    if (is_split(word)) return;
    if (!bytes_.size) bytes_ = pool_->take(words_.size * 4);
    for (uint32_t i = word * 4; i < word * 4 + 4; ++i) {
        bytes_.epochs[i] = words_.epochs[word];
        bytes_.writers[i] = words_.writers[word];
        bytes_.pcs[i] = words_.pcs[word];
        bytes_.last_reads[i] = words_.last_reads[word];
        for (uint32_t warp = 0; warp < words_.num_readers(); ++warp) {
            if (!words_.has_readers(warp)) continue;
            const ShadowLayer::Readers from = words_.readers_of(warp), to = bytes_.readers_of(warp);
            to.epochs[i] = from.epochs[word];
            to.lanes[i] = from.lanes[word];
            to.pcs[i] = from.pcs[word];
        }
    }
    words_.epochs[word] = ShadowLayer::kSplit;
}

void SharedMemory::read_word(Warp& warp, const Op& op, uint32_t lane, uint32_t word,
                             uint32_t offset, uint32_t size, AccessFlags flags) {
    const uint32_t begin = std::max(offset, word * 4);
    const uint32_t end = std::min(offset + size, word * 4 + 4);
    const bool whole = end - begin == 4;
    if (whole && !is_split(word)) return read_cell(warp, op, lane, words_, word, flags);
    split(word);
    for (uint32_t byte = begin; byte < end; ++byte) read_cell(warp, op, lane, bytes_, byte, flags);
}

void SharedMemory::write_word(Warp& warp, const Op& op, uint32_t lane, uint32_t word,
                              uint32_t offset, uint32_t size, AccessFlags flags,
                              const std::byte* data) {
    const uint32_t begin = std::max(offset, word * 4);
    const uint32_t end = std::min(offset + size, word * 4 + 4);
    const bool same =
        data && std::memcmp(bytes.data() + begin, data + (begin - offset), end - begin) == 0;
    const bool whole = end - begin == 4;
    if (whole && !is_split(word)) return write_cell(warp, op, lane, words_, word, flags, same);
    split(word);
    for (uint32_t byte = begin; byte < end; ++byte)
        write_cell(warp, op, lane, bytes_, byte, flags, same);
    if (!whole) return;
    // The word has one writer again, and nobody has read it since.
    words_.epochs[word] = bytes_.epochs[begin];
    words_.writers[word] = bytes_.writers[begin];
    words_.pcs[word] = bytes_.pcs[begin];
    words_.last_reads[word] = 0;
}

void SharedMemory::owe(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size) {
    if (!words_.size) return;
    write(warp, op, lane, offset, size, kPlain, nullptr);
    for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
        if (is_split(word)) {
            for (uint32_t byte = word * 4; byte < word * 4 + 4; ++byte) {
                if (byte >= offset && byte < offset + size) bytes_.epochs[byte] = kPendingEpoch;
            }
        } else {
            words_.epochs[word] = kPendingEpoch;
        }
    }
}

void SharedMemory::need_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                              uint32_t size) {
    const WarpKnowledge& knowledge = warp.knowledge;
    const auto check = [&](const ShadowLayer& layer, uint32_t index) {
        const uint32_t epoch = layer.epochs[index];
        const uint32_t agent = layer.writers[index] & ~ShadowLayer::kStrongBit;
        // What bulk copies wrote, and what nothing orders, others look at.
        const bool by_thread = agent < warp.cta.cluster.num_threads;
        if (epoch == 0 || epoch == kPendingEpoch || !by_thread) return;
        if (!knowledge.ordered(lane, agent, epoch) || knowledge.ordered_async(lane, agent, epoch))
            return;
        warp.fault(op, lane, FaultKind::kMissingProxyFence,
                   "an asynchronous operation touches shared memory at byte " +
                       std::to_string(index * (&layer == &words_ ? 4 : 1)) +
                       ", which was written through the generic proxy; fence.proxy.async must "
                       "stand between them",
                   "the earlier access is " + warp.describe_op(layer.pcs[index]), offset);
    };
    for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
        if (!is_split(word)) {
            check(words_, word);
            continue;
        }
        for (uint32_t byte = word * 4; byte < word * 4 + 4; ++byte) check(bytes_, byte);
    }
}

void SharedMemory::need_free(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                             uint32_t size) {
    for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
        if (held_[word].count == 0) continue;
        warp.fault(op, lane, FaultKind::kInFlight,
                   "writes shared memory at byte " + std::to_string(std::max(offset, word * 4)) +
                       " while an asynchronous operation that was not waited for still reads it",
                   "issued with " + warp.describe_op(held_[word].pc), offset);
    }
}

void SharedMemory::hold(uint32_t offset, uint32_t size, uint32_t pc) {
    if (held_.empty()) held_.resize((bytes.size() + 3) / 4);
    for (uint32_t word = offset / 4; word < (offset + size) / 4; ++word) {
        ++held_[word].count;
        held_[word].pc = pc;
    }
}

void SharedMemory::unhold(uint32_t offset, uint32_t size) {
    for (uint32_t word = offset / 4; word < (offset + size) / 4; ++word) --held_[word].count;
}

void SharedMemory::note_read(uint32_t offset, uint32_t size, uint32_t agent, uint32_t epoch,
                             uint32_t pc) {
    if (!words_.size) return;
    const auto note = [&](ShadowLayer& layer, uint32_t index) {
        layer.note_read(agent / 32, index, 1u << (agent % 32), epoch, pc);
    };
    for (uint32_t word = offset / 4; word < (offset + size) / 4; ++word) {
        if (!is_split(word)) {
            note(words_, word);
            continue;
        }
        for (uint32_t byte = word * 4; byte < word * 4 + 4; ++byte) note(bytes_, byte);
    }
}

void SharedMemory::read_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                              uint32_t size) {
    if (!words_.size) return;
    read(warp, op, lane, offset, size, kPlain);
    need_async(warp, op, lane, offset, size);
}

void SharedMemory::need_readable(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                                 uint32_t size) {
    if (!words_.size) return;
    const WarpKnowledge& knowledge = warp.knowledge;
    const auto check = [&](const ShadowLayer& layer, uint32_t index) {
        const uint32_t epoch = layer.epochs[index];
        const uint32_t agent = layer.writers[index] & ~ShadowLayer::kStrongBit;
        if (epoch <= knowledge.floor()) return;
        const bool pending = epoch == kPendingEpoch;
        if (pending || !knowledge.ordered(lane, agent, epoch))
            race(warp, op, lane, layer, index, false, true, agent, layer.pcs[index], pending);
    };
    for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
        if (!is_split(word)) {
            check(words_, word);
            continue;
        }
        for (uint32_t byte = word * 4; byte < word * 4 + 4; ++byte) check(bytes_, byte);
    }
    need_async(warp, op, lane, offset, size);
}

void SharedMemory::owe_reduction(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                                 uint32_t size, bool async_proxy) {
    if (!words_.size) return;
    if (async_proxy) need_async(warp, op, lane, offset, size);
    for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
        if (words_.epochs[word] == kPendingEpoch &&
            (words_.writers[word] & ShadowLayer::kStrongBit))
            continue;
        write(warp, op, lane, word * 4, 4, kStrong, nullptr);
        words_.epochs[word] = kPendingEpoch;
    }
}

void SharedMemory::owe_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                             uint32_t size) {
    if (!words_.size) return;
    need_async(warp, op, lane, offset, size);
    owe(warp, op, lane, offset, size);
}

void SharedMemory::settle(uint32_t offset, uint32_t size, uint32_t agent, uint32_t epoch,
                          uint32_t pc) {
    if (!words_.size) return;
    const auto set = [=](ShadowLayer& layer, uint32_t cell) {
        layer.epochs[cell] = epoch;
        layer.writers[cell] = agent;
        layer.pcs[cell] = pc;
        layer.last_reads[cell] = 0;
    };
    for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
        if (!is_split(word)) {
            set(words_, word);
            continue;
        }
        for (uint32_t byte = std::max(offset, word * 4);
             byte < std::min(offset + size, word * 4 + 4); ++byte)
            set(bytes_, byte);
    }
}

void SharedMemory::race(Warp& warp, const Op& op, uint32_t lane, const ShadowLayer& layer,
                        uint32_t cell, bool writes, bool earlier_wrote, uint32_t agent, uint32_t pc,
                        bool pending) {
    const uint32_t offset = cell * (&layer == &words_ ? 4 : 1);
    const uint32_t num_warps = static_cast<uint32_t>(warp.cta.warps.size());
    const uint32_t in_block = agent % (num_warps * 32);
    const Dim3 thread = thread_position(warp.grid.launch.block, in_block);
    const std::string who = agent >= warp.cta.cluster.num_threads
                                ? std::string("an asynchronous operation")
                                : "thread (" + std::to_string(thread.x) + "," +
                                      std::to_string(thread.y) + "," + std::to_string(thread.z) +
                                      ")";
    const std::string where = "shared memory at byte " + std::to_string(offset);
    if (pending) {
        warp.fault(op, lane, FaultKind::kInFlight,
                   std::string(writes ? "writes " : "reads ") + where +
                       " while an asynchronous operation that was not waited for still writes it",
                   "issued by " + who + " with " + warp.describe_op(pc), offset);
    }
    warp.fault(op, lane, FaultKind::kRace,
               std::string(writes ? "writes " : "reads ") + where + ", which " + who +
                   (earlier_wrote ? " wrote" : " read") + "; nothing orders the two",
               "the earlier access is " + warp.describe_op(pc), offset);
}

}  // namespace fattn::vgpu
