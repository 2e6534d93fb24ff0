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
    if (!(flags & kStrong)) need_strong_ordered(warp, op, lane, layer, cell, false);
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

void SharedMemory::need_write_ordered(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer,
                                      uint32_t cell, AccessFlags flags, bool same_value) {
    const WarpKnowledge& knowledge = warp.knowledge;
    const uint32_t written = layer.epochs[cell];
    if (written > knowledge.floor()) {
        const bool pending = written == kPendingEpoch;
        const bool strong = layer.writers[cell] & ShadowLayer::kStrongBit;
        const uint32_t agent = layer.writers[cell] & ~ShadowLayer::kStrongBit;
        const bool harmless = ((flags & kStrong) && strong) ||
                              (same_value && layer.pcs[cell] == warp.program.index_of(op) &&
                               !warp.grid.options.checks.strict);
        if (pending || (!harmless && !knowledge.ordered(lane, agent, written))) {
            race(warp, op, lane, layer, cell, true, true, agent, layer.pcs[cell], pending);
        }
    }
    if (!(flags & kStrong)) need_strong_ordered(warp, op, lane, layer, cell, true);
    if (layer.last_reads[cell] <= knowledge.floor()) return;
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

void SharedMemory::write_cell(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer,
                              uint32_t cell, AccessFlags flags, bool same_value) {
    const WarpKnowledge& knowledge = warp.knowledge;
    need_write_ordered(warp, op, lane, layer, cell, flags, same_value);
    if (!(flags & kStrong)) {
        strong_writes_of(layer).erase(cell);
    } else if (layer.epochs[cell] > knowledge.floor()) {
        keep_strong_write(warp, 1u << lane, layer, cell);
    }
    layer.epochs[cell] = knowledge.epoch();
    layer.writers[cell] =
        (knowledge.first_agent() + lane) | (flags & kStrong ? ShadowLayer::kStrongBit : 0);
    layer.pcs[cell] = warp.program.index_of(op);
    layer.last_reads[cell] = 0;
}

void SharedMemory::need_strong_ordered(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer,
                                       uint32_t cell, bool writes) {
    const StrongWrites& kept = strong_writes_of(layer);
    if (kept.empty()) return;
    const auto found = kept.find(cell);
    if (found == kept.end()) return;
    for (const StrongWrite& one : found->second) {
        const uint32_t left =
            one.lanes & ~warp.knowledge.ordered_lanes(lane, one.first_agent, one.epoch);
        if (left == 0) continue;
        const auto writer = static_cast<uint32_t>(std::countr_zero(left));
        race(warp, op, lane, layer, cell, writes, true, one.first_agent + writer, one.pc, false);
    }
}

// The latest write of the cell, which a strong one of the lanes of `mask` comes over.
void SharedMemory::keep_strong_write(const Warp& warp, uint32_t mask, ShadowLayer& layer,
                                     uint32_t cell) {
    const uint32_t writer = layer.writers[cell], epoch = layer.epochs[cell];
    if (!(writer & ShadowLayer::kStrongBit) || epoch == kPendingEpoch) return;
    const uint32_t agent = writer & ~ShadowLayer::kStrongBit;
    keep_strong_write(warp, mask, layer, cell,
                      {agent - agent % 32, 1u << agent % 32, epoch, layer.pcs[cell]});
}

void SharedMemory::keep_strong_write(const Warp& warp, uint32_t mask, ShadowLayer& layer,
                                     uint32_t cell, const StrongWrite& made) {
    // Who is ordered behind all of these writes is behind what one of their threads is behind.
    const WarpKnowledge& knowledge = warp.knowledge;
    const auto some = static_cast<uint32_t>(std::countr_zero(mask));
    const auto stood_for = [&](StrongWrite& one) {
        if (one.first_agent == knowledge.first_agent()) one.lanes &= ~mask;
        one.lanes &= ~knowledge.ordered_lanes(some, one.first_agent, one.epoch);
        return one.lanes == 0;
    };
    StrongWrite left = made;
    if (stood_for(left)) return;
    std::vector<StrongWrite>& kept = strong_writes_of(layer)[cell];
    if (&layer == &words_) {
        first_strong_ = std::min(first_strong_, cell);
        last_strong_ = std::max(last_strong_, cell);
    }
    for (StrongWrite& one : kept) {
        if (one.first_agent != left.first_agent) continue;
        if (one.epoch == left.epoch) {
            one.lanes |= left.lanes;
            return;
        }
        one.lanes &= ~left.lanes;
    }
    std::erase_if(kept, stood_for);
    if (kept.size() < kMostStrongWrites) kept.push_back(left);
}

bool SharedMemory::keeps(const StrongWrites& writes, uint32_t cell, const StrongWrite& wanted) {
    if (wanted.lanes == 0) return true;
    const auto found = writes.find(cell);
    if (found == writes.end()) return false;
    return std::any_of(found->second.begin(), found->second.end(), [&](const StrongWrite& one) {
        return one.first_agent == wanted.first_agent && one.epoch == wanted.epoch &&
               (wanted.lanes & ~one.lanes) == 0;
    });
}

void SharedMemory::write_strong(Warp& warp, const Op& op, uint32_t mask, uint32_t offset,
                                uint32_t size) {
    if (!words_.size) return;
    const WarpKnowledge& knowledge = warp.knowledge;
    const uint32_t last = 31 - static_cast<uint32_t>(std::countl_zero(mask));
    const uint32_t writer = (knowledge.first_agent() + last) | ShadowLayer::kStrongBit;
    const uint32_t pc = warp.program.index_of(op);
    const StrongWrite by_others{knowledge.first_agent(), mask & ~(1u << last), knowledge.epoch(),
                                pc};
    for (uint32_t word = offset / 4; word < (offset + size) / 4; ++word) {
        if (is_split(word)) {
            each_lane(mask, [&](uint32_t lane) {
                write_word(warp, op, lane, word, offset, size, kStrong, nullptr);
            });
            continue;
        }
        const bool again = words_.writers[word] == writer && words_.pcs[word] == pc &&
                           words_.epochs[word] == knowledge.epoch() &&
                           words_.last_reads[word] <= knowledge.floor();
        if (again && keeps(strong_writes_[0], word, by_others)) continue;
        each_lane(mask, [&](uint32_t lane) {
            need_write_ordered(warp, op, lane, words_, word, kStrong, false);
        });
        if (words_.epochs[word] > knowledge.floor()) keep_strong_write(warp, mask, words_, word);
        words_.epochs[word] = knowledge.epoch();
        words_.writers[word] = writer;
        words_.pcs[word] = pc;
        words_.last_reads[word] = 0;
        if (by_others.lanes != 0)
            keep_strong_write(warp, mask & ~by_others.lanes, words_, word, by_others);
    }
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
    if (const auto kept = strong_writes_[0].extract(word)) {
        for (uint32_t i = word * 4; i < word * 4 + 4; ++i) strong_writes_[1][i] = kept.mapped();
    }
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

void SharedMemory::race(Warp& warp, const Op& op, uint32_t lane, const ShadowLayer& layer,
                        uint32_t cell, bool writes, bool earlier_wrote, uint32_t agent, uint32_t pc,
                        bool pending) {
    const uint32_t offset = cell * (&layer == &words_ ? 4 : 1);
    const Cluster& cluster = warp.cta.cluster;
    const std::string who = agent >= cluster.num_threads
                                ? std::string("an asynchronous operation")
                                : warp.grid.describe_thread(cluster.id, agent);
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
