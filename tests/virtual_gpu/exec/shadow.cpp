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
    cells = std::make_unique<ShadowCell[]>(num_cells);
    readers.clear();
}

ShadowLayer::Reader* ShadowLayer::readers_of(uint32_t warp) {
    if (warp >= readers.size()) readers.resize(warp + 1);
    if (!readers[warp]) readers[warp] = std::make_unique<Reader[]>(size);
    return readers[warp].get();
}

void SharedMemory::allocate(uint32_t size, bool with_shadow) {
    // The poison of memory that was never written: a signalling NaN in every format.
    bytes.resize(size);
    for (uint32_t i = 0; i < size; ++i)
        bytes[i] = std::byte{static_cast<uint8_t>(i % 2 == 0 ? 0xa5 : 0x7f)};
    defined.assign(size, 0);
    if (with_shadow) words_.allocate((size + 3) / 4);
}

void SharedMemory::read_cell(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer,
                             uint32_t index, AccessFlags flags) {
    ShadowCell& cell = layer.cells[index];
    const WarpKnowledge& knowledge = warp.knowledge;
    if (cell.epoch > knowledge.floor()) {
        const bool pending = cell.epoch == ShadowCell::kPending;
        if (pending || !((flags & kStrong) && cell.strong)) {
            if (pending || !knowledge.ordered(lane, cell.agent, cell.epoch)) {
                race(warp, op, lane, layer, index, false, true, cell.agent, cell.pc, pending);
            }
        }
    }
    if (flags & kStrong) return;
    const uint32_t epoch = knowledge.epoch();
    ShadowLayer::Reader& reader = layer.reader(knowledge.first_agent() / 32, index);
    if (reader.epoch != epoch) reader = {epoch, 0, warp.program.index_of(op)};
    reader.lanes |= 1u << lane;
    cell.last_read = std::max(cell.last_read, epoch);
}

void SharedMemory::read_all(Warp& warp, const Op& op, uint32_t mask, const uint64_t* addresses,
                            uint64_t base, uint32_t size, AccessFlags flags) {
    if (!words_.size) return;
    const WarpKnowledge& knowledge = warp.knowledge;
    const uint32_t floor = knowledge.floor(), epoch = knowledge.epoch();
    const uint32_t pc = warp.program.index_of(op);
    ShadowLayer::Reader* const readers = words_.readers_of(knowledge.first_agent() / 32);
    const bool words = size % 4 == 0 && !(flags & kStrong);
    each_lane(mask, [&](uint32_t lane) {
        const auto offset = static_cast<uint32_t>(addresses[lane] - base);
        if (!words) return read(warp, op, lane, offset, size, flags);
        for (uint32_t word = offset / 4; word < (offset + size) / 4; ++word) {
            ShadowCell& cell = words_.cells[word];
            // A write that a barrier of all has ordered is nothing to look at twice.
            if (cell.epoch > floor || cell.split) {
                read_word(warp, op, lane, word, offset, size, flags);
                continue;
            }
            ShadowLayer::Reader& reader = readers[word];
            if (reader.epoch != epoch) reader = {epoch, 0, pc};
            reader.lanes |= 1u << lane;
            cell.last_read = std::max(cell.last_read, epoch);
        }
    });
}

void SharedMemory::write_cell(Warp& warp, const Op& op, uint32_t lane, ShadowLayer& layer,
                              uint32_t index, AccessFlags flags, bool same_value) {
    ShadowCell& cell = layer.cells[index];
    const WarpKnowledge& knowledge = warp.knowledge;
    const uint32_t pc = warp.program.index_of(op);
    if (cell.epoch > knowledge.floor()) {
        const bool pending = cell.epoch == ShadowCell::kPending;
        const bool harmless = ((flags & kStrong) && cell.strong) ||
                              (same_value && cell.pc == pc && !warp.grid.options.checks.strict);
        if (pending || (!harmless && !knowledge.ordered(lane, cell.agent, cell.epoch))) {
            race(warp, op, lane, layer, index, true, true, cell.agent, cell.pc, pending);
        }
    }
    if (cell.last_read > knowledge.floor()) {
        for (uint32_t other = 0; other < layer.readers.size(); ++other) {
            if (!layer.readers[other]) continue;
            const ShadowLayer::Reader& reader = layer.readers[other][index];
            if (reader.epoch <= knowledge.floor()) continue;
            for (uint32_t lanes = reader.lanes; lanes != 0; lanes &= lanes - 1) {
                const uint32_t agent = other * 32 + static_cast<uint32_t>(std::countr_zero(lanes));
                if (!knowledge.ordered(lane, agent, reader.epoch)) {
                    race(warp, op, lane, layer, index, true, false, agent, reader.pc, false);
                }
            }
        }
    }
    cell.epoch = knowledge.epoch();
    cell.agent = static_cast<uint16_t>(knowledge.first_agent() + lane);
    cell.strong = (flags & kStrong) != 0;
    cell.pc = pc;
    cell.last_read = 0;
}

void SharedMemory::split(uint32_t word) {
    ShadowCell& cell = words_.cells[word];
    if (cell.split) return;
    if (!bytes_.size) bytes_.allocate(words_.size * 4);
    for (uint32_t i = word * 4; i < word * 4 + 4; ++i) {
        bytes_.cells[i] = cell;
        for (uint32_t warp = 0; warp < words_.readers.size(); ++warp) {
            if (words_.readers[warp]) bytes_.reader(warp, i) = words_.readers[warp][word];
        }
    }
    cell.split = 1;
}

void SharedMemory::read_word(Warp& warp, const Op& op, uint32_t lane, uint32_t word,
                             uint32_t offset, uint32_t size, AccessFlags flags) {
    const uint32_t begin = std::max(offset, word * 4);
    const uint32_t end = std::min(offset + size, word * 4 + 4);
    const bool whole = end - begin == 4;
    if (whole && !words_.cells[word].split) return read_cell(warp, op, lane, words_, word, flags);
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
    if (whole && !words_.cells[word].split)
        return write_cell(warp, op, lane, words_, word, flags, same);
    split(word);
    for (uint32_t byte = begin; byte < end; ++byte)
        write_cell(warp, op, lane, bytes_, byte, flags, same);
    if (!whole) return;
    // The word has one writer again, and nobody has read it since.
    words_.cells[word] = bytes_.cells[begin];
    words_.cells[word].split = 0;
}

void SharedMemory::owe(Warp& warp, const Op& op, uint32_t lane, uint32_t offset, uint32_t size) {
    if (!words_.size) return;
    write(warp, op, lane, offset, size, kPlain, nullptr);
    for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
        if (words_.cells[word].split) {
            for (uint32_t byte = word * 4; byte < word * 4 + 4; ++byte) {
                if (byte >= offset && byte < offset + size)
                    bytes_.cells[byte].epoch = ShadowCell::kPending;
            }
        } else {
            words_.cells[word].epoch = ShadowCell::kPending;
        }
    }
}

void SharedMemory::need_async(Warp& warp, const Op& op, uint32_t lane, uint32_t offset,
                              uint32_t size) {
    const WarpKnowledge& knowledge = warp.knowledge;
    const auto check = [&](const ShadowLayer& layer, uint32_t index) {
        const ShadowCell& cell = layer.cells[index];
        // What bulk copies wrote, and what nothing orders, others look at.
        const bool by_thread = cell.agent < warp.cta.cluster.num_threads;
        if (cell.epoch == 0 || cell.epoch == ShadowCell::kPending || !by_thread) return;
        if (!knowledge.ordered(lane, cell.agent, cell.epoch) ||
            knowledge.ordered_async(lane, cell.agent, cell.epoch))
            return;
        warp.fault(op, lane, FaultKind::kMissingProxyFence,
                   "an asynchronous operation touches shared memory at byte " +
                       std::to_string(index * (&layer == &words_ ? 4 : 1)) +
                       ", which was written through the generic proxy; fence.proxy.async must "
                       "stand between them",
                   "the earlier access is " + warp.describe_op(cell.pc), offset);
    };
    for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
        if (!words_.cells[word].split) {
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
        ShadowLayer::Reader& reader = layer.reader(agent / 32, index);
        if (reader.epoch != epoch) reader = {epoch, 0, pc};
        reader.lanes |= 1u << (agent % 32);
        layer.cells[index].last_read = std::max(layer.cells[index].last_read, epoch);
    };
    for (uint32_t word = offset / 4; word < (offset + size) / 4; ++word) {
        if (!words_.cells[word].split) {
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
        const ShadowCell& cell = layer.cells[index];
        if (cell.epoch <= knowledge.floor()) return;
        const bool pending = cell.epoch == ShadowCell::kPending;
        if (pending || !knowledge.ordered(lane, cell.agent, cell.epoch))
            race(warp, op, lane, layer, index, false, true, cell.agent, cell.pc, pending);
    };
    for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
        if (!words_.cells[word].split) {
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
        ShadowCell& cell = words_.cells[word];
        if (!cell.split && cell.epoch == ShadowCell::kPending && cell.strong) continue;
        write(warp, op, lane, word * 4, 4, kStrong, nullptr);
        cell.epoch = ShadowCell::kPending;
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
    const auto set = [&](ShadowCell& cell) {
        cell.epoch = epoch;
        cell.agent = static_cast<uint16_t>(agent);
        cell.strong = 0;
        cell.pc = pc;
        cell.last_read = 0;
    };
    for (uint32_t word = offset / 4; word <= (offset + size - 1) / 4; ++word) {
        if (!words_.cells[word].split) {
            set(words_.cells[word]);
            continue;
        }
        for (uint32_t byte = std::max(offset, word * 4);
             byte < std::min(offset + size, word * 4 + 4); ++byte)
            set(bytes_.cells[byte]);
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
