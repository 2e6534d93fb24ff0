// The race rules of device memory.
#include "exec/global_shadow.h"

#include <algorithm>
#include <cstring>

#include "exec/access.h"
#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/grid_trace.h"
#include "exec/lanes.h"
#include "exec/warp.h"

namespace fattn::vgpu {

namespace {

// Chunks of grids that have ended, at most 64 MB of them.
constexpr size_t kMostSpare = 8192;
std::vector<std::unique_ptr<GlobalChunk>>& spare_chunks() {
    thread_local std::vector<std::unique_ptr<GlobalChunk>> chunks;
    return chunks;
}

// The list of a grid that has ended, whose pages are there.
std::vector<EarlierAccess>& spare_list() {
    thread_local std::vector<EarlierAccess> list;
    return list;
}

std::unique_ptr<GlobalChunk> new_chunk() {
    auto& spare = spare_chunks();
    if (spare.empty()) return std::make_unique<GlobalChunk>();
    std::unique_ptr<GlobalChunk> made = std::move(spare.back());
    spare.pop_back();
    std::fill(std::begin(made->granules), std::end(made->granules), GlobalWord{});
    return made;
}

// Whether something has been acquired from another cluster of the grid.
bool knows_of_others(const Knowledge& knowledge) {
    return std::any_of(knowledge.others.begin(), knowledge.others.end(),
                       [](const Knowledge::OfCluster& one) { return one.cluster != kGridsBefore; });
}

constexpr uint8_t kByPart = GlobalCell::kByWordBit | GlobalCell::kByPairBit;

uint8_t how_of(AccessFlags flags) {
    if (!(flags & kStrong)) return 0;
    const uint8_t scope = (flags & kStrongInBlock) == kStrongInBlock ? GlobalCell::kInBlockBit
                          : (flags & kStrongInCluster) == kStrongInCluster
                              ? GlobalCell::kInClusterBit
                              : uint8_t{0};
    return GlobalCell::kStrongBit | scope;
}

// Strong accesses whose scopes hold threads of other grids.
bool both_for_all(AccessFlags flags, const GlobalCell& earlier) {
    const uint8_t both = how_of(flags) & earlier.how;
    return (both & GlobalCell::kStrongBit) &&
           !((how_of(flags) | earlier.how) & GlobalCell::kScopeBits);
}

}  // namespace

GlobalShadow::GlobalShadow() : earlier_(std::move(spare_list())) { earlier_.assign(1, {}); }

GlobalShadow::~GlobalShadow() {
    if (earlier_.capacity() > spare_list().capacity()) spare_list() = std::move(earlier_);
    auto& spare = spare_chunks();
    for (auto& [block, directory] : blocks_) {
        for (auto& chunk : directory) {
            if (chunk && spare.size() < kMostSpare) spare.push_back(std::move(chunk));
        }
    }
}

GlobalChunk& GlobalShadow::chunk_of(const MemoryBlock& block, uint64_t offset) {
    if (&block != last_block_) {
        last_block_ = &block;
        last_directory_ = &blocks_[block.base];
        if (last_directory_->empty()) last_directory_->resize(block.size / GlobalChunk::kBytes + 1);
    }
    auto& chunk = (*last_directory_)[offset / GlobalChunk::kBytes];
    if (!chunk) chunk = new_chunk();
    return *chunk;
}

void GlobalShadow::split_granule(GlobalChunk& chunk, uint32_t index) {
    GlobalWord& granule = chunk.granules[index];
    if (granule.write.how & GlobalCell::kSplitBit) return;
    if (!chunk.words)
        chunk.words = std::make_unique_for_overwrite<GlobalWord[]>(GlobalChunk::kBytes / 4);
    const auto of_word = [](GlobalCell cell, uint32_t i) {
        if (cell.how & GlobalCell::kByWordBit) cell.agent = static_cast<uint16_t>(cell.agent + i);
        if (cell.how & GlobalCell::kByPairBit)
            cell.agent = static_cast<uint16_t>(cell.agent + i / 2);
        cell.how &= GlobalCell::kStrongBit | GlobalCell::kAsyncBit | GlobalCell::kManyBit |
                    GlobalCell::kScopeBits;
        return cell;
    };
    for (uint32_t i = 0; i < 4; ++i) {
        GlobalWord& word = chunk.words[index * 4 + i];
        word = {of_word(granule.write, i), of_word(granule.read, i), 0};
        for (uint32_t from = granule.more; from != 0; from = earlier_[from].next) {
            EarlierAccess made = earlier_[from];
            made.next = word.more;
            word.more = new_earlier(made);
        }
    }
    free_list(granule.more);
    granule = {};
    granule.write.how = GlobalCell::kSplitBit;
}

template <class F>
void GlobalShadow::each_unit(const MemoryBlock& block, uint64_t address, uint32_t bytes, F f) {
    constexpr uint32_t kGranule = GlobalChunk::kGranuleBytes;
    const uint64_t begin = address - block.base, end = begin + bytes;
    GlobalChunk* of_granules = nullptr;
    for (uint64_t at = begin / kGranule * kGranule; at < end; at += kGranule) {
        if (!of_granules || at % GlobalChunk::kBytes == 0) of_granules = &chunk_of(block, at);
        GlobalChunk& chunk = *of_granules;
        const auto index = static_cast<uint32_t>(at % GlobalChunk::kBytes / kGranule);
        GlobalWord& granule = chunk.granules[index];
        const bool alike = (granule.write.how & (GlobalCell::kSplitBit | kByPart)) == 0 &&
                           (granule.read.how & kByPart) == 0;
        if (alike && begin <= at && at + kGranule <= end) {
            f(granule, uint8_t{15}, at, at + kGranule);
            continue;
        }
        split_granule(chunk, index);
        for (uint64_t word = at; word < at + kGranule; word += 4) {
            const uint64_t low = std::max(begin, word), high = std::min(end, word + 4);
            if (low >= high) continue;
            const auto touched =
                static_cast<uint8_t>(((1u << (high - word)) - 1) & ~((1u << (low - word)) - 1));
            f(chunk.words[word % GlobalChunk::kBytes / 4], touched, low, high);
        }
    }
}

const GlobalCell& GlobalShadow::last_write(const MemoryBlock& block, uint64_t address) {
    const uint64_t offset = address - block.base;
    GlobalChunk& chunk = chunk_of(block, offset);
    const auto word = static_cast<uint32_t>(offset % GlobalChunk::kBytes / 4);
    split_granule(chunk, word / 4);
    return chunk.words[word].write;
}

bool GlobalShadow::ordered(Warp& warp, uint32_t lane, const GlobalCell& earlier) const {
    if (earlier.epoch == kPendingEpoch) return false;
    if (earlier.cluster == warp.cta.cluster.id)
        return warp.knowledge.ordered(lane, earlier.agent, earlier.epoch);
    return warp.knowledge.ordered_across(lane, earlier.cluster, earlier.agent, earlier.epoch);
}

bool GlobalShadow::tolerates(const Warp& warp, const Op& op, AccessFlags flags,
                             const GlobalCell& earlier) {
    if (!(flags & kStrong) || !(earlier.how & GlobalCell::kStrongBit)) return false;
    const uint8_t scopes = (how_of(flags) | earlier.how) & GlobalCell::kScopeBits;
    if (scopes != 0) {
        if (earlier.cluster != warp.cta.cluster.id) return false;
        const uint32_t block = earlier.agent / (32 * static_cast<uint32_t>(warp.cta.warps.size()));
        if ((scopes & GlobalCell::kInBlockBit) && block != warp.cta.rank) return false;
    }
    const bool in_bulk =
        (earlier.how & GlobalCell::kAsyncBit) || (flags & kBulkReduction) == kBulkReduction;
    const auto& infos = warp.program.infos;
    return !in_bulk || infos[earlier.pc].reduction == infos[warp.program.index_of(op)].reduction;
}

void GlobalShadow::conflict(Warp& warp, const Op& op, uint32_t lane, uint64_t address,
                            const GlobalCell& earlier, bool writes, bool earlier_wrote) {
    char place[32];
    std::snprintf(place, sizeof place, "0x%llx", static_cast<unsigned long long>(address));
    const std::string who = warp.grid.describe_thread(earlier.cluster, earlier.agent);
    if (earlier.epoch == kPendingEpoch) {
        warp.fault(op, lane, FaultKind::kInFlight,
                   std::string(writes ? "writes" : "reads") + " device memory at " + place +
                       " while a bulk copy that was not waited for still writes it",
                   "issued by " + who + " with " + warp.describe_op(earlier.pc), address);
    }
    warp.fault(op, lane, FaultKind::kRace,
               std::string(writes ? "writes" : "reads") + " device memory at " + place +
                   ", which " + who + (earlier_wrote ? " wrote" : " read") +
                   " in this grid; nothing orders the two",
               "the earlier access is " + warp.describe_op(earlier.pc), address);
}

const GlobalCell* GlobalShadow::find_conflict(const MemoryBlock& block, uint64_t address,
                                              uint32_t bytes, AccessFlags flags, bool writes,
                                              bool& wrote) const {
    const auto found = blocks_.find(block.base);
    if (found == blocks_.end()) return nullptr;
    const uint64_t begin = address - block.base, end = begin + bytes;
    for (uint64_t word = begin / 4 * 4; word < end; word += 4) {
        const auto& chunk = found->second[word / GlobalChunk::kBytes];
        if (!chunk) continue;
        const auto index = static_cast<uint32_t>(word % GlobalChunk::kBytes / 4);
        const GlobalWord* at = &chunk->granules[index / 4];
        if (at->write.how & GlobalCell::kSplitBit) at = &chunk->words[index];
        const uint64_t low = std::max(begin, word) - word, high = std::min(end, word + 4) - word;
        const uint64_t touched = ((1u << high) - 1) & ~((1u << low) - 1);
        wrote = at->write.cluster != 0 && (at->write.bytes & touched) != 0 &&
                !both_for_all(flags, at->write);
        if (wrote) return &at->write;
        if (writes && at->read.cluster != 0 && (at->read.bytes & touched) != 0 &&
            !both_for_all(flags, at->read))
            return &at->read;
        for (uint32_t i = at->more; i != 0; i = earlier_[i].next) {
            const EarlierAccess& one = earlier_[i];
            wrote = one.wrote;
            if ((one.cell.bytes & touched) != 0 && (writes || wrote) &&
                !both_for_all(flags, one.cell))
                return &one.cell;
        }
    }
    return nullptr;
}

void GlobalShadow::read(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                        uint64_t address, uint32_t bytes, AccessFlags flags, bool non_coherent) {
    if (!warp.grid.launch.before.empty())
        need_grids_before(warp, op, lane, block, address, bytes, flags, false, non_coherent);
    const uint32_t cluster = warp.cta.cluster.id;
    const auto agent = static_cast<uint16_t>(warp.knowledge.first_agent() + lane);
    each_unit(block, address, bytes, [&](GlobalWord& at, uint8_t touched, uint64_t, uint64_t) {
        if (at.write.cluster != 0 && (at.write.bytes & touched) != 0) {
            if (non_coherent) {
                warp.fault(
                    op, lane, FaultKind::kRace,
                    "a non-coherent load (.nc, __ldg) reads what was written in the same grid",
                    "the earlier access is " + warp.describe_op(at.write.pc), address);
            }
            if (!tolerates(warp, op, flags, at.write) && !ordered(warp, lane, at.write))
                conflict(warp, op, lane, address, at.write, false, true);
        }
        if (at.more != 0) need_earlier_ordered(warp, op, lane, address, at, touched, flags, false);
        const uint8_t strong = how_of(flags);
        const bool alike =
            (at.read.how & (GlobalCell::kStrongBit | GlobalCell::kScopeBits)) == strong;
        const bool same_thread = at.read.cluster == cluster && at.read.agent == agent;
        if (same_thread && at.read.epoch == warp.knowledge.epoch() && alike) {
            at.read.bytes |= touched;
            return;
        }
        bool many = false;
        if (at.read.cluster != 0) {
            // What is ordered behind it and conflicts with as much stands for it too.
            const bool stands = (alike || !strong) && (same_thread || ordered(warp, lane, at.read));
            const auto left =
                static_cast<uint8_t>(stands ? at.read.bytes & ~touched : at.read.bytes);
            many = (left != 0 && !keep_read(at, left, cluster)) ||
                   (at.read.how & GlobalCell::kManyBit) != 0;
        }
        at.read = {cluster, warp.knowledge.epoch(),
                   agent,   static_cast<uint8_t>(strong | (many ? GlobalCell::kManyBit : 0)),
                   touched, warp.program.index_of(op)};
    });
}

bool GlobalShadow::note_read(GlobalWord& at, const Warp& warp, GlobalCell made) {
    if (at.write.cluster != 0 || at.write.how != 0) return false;
    const uint8_t parts = made.how;
    bool many = at.read.how & GlobalCell::kManyBit;
    made.how = static_cast<uint8_t>(parts | (many ? GlobalCell::kManyBit : 0));
    const bool same_threads =
        at.read.cluster == made.cluster && at.read.agent == made.agent && at.read.how == made.how;
    const bool known = at.read.cluster == made.cluster && at.read.epoch <= warp.knowledge.floor();
    const bool fresh = at.read.cluster == 0;
    if (!fresh && !same_threads && !known && !(many && at.read.cluster != made.cluster)) {
        if (parts != 0 || at.read.how != 0) return false;
        many = !keep_read(at, 15, made.cluster);
        made.how = many ? GlobalCell::kManyBit : uint8_t{0};
    }
    if (same_threads && at.read.epoch == made.epoch) made.pc = at.read.pc;
    at.read = made;
    return true;
}

void GlobalShadow::read_all(Warp& warp, const Op& op, uint32_t mask, const Span& span,
                            const Access& access) {
    constexpr uint32_t kGranule = GlobalChunk::kGranuleBytes;
    const uint32_t cluster = warp.cta.cluster.id, epoch = warp.knowledge.epoch();
    const uint32_t pc = warp.program.index_of(op);
    const auto first_agent = static_cast<uint16_t>(warp.knowledge.first_agent());
    const auto one_by_one = [&](uint32_t lanes) {
        each_lane(lanes, [&](uint32_t lane) {
            read(warp, op, lane, *span.block, span.block->base + span.offsets[lane], access.bytes,
                 access.flags, access.non_coherent);
        });
    };
    // Lanes mostly stay in a chunk.
    GlobalChunk* chunk = nullptr;
    uint32_t number = 0;
    const auto note = [&](uint32_t offset, uint32_t lane, uint8_t parts) {
        if (!chunk || number != offset / GlobalChunk::kBytes) {
            chunk = &chunk_of(*span.block, offset);
            number = offset / GlobalChunk::kBytes;
        }
        GlobalWord& at = chunk->granules[offset % GlobalChunk::kBytes / kGranule];
        return note_read(
            at, warp, {cluster, epoch, static_cast<uint16_t>(first_agent + lane), parts, 15, pc});
    };
    if (!warp.grid.launch.before.empty()) return one_by_one(mask);
    if (access.bytes == kGranule) {
        uint32_t left = 0;
        each_lane(mask, [&](uint32_t lane) {
            left |= uint32_t{!note(span.offsets[lane], lane, 0)} << lane;
        });
        return one_by_one(left);
    }
    const bool in_parts = access.bytes == 4 || access.bytes == 8;
    if (!in_parts || !span.in_row || span.offsets[0] % kGranule != 0) return one_by_one(mask);
    const uint32_t lanes_of_granule = kGranule / access.bytes;
    const uint8_t parts = access.bytes == 4 ? GlobalCell::kByWordBit : GlobalCell::kByPairBit;
    for (uint32_t lane = 0; lane < 32; lane += lanes_of_granule) {
        if (!note(span.offsets[lane], lane, parts))
            one_by_one(((1u << lanes_of_granule) - 1) << lane);
    }
}

void GlobalShadow::write(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                         uint64_t address, uint32_t bytes, AccessFlags flags,
                         const std::byte* data) {
    if (!warp.grid.launch.before.empty())
        need_grids_before(warp, op, lane, block, address, bytes, flags, true);
    const uint32_t pc = warp.program.index_of(op);
    const uint64_t begin = address - block.base;
    const auto agent = static_cast<uint16_t>(warp.knowledge.first_agent() + lane);
    each_unit(
        block, address, bytes, [&](GlobalWord& at, uint8_t touched, uint64_t low, uint64_t high) {
            if (at.write.cluster != 0 && (at.write.bytes & touched) != 0) {
                const bool same =
                    data && at.write.pc == pc && !warp.grid.options.checks.strict &&
                    std::memcmp(block.data + low, data + (low - begin), high - low) == 0;
                if (!same && !tolerates(warp, op, flags, at.write) &&
                    !ordered(warp, lane, at.write))
                    conflict(warp, op, lane, address, at.write, true, true);
            }
            if (at.more != 0)
                need_earlier_ordered(warp, op, lane, address, at, touched, flags, true);
            if (at.read.cluster != 0 && (at.read.bytes & touched) != 0) {
                // Of readers of several clusters the last is known by itself; of the others who
                // has acquired something is believed to know.
                const bool of_others = !(at.read.how & GlobalCell::kManyBit) ||
                                       knows_of_others(warp.knowledge.of(lane));
                const bool fine = tolerates(warp, op, flags, at.read) ||
                                  (of_others && ordered(warp, lane, at.read));
                if (!fine) conflict(warp, op, lane, address, at.read, true, false);
            }
            // Of bytes that this write leaves alone the accesses stay known; where it is strong
            // also strong writes that are not ordered before it, with which it does not conflict.
            const uint8_t strong = how_of(flags);
            const auto rest = static_cast<uint8_t>(~touched & 15);
            drop_earlier(warp, lane, at, touched, strong != 0);
            if (at.read.cluster != 0 && (at.read.bytes & rest) != 0)
                keep_read(at, at.read.bytes & rest, warp.cta.cluster.id);
            const bool adds = at.write.cluster == warp.cta.cluster.id && at.write.agent == agent &&
                              at.write.epoch == warp.knowledge.epoch() && at.write.how == strong;
            const bool stands = !strong || !(at.write.how & GlobalCell::kStrongBit) ||
                                at.write.cluster == 0 || ordered(warp, lane, at.write);
            const auto left = static_cast<uint8_t>(stands ? at.write.bytes & rest : at.write.bytes);
            if (!adds && at.write.cluster != 0 && left != 0) keep_write(at, left);
            at.write = {warp.cta.cluster.id,
                        warp.knowledge.epoch(),
                        agent,
                        strong,
                        static_cast<uint8_t>(adds ? at.write.bytes | touched : touched),
                        pc};
            at.read = {};
        });
}

void GlobalShadow::need_async(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                              uint64_t address, uint32_t bytes) {
    each_unit(block, address, bytes, [&](GlobalWord& word, uint8_t, uint64_t low, uint64_t) {
        const GlobalCell& at = word.write;
        if (at.cluster == 0 || (at.how & GlobalCell::kAsyncBit) || !ordered(warp, lane, at)) return;
        const bool fenced =
            at.cluster == warp.cta.cluster.id
                ? warp.knowledge.ordered_async_global(lane, at.agent, at.epoch)
                : warp.knowledge.ordered_async_across(lane, at.cluster, at.agent, at.epoch);
        if (fenced) return;
        warp.fault(op, lane, FaultKind::kMissingProxyFence,
                   "a bulk copy touches device memory that was written through the generic proxy "
                   "in this grid; fence.proxy.async must stand between them",
                   "the earlier access is " + warp.describe_op(at.pc), block.base + low / 4 * 4);
    });
}

void GlobalShadow::read_async(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                              uint64_t address, uint32_t bytes) {
    constexpr uint32_t kGranule = GlobalChunk::kGranuleBytes;
    const GlobalCell made{warp.cta.cluster.id,
                          warp.knowledge.epoch(),
                          static_cast<uint16_t>(warp.knowledge.first_agent() + lane),
                          0,
                          15,
                          warp.program.index_of(op)};
    const bool alone = warp.grid.launch.before.empty();
    GlobalChunk* chunk = nullptr;
    for (const uint64_t end = address + bytes; address < end;) {
        const uint64_t offset = address - block.base;
        const auto piece =
            static_cast<uint32_t>(std::min(end - address, kGranule - offset % kGranule));
        if (!chunk || offset % GlobalChunk::kBytes < kGranule) chunk = &chunk_of(block, offset);
        GlobalWord& at = chunk->granules[offset % GlobalChunk::kBytes / kGranule];
        // Where nothing was written there is nothing to fence.
        if (!alone || piece != kGranule || !note_read(at, warp, made)) {
            read(warp, op, lane, block, address, piece, kPlain, false);
            need_async(warp, op, lane, block, address, piece);
        }
        address += piece;
    }
}

void GlobalShadow::owe(Warp& warp, const Op& op, uint32_t lane, const MemoryBlock& block,
                       uint64_t address, uint32_t bytes, bool reduces) {
    need_async(warp, op, lane, block, address, bytes);
    write(warp, op, lane, block, address, bytes, reduces ? kBulkReduction : kPlain, nullptr);
    each_unit(block, address, bytes, [](GlobalWord& at, uint8_t, uint64_t, uint64_t) {
        at.write.epoch = kPendingEpoch;
        at.write.how |= GlobalCell::kAsyncBit;
    });
}

void GlobalShadow::settle(Warp& warp, uint32_t lane, const MemoryBlock& block, uint64_t address,
                          uint32_t bytes) {
    const auto agent = static_cast<uint16_t>(warp.knowledge.first_agent() + lane);
    each_unit(block, address, bytes, [&](GlobalWord& word, uint8_t, uint64_t, uint64_t) {
        GlobalCell& at = word.write;
        const GlobalCell ended{warp.cta.cluster.id, warp.knowledge.epoch(), agent};
        // A later write may have come over a reduction.
        if (at.cluster == ended.cluster && at.agent == agent && at.epoch == kPendingEpoch)
            at.epoch = ended.epoch;
        if (word.more != 0) settle_earlier(word, ended);
    });
}

}  // namespace fattn::vgpu
