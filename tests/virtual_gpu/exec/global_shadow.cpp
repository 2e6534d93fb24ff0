// The race rules of device memory.
#include "exec/global_shadow.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "exec/cta.h"
#include "exec/grid.h"
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
    if (earlier.cluster == warp.cta.cluster.id)
        return warp.knowledge.ordered(lane, earlier.agent, earlier.epoch);
    return warp.knowledge.ordered_across(lane, earlier.cluster, earlier.agent, earlier.epoch);
}

void GlobalShadow::conflict(Warp& warp, const Op& op, uint32_t lane, uint64_t address,
                            const GlobalCell& earlier, bool writes, bool earlier_wrote) {
    char place[32];
    std::snprintf(place, sizeof place, "0x%llx", static_cast<unsigned long long>(address));
    const bool other_cluster = earlier.cluster != warp.cta.cluster.id;
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
            const bool both_strong = (flags & kStrong) && at.write.strong;
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
            const bool both_strong = (flags & kStrong) && at.write.strong;
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
                    static_cast<uint8_t>((flags & kStrong) != 0),
                    static_cast<uint8_t>(adds ? at.write.bytes | touched : touched),
                    pc};
        at.read = {};
    }
}

}  // namespace fattn::vgpu
