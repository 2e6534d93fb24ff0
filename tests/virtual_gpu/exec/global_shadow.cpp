// The race rules of device memory.
#include "exec/global_shadow.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "exec/access.h"
#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/lanes.h"
#include "exec/warp.h"

namespace fattn::vgpu {

void GlobalShadow::Free::operator()(GlobalWord* words) const { std::free(words); }

GlobalWord* GlobalShadow::words_of(const MemoryBlock& block) {
    if (&block == last_block_) return last_words_;
    auto& words = blocks_[&block];
    if (!words) {
        // Zeroed pages of the system cost nothing until they are touched.
        words.reset(static_cast<GlobalWord*>(std::calloc(block.size / 4 + 2, sizeof(GlobalWord))));
        if (!words) throw std::bad_alloc();
    }
    last_block_ = &block;
    return last_words_ = words.get();
}

bool GlobalShadow::ordered(Warp& warp, uint32_t lane, const GlobalCell& earlier) const {
    if (earlier.epoch == kPendingEpoch) return false;
    if (earlier.cluster == warp.cta.cluster.id)
        return warp.knowledge.ordered(lane, earlier.agent, earlier.epoch);
    return warp.knowledge.ordered_across(lane, earlier.cluster, earlier.agent, earlier.epoch);
}

void GlobalShadow::conflict(Warp& warp, const Op& op, uint32_t lane, uint64_t address,
                            const GlobalCell& earlier, bool writes, bool earlier_wrote) {
    char place[32];
    std::snprintf(place, sizeof place, "0x%llx", static_cast<unsigned long long>(address));
    const bool other_cluster = earlier.cluster != warp.cta.cluster.id;
    if (earlier.epoch == kPendingEpoch) {
        warp.fault(op, lane, FaultKind::kInFlight,
                   std::string(writes ? "writes" : "reads") + " device memory at " + place +
                       " while a bulk copy that was not waited for still writes it",
                   "issued with " + warp.describe_op(earlier.pc), address);
    }
    warp.fault(op, lane, FaultKind::kRace,
               std::string(writes ? "writes" : "reads") + " device memory at " + place +
                   ", which a thread of " + (other_cluster ? "another block" : "this block") +
                   (earlier_wrote ? " wrote" : " read") + " in this grid; nothing orders the two",
               "the earlier access is " + warp.describe_op(earlier.pc), address);
}

void GlobalShadow::read(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                        uint64_t address, uint32_t bytes, AccessFlags flags, bool non_coherent) {
    GlobalWord* words = words_of(block);
    const uint64_t begin = address - block.base;
    const uint32_t cluster = warp.cta.cluster.id;
    for (uint64_t word = begin / 4; word <= (begin + bytes - 1) / 4; ++word) {
        const uint64_t low = std::max(begin, word * 4) - word * 4;
        const uint64_t high = std::min(begin + bytes, word * 4 + 4) - word * 4;
        const auto touched = static_cast<uint8_t>(((1u << high) - 1) & ~((1u << low) - 1));
        GlobalWord& at = words[word];
        if (at.write.cluster != 0 && (at.write.bytes & touched) != 0) {
            if (non_coherent) {
                warp.fault(
                    op, lane, FaultKind::kRace,
                    "a non-coherent load (.nc, __ldg) reads what was written in the same grid",
                    "the earlier access is " + warp.describe_op(at.write.pc), address);
            }
            const bool both_strong = (flags & kStrong) && (at.write.how & GlobalCell::kStrongBit);
            if (!both_strong && !ordered(warp, lane, at.write))
                conflict(warp, op, lane, address, at.write, false, true);
        }
        if (flags & kStrong) continue;
        const auto agent = static_cast<uint16_t>(warp.knowledge.first_agent() + lane);
        if (at.read.cluster == cluster && at.read.epoch == warp.knowledge.epoch() &&
            at.read.agent == agent) {
            at.read.bytes |= touched;
            continue;
        }
        const bool many = at.read.cluster != 0 && at.read.cluster != cluster;
        at.read = {many ? GlobalWord::kMany : cluster,
                   warp.knowledge.epoch(),
                   agent,
                   0,
                   static_cast<uint8_t>(many ? at.read.bytes & touched : touched),
                   warp.program.index_of(op)};
    }
}

void GlobalShadow::read_all(Warp& warp, const Op& op, uint32_t mask, const Span& span,
                            const Access& access) {
    const uint32_t cluster = warp.cta.cluster.id, epoch = warp.knowledge.epoch();
    const uint32_t first_agent = warp.knowledge.first_agent(), pc = warp.program.index_of(op);
    GlobalWord* words = words_of(*span.block);
    const uint32_t count = access.bytes / 4;
    each_lane(mask, [&](uint32_t lane) {
        const uint32_t offset = span.offsets[lane];
        GlobalWord* const first = words + offset / 4;
        // Nothing to compare with: nobody has written these words, and no other cluster read them.
        bool plain = count != 0;
        for (uint32_t i = 0; i < count; ++i)
            plain &= first[i].write.cluster == 0 &&
                     (first[i].read.cluster == 0 || first[i].read.cluster == cluster);
        if (!plain) {
            return read(warp, op, lane, *span.block, span.block->base + offset, access.bytes,
                        access.flags, access.non_coherent);
        }
        const auto agent = static_cast<uint16_t>(first_agent + lane);
        for (uint32_t i = 0; i < count; ++i) {
            GlobalCell& cell = first[i].read;
            const bool again = cell.epoch == epoch && cell.agent == agent && cell.cluster != 0;
            cell = {cluster, epoch, agent, 0, 15, again ? cell.pc : pc};
        }
    });
}

void GlobalShadow::write(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                         uint64_t address, uint32_t bytes, AccessFlags flags,
                         const std::byte* data) {
    GlobalWord* words = words_of(block);
    const uint64_t begin = address - block.base;
    const uint32_t pc = warp.program.index_of(op);
    for (uint64_t word = begin / 4; word <= (begin + bytes - 1) / 4; ++word) {
        const uint64_t low = std::max(begin, word * 4);
        const uint64_t high = std::min(begin + bytes, word * 4 + 4);
        const auto touched =
            static_cast<uint8_t>(((1u << (high - word * 4)) - 1) & ~((1u << (low - word * 4)) - 1));
        GlobalWord& at = words[word];
        if (at.write.cluster != 0 && (at.write.bytes & touched) != 0) {
            const bool same = data && at.write.pc == pc && !warp.grid.options.checks.strict &&
                              std::memcmp(block.data + low, data + (low - begin), high - low) == 0;
            const bool both_strong = (flags & kStrong) && (at.write.how & GlobalCell::kStrongBit);
            if (!both_strong && !same && !ordered(warp, lane, at.write))
                conflict(warp, op, lane, address, at.write, true, true);
        }
        if (at.read.cluster != 0 && (at.read.bytes & touched) != 0) {
            // Of many readers none is known by itself: who has acquired something is believed.
            const bool fine = at.read.cluster == GlobalWord::kMany
                                  ? !warp.knowledge.of(lane).others.empty()
                                  : ordered(warp, lane, at.read);
            if (!fine) conflict(warp, op, lane, address, at.read, true, false);
        }
        const bool adds = at.write.cluster == warp.cta.cluster.id &&
                          at.write.agent == warp.knowledge.first_agent() + lane;
        at.write = {warp.cta.cluster.id,
                    warp.knowledge.epoch(),
                    static_cast<uint16_t>(warp.knowledge.first_agent() + lane),
                    (flags & kStrong) ? GlobalCell::kStrongBit : uint8_t{0},
                    static_cast<uint8_t>(adds ? at.write.bytes | touched : touched),
                    pc};
        at.read = {};
    }
}

void GlobalShadow::need_async(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                              uint64_t address, uint32_t bytes) {
    GlobalWord* words = words_of(block);
    const uint64_t begin = address - block.base;
    for (uint64_t word = begin / 4; word <= (begin + bytes - 1) / 4; ++word) {
        const GlobalCell& at = words[word].write;
        if (at.cluster == 0 || (at.how & GlobalCell::kAsyncBit) || !ordered(warp, lane, at))
            continue;
        const bool fenced =
            at.cluster == warp.cta.cluster.id
                ? warp.knowledge.ordered_async_global(lane, at.agent, at.epoch)
                : warp.knowledge.ordered_async_across(lane, at.cluster, at.agent, at.epoch);
        if (fenced) continue;
        warp.fault(op, lane, FaultKind::kMissingProxyFence,
                   "a bulk copy touches device memory that was written through the generic proxy "
                   "in this grid; fence.proxy.async must stand between them",
                   "the earlier access is " + warp.describe_op(at.pc), block.base + word * 4);
    }
}

void GlobalShadow::read_async(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                              uint64_t address, uint32_t bytes) {
    read(warp, op, lane, block, address, bytes, kPlain, false);
    need_async(warp, op, lane, block, address, bytes);
}

void GlobalShadow::owe(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                       uint64_t address, uint32_t bytes, bool reduces) {
    need_async(warp, op, lane, block, address, bytes);
    write(warp, op, lane, block, address, bytes, reduces ? kStrong : kPlain, nullptr);
    GlobalWord* words = words_of(block);
    const uint64_t begin = address - block.base;
    for (uint64_t word = begin / 4; word <= (begin + bytes - 1) / 4; ++word) {
        words[word].write.epoch = kPendingEpoch;
        words[word].write.how |= GlobalCell::kAsyncBit;
    }
}

void GlobalShadow::settle(Warp& warp, uint32_t lane, const MemoryBlock& block, uint64_t address,
                          uint32_t bytes) {
    GlobalWord* words = words_of(block);
    const uint64_t begin = address - block.base;
    const auto agent = static_cast<uint16_t>(warp.knowledge.first_agent() + lane);
    for (uint64_t word = begin / 4; word <= (begin + bytes - 1) / 4; ++word) {
        GlobalCell& at = words[word].write;
        // A later write may have come over a reduction.
        if (at.cluster == warp.cta.cluster.id && at.agent == agent && at.epoch == kPendingEpoch)
            at.epoch = warp.knowledge.epoch();
    }
}

}  // namespace fattn::vgpu
