// The race rules of shared memory for asynchronous operations: bulk copies, cp.async and wgmma,
// which touch whole chunks of 16 bytes. Most chunks of one operation have been accessed alike.
#include <algorithm>
#include <bit>
#include <cstring>

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/shadow.h"
#include "exec/warp.h"

namespace fattn::vgpu {
namespace {

constexpr uint32_t kChunkBytes = 16;

using Four = uint32_t __attribute__((vector_size(16)));

Four four(const uint32_t* cells) {
    Four loaded;
    std::memcpy(&loaded, cells, sizeof loaded);
    return loaded;
}

bool any(Four found) {
    uint64_t halves[2];
    std::memcpy(halves, &found, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

// Calls whole(offset) for each chunk of the bytes and part(offset, size) for what lies around them.
template <class Whole, class Part>
void each_chunk(uint32_t offset, uint32_t size, Whole whole, Part part) {
    const uint32_t end = offset + size;
    const uint32_t first = (offset + kChunkBytes - 1) / kChunkBytes * kChunkBytes,
                   last = end / kChunkBytes * kChunkBytes;
    if (first >= last) return part(offset, size);
    if (offset < first) part(offset, first - offset);
    for (uint32_t at = first; at < last; at += kChunkBytes) whole(at);
    if (last < end) part(last, end - last);
}

}  // namespace

// The last write of a word that one lane was found to be ordered behind: words that the same agent
// wrote no later need no second look by that lane and instruction.
class SharedMemory::PassedWrite {
  public:
    bool stands_for(const ShadowLayer& words, uint32_t word) const {
        if (!known_) return false;
        return !any((four(words.epochs + word) > epoch_) | (four(words.writers + word) ^ writer_));
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
class SharedMemory::PassedAccesses {
  public:
    explicit PassedAccesses(uint32_t floor) : floor_(floor) {}

    bool stand_for(const SharedMemory& memory, uint32_t word) const {
        const ShadowLayer& words = memory.words_;
        if (!write_.stands_for(words, word)) return false;
        if (word + 3 >= memory.first_strong_ && word <= memory.last_strong_) return false;
        if (!any(four(words.last_reads + word) > floor_)) return true;
        if (reads_.size() < words.num_readers()) return false;
        for (uint32_t warp = 0; warp < words.num_readers(); ++warp) {
            if (!words.has_readers(warp)) continue;
            const ShadowLayer::Readers readers = words.known_readers(warp);
            const Four epochs = four(readers.epochs + word);
            const auto late = std::bit_cast<Four>(epochs > reads_[warp].epoch);
            const Four others = late | (four(readers.lanes + word) & ~reads_[warp].lanes);
            if (any((epochs > floor_) & (others != 0))) return false;
        }
        return true;
    }
    // To be taken before the word is looked at.
    void take(const SharedMemory& memory, uint32_t word) {
        const ShadowLayer& words = memory.words_;
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

void SharedMemory::owe_part(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                            uint32_t size) {
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

void SharedMemory::owe(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size) {
    if (!words_.size) return;
    if (!held_.empty()) need_free(warp, op, lane, offset, size);
    const WordAccess access = words_of(warp, op);
    PassedAccesses passed(warp.knowledge.floor());
    const auto part = [&](uint32_t at, uint32_t count) { owe_part(warp, op, lane, at, count); };
    const auto whole = [&](uint32_t at) {
        if (access.owe(at / 4, 4, lane)) return;
        if (passed.stand_for(*this, at / 4)) return access.set_owed(at / 4, lane);
        passed.take(*this, at / 4);
        part(at, kChunkBytes);
    };
    each_chunk(offset, size, whole, part);
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
    const auto part = [&](uint32_t at, uint32_t count) {
        for (uint32_t word = at / 4; word <= (at + count - 1) / 4; ++word) {
            if (!is_split(word)) {
                check(words_, word);
                continue;
            }
            for (uint32_t byte = word * 4; byte < word * 4 + 4; ++byte) check(bytes_, byte);
        }
    };
    PassedWrite passed;
    const auto whole = [&](uint32_t at) {
        if (passed.stands_for(words_, at / 4)) return;
        part(at, kChunkBytes);
        passed.pass(words_.epochs[at / 4], words_.writers[at / 4]);
    };
    each_chunk(offset, size, whole, part);
}

void SharedMemory::need_free(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                             uint32_t size) {
    for (uint32_t chunk = offset / kChunkBytes; chunk <= (offset + size - 1) / kChunkBytes;
         ++chunk) {
        if (held_[chunk].count == 0) continue;
        warp.fault(op, lane, FaultKind::kInFlight,
                   "writes shared memory at byte " +
                       std::to_string(std::max(offset, chunk * kChunkBytes)) +
                       " while an asynchronous operation that was not waited for still reads it",
                   "issued with " + warp.describe_op(held_[chunk].pc), offset);
    }
}

void SharedMemory::hold(uint32_t offset, uint32_t size, uint32_t pc) {
    if (held_.empty()) held_.resize((bytes.size() + kChunkBytes - 1) / kChunkBytes);
    for (uint32_t chunk = offset / kChunkBytes; chunk < (offset + size) / kChunkBytes; ++chunk) {
        ++held_[chunk].count;
        held_[chunk].pc = pc;
    }
}

void SharedMemory::unhold(uint32_t offset, uint32_t size) {
    for (uint32_t chunk = offset / kChunkBytes; chunk < (offset + size) / kChunkBytes; ++chunk)
        --held_[chunk].count;
}

void SharedMemory::note_read(uint32_t offset, uint32_t size, uint32_t agent, uint32_t epoch,
                             uint32_t pc) {
    if (!words_.size) return;
    const auto note = [&](ShadowLayer& layer, uint32_t index) {
        layer.note_read(agent / 32, index, 1u << (agent % 32), epoch, pc);
    };
    const auto part = [&](uint32_t at, uint32_t count) {
        for (uint32_t word = at / 4; word < (at + count) / 4; ++word) {
            if (!is_split(word)) {
                note(words_, word);
                continue;
            }
            for (uint32_t byte = word * 4; byte < word * 4 + 4; ++byte) note(bytes_, byte);
        }
    };
    const ShadowLayer::Readers readers = words_.readers_of(agent / 32);
    const auto whole = [&](uint32_t at) {
        if (any(four(words_.epochs + at / 4) == ShadowLayer::kSplit)) return part(at, kChunkBytes);
        words_.note_four_reads(readers, at / 4, 1u << (agent % 32), epoch, pc);
    };
    each_chunk(offset, size, whole, part);
}

void SharedMemory::read_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                              uint32_t size) {
    if (!words_.size) return;
    const WordAccess access = words_of(warp, op);
    const auto part = [&](uint32_t at, uint32_t count) { read(warp, op, lane, at, count, kPlain); };
    const auto whole = [&](uint32_t at) {
        if (!access.read(at / 4, 4, lane)) part(at, kChunkBytes);
    };
    each_chunk(offset, size, whole, part);
    need_async(warp, op, lane, offset, size);
}

void SharedMemory::need_readable(Warp& warp, const Op& op, uint32_t lane,
                                 const std::vector<uint32_t>& chunks) {
    if (!words_.size) return;
    PassedWrite passed;
    for (const uint32_t chunk : chunks) {
        if (passed.stands_for(words_, chunk / 4)) continue;
        need_readable_chunk(warp, op, lane, chunk);
        passed.pass(words_.epochs[chunk / 4], words_.writers[chunk / 4]);
    }
}

void SharedMemory::need_readable_chunk(Warp& warp, const Op& op, uint32_t lane, uint32_t offset) {
    const WarpKnowledge& knowledge = warp.knowledge;
    const auto check = [&](const ShadowLayer& layer, uint32_t index) {
        const uint32_t epoch = layer.epochs[index];
        const uint32_t agent = layer.writers[index] & ~ShadowLayer::kStrongBit;
        if (epoch <= knowledge.floor()) return;
        const bool pending = epoch == kPendingEpoch;
        if (pending || !knowledge.ordered(lane, agent, epoch))
            race(warp, op, lane, layer, index, false, true, agent, layer.pcs[index], pending);
    };
    for (uint32_t word = offset / 4; word < (offset + kChunkBytes) / 4; ++word) {
        if (!is_split(word)) {
            check(words_, word);
            continue;
        }
        for (uint32_t byte = word * 4; byte < word * 4 + 4; ++byte) check(bytes_, byte);
    }
    need_async(warp, op, lane, offset, kChunkBytes);
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
    uint32_t word = offset / 4;
    for (; word % 4 == 0 && word * 4 >= offset && (word + 4) * 4 <= offset + size; word += 4) {
        if (!words_.settle(word, agent, epoch, pc)) break;
    }
    for (; word * 4 < offset + size; ++word) {
        if (!is_split(word)) {
            set(words_, word);
            continue;
        }
        for (uint32_t byte = std::max(offset, word * 4);
             byte < std::min(offset + size, word * 4 + 4); ++byte)
            set(bytes_, byte);
    }
}

}  // namespace fattn::vgpu
