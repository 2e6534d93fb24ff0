// The race rules of shared memory for asynchronous operations: bulk copies, cp.async and wgmma,
// which touch whole chunks of 16 bytes. Most chunks of one operation have been accessed alike.
#include <algorithm>

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/passed_accesses.h"
#include "exec/shadow.h"
#include "exec/warp.h"

namespace fattn::vgpu {
namespace {

constexpr uint32_t kChunkBytes = 16;

// Calls whole(offset, number) for the chunks of the bytes, if there are any, and part(offset, size)
// for what lies around them.
template <class Whole, class Part>
void chunks_and_parts(uint32_t offset, uint32_t size, Whole whole, Part part) {
    const uint32_t end = offset + size;
    const uint32_t first = (offset + kChunkBytes - 1) / kChunkBytes * kChunkBytes,
                   last = end / kChunkBytes * kChunkBytes;
    if (first >= last) return part(offset, size);
    if (offset < first) part(offset, first - offset);
    whole(first / 4, (last - first) / 4);
    if (last < end) part(last, end - last);
}

}  // namespace

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
    const auto whole = [&](uint32_t word, uint32_t count) {
        const auto alike = [&]<uint32_t kCount>(uint32_t at) {
            const bool strong = at + kCount > first_strong_ && at <= last_strong_;
            if (strong || !passed.stand_for<kCount>(words_, at))
                return access.owe<kCount>(at, lane);
            access.set_owed<kCount>(at, lane);
            return true;
        };
        each_cells(word, count, alike, [&](uint32_t at) {
            passed.take(words_, at);
            part(4 * at, kChunkBytes);
        });
    };
    chunks_and_parts(offset, size, whole, part);
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
    const auto whole = [&](uint32_t word, uint32_t count) {
        const auto alike = [&]<uint32_t kCount>(uint32_t at) {
            return passed.stands_for<kCount>(words_, at);
        };
        each_cells(word, count, alike, [&](uint32_t at) {
            part(4 * at, kChunkBytes);
            passed.pass(words_.epochs[at], words_.writers[at]);
        });
    };
    chunks_and_parts(offset, size, whole, part);
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
    const auto whole = [&](uint32_t word, uint32_t count) {
        const auto noted = [&]<uint32_t kCount>(uint32_t at) {
            if (words_.any_split<kCount>(at)) return false;
            words_.note_reads<kCount>(readers, at, 1u << (agent % 32), epoch, pc);
            return true;
        };
        each_cells(word, count, noted, [&](uint32_t at) { part(4 * at, kChunkBytes); });
    };
    chunks_and_parts(offset, size, whole, part);
}

void SharedMemory::read_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                              uint32_t size) {
    if (!words_.size) return;
    const WordAccess access = words_of(warp, op);
    const auto part = [&](uint32_t at, uint32_t count) { read(warp, op, lane, at, count, kPlain); };
    const auto whole = [&](uint32_t word, uint32_t count) {
        const auto known = [&]<uint32_t kCount>(uint32_t at) {
            return access.read_cells<kCount>(at, lane);
        };
        each_cells(word, count, known, [&](uint32_t at) { part(4 * at, kChunkBytes); });
    };
    chunks_and_parts(offset, size, whole, part);
    need_async(warp, op, lane, offset, size);
}

void SharedMemory::need_readable(Warp& warp, const Op& op, uint32_t lane,
                                 const std::vector<SharedRange>& ranges) {
    if (!words_.size) return;
    PassedWrite passed;
    const auto alike = [&]<uint32_t kCount>(uint32_t at) {
        return passed.stands_for<kCount>(words_, at);
    };
    for (const SharedRange& range : ranges) {
        each_cells(range.at / 4, range.bytes / 4, alike, [&](uint32_t at) {
            need_readable_chunk(warp, op, lane, 4 * at);
            passed.pass(words_.epochs[at], words_.writers[at]);
        });
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
        const uint32_t writer = words_.writers[word];
        const auto& infos = warp.program.infos;
        const bool late = !is_split(word) && words_.epochs[word] > warp.knowledge.floor() &&
                          (writer & ShadowLayer::kStrongBit);
        if (late &&
            infos[words_.pcs[word]].reduction != infos[warp.program.index_of(op)].reduction) {
            need_write_ordered(warp, op, lane, words_, word, kPlain, false);
        } else if (late && words_.epochs[word] == kPendingEpoch) {
            continue;
        }
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
    const auto part = [&](uint32_t at, uint32_t count) {
        for (uint32_t word = at / 4; word * 4 < at + count; ++word) {
            if (!is_split(word)) {
                set(words_, word);
                continue;
            }
            for (uint32_t byte = std::max(at, word * 4); byte < std::min(at + count, word * 4 + 4);
                 ++byte)
                set(bytes_, byte);
        }
    };
    const auto whole = [&](uint32_t word, uint32_t count) {
        const auto settled = [&]<uint32_t kCount>(uint32_t at) {
            if (words_.any_split<kCount>(at)) return false;
            words_.set_written<kCount>(at, agent, epoch, pc);
            return true;
        };
        each_cells(word, count, settled, [&](uint32_t at) { part(4 * at, kChunkBytes); });
    };
    chunks_and_parts(offset, size, whole, part);
}

}  // namespace fattn::vgpu
