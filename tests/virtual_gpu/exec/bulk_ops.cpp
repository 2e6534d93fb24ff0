// cp.async.bulk and what belongs to it: issue, groups, waits. Copies themselves are bulk.cpp's.
#include <algorithm>
#include <bit>
#include <cstring>

#include "exec/access.h"
#include "exec/bulk.h"
#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Space;
using ptx::Type;

enum class Way : uint64_t { kGlobalToShared, kSharedToShared, kSharedToGlobal };

Cta& owner(Warp& w, const SharedMemory& shared) {
    for (const auto& cta : w.cta.cluster.ctas) {
        if (&cta->shared == &shared) return *cta;
    }
    return w.cta;
}

// Both ends of a copy are whole and aligned; the first and last byte tell where they lie.
Place resolve_range(Warp& w, const Op& op, uint32_t lane, Space space, uint64_t address,
                    uint32_t bytes, bool writes) {
    if (address % 16 != 0) {
        w.fault(op, lane, FaultKind::kMisaligned,
                "a bulk copy's address is no multiple of 16 bytes", {}, address);
    }
    const Place place = resolve(w, op, lane, space, address, 16, writes);
    const Place last = resolve(w, op, lane, space, address + bytes - 16, 16, writes);
    if (last.shared != place.shared || last.block != place.block)
        w.fault(op, lane, FaultKind::kOutOfBounds, "a bulk copy leaves the memory it begins in", {},
                address);
    return place;
}

// Sources: target, source, bytes, and for what completes on an mbarrier its address, then the mask
// of a multicast. aux2: bits 0-2 that target, source, mbarrier are 32-bit registers, 8 multicast.
Step issue(Warp& w, const Op& op, uint32_t mask) {
    const auto way = static_cast<Way>(op.aux2 >> 16 & 3);
    const bool multicast = op.aux2 >> 8 & 1;
    if (w.grid.options.checks.uninitialised) {
        for (uint32_t i = 0; i < op.num_src; ++i)
            w.need_defined(op, op.src(i), mask, "an operand of a bulk copy");
    }
    alignas(64) uint64_t targets[32], sources[32], barriers[32];
    lane_addresses(w, op, 0, targets, static_cast<uint64_t>(op.offset), op.aux2 & 1);
    lane_addresses(w, op, 1, sources, op.aux, op.aux2 & 2);
    const bool to_shared = way != Way::kSharedToGlobal;
    if (to_shared) lane_addresses(w, op, 3, barriers, 0, op.aux2 & 4);
    const bool races = w.grid.options.checks.races;
    Cluster& cluster = w.cta.cluster;
    each_lane(mask, [&](uint32_t lane) {
        const uint32_t bytes = w.src<uint32_t>(op, 2)[lane];
        if (bytes == 0 || bytes % 16 != 0) {
            w.fault(op, lane, FaultKind::kIllegal,
                    "a bulk copy of " + std::to_string(bytes) +
                        " bytes; a multiple of 16 that is not 0 is allowed");
        }
        const Space from_space = way == Way::kGlobalToShared ? Space::kGlobal : Space::kShared;
        const Place from = resolve_range(w, op, lane, from_space, sources[lane], bytes, false);
        BulkCopy made;
        made.bytes = bytes;
        made.pc = w.program.index_of(op);
        made.issuer = &w;
        made.lane = lane;
        made.from = {from.shared ? &owner(w, *from.shared) : nullptr, from.address};
        if (races && from.shared)
            from.shared->read_async(w, op, lane, static_cast<uint32_t>(from.address), bytes,
                                    !to_shared);
        if (races && from.block)
            w.grid.global_shadow.read(w, op, lane, *from.block, sources[lane], bytes, kPlain,
                                      false);
        const auto start = [&](BulkCopy&& copy) {
            auto owned = std::make_unique<BulkCopy>(std::move(copy));
            if (w.grid.options.asynchrony == Asynchrony::kEarly) {
                read_source(w.grid, *owned);
                if (to_shared) return write_target(w.grid, *owned);
            }
            cluster.copies.push_back(std::move(owned));
        };
        if (!to_shared) {
            const Place to = resolve_range(w, op, lane, Space::kGlobal, targets[lane], bytes, true);
            made.to = {nullptr, to.address};
            return start(std::move(made));
        }
        const Place to = resolve_range(w, op, lane, Space::kShared, targets[lane], bytes, true);
        const Place barrier = resolve(w, op, lane, Space::kShared, barriers[lane], 8, true);
        const uint32_t own_rank = owner(w, *to.shared).rank;
        const uint32_t ranks =
            multicast ? w.lanes<uint16_t>(op.src(4))[lane] : uint32_t{1} << own_rank;
        for (uint32_t left = ranks; left != 0; left &= left - 1) {
            const auto rank = static_cast<uint32_t>(std::countr_zero(left));
            if (rank >= cluster.ctas.size()) {
                w.fault(op, lane, FaultKind::kOutOfBounds,
                        "the multicast names block " + std::to_string(rank) + " of a cluster of " +
                            std::to_string(cluster.ctas.size()));
            }
            // Each block's copy signals the mbarrier at the same place of that block.
            Cta& cta = *cluster.ctas[rank];
            BulkCopy one = made;
            one.to = {&cta, to.address};
            one.barrier_cta = multicast ? &cta : &owner(w, *barrier.shared);
            one.barrier = static_cast<uint32_t>(barrier.address);
            const Mbarrier* found = one.barrier_cta->mbarriers.find(one.barrier);
            if (!found) {
                w.fault(op, lane, FaultKind::kBarrier,
                        "there is no mbarrier at shared byte " + std::to_string(one.barrier) +
                            " for a bulk copy to complete on");
            }
            if (races && !w.knowledge.ordered_async(lane, found->initialiser, found->initialised)) {
                w.fault(op, lane, FaultKind::kMissingProxyFence,
                        "the mbarrier at shared byte " + std::to_string(one.barrier) +
                            " was initialised through the generic proxy; fence.mbarrier_init or "
                            "fence.proxy.async must stand before a bulk copy completes on it");
            }
            if (races) cta.shared.owe_async(w, op, lane, static_cast<uint32_t>(to.address), bytes);
            std::memset(cta.shared.defined.data() + to.address, 0, bytes);
            start(std::move(one));
        }
    });
    if (w.grid.options.statistics) {
        each_lane(mask, [&](uint32_t lane) {
            const uint32_t bytes = w.src<uint32_t>(op, 2)[lane];
            Statistics& statistics = w.grid.statistics;
            ++statistics.global_accesses;
            if (way == Way::kGlobalToShared) {
                statistics.global_load_bytes += bytes;
                statistics.global_load_sectors += (bytes + 31) / 32;
            } else if (way == Way::kSharedToGlobal) {
                statistics.global_store_bytes += bytes;
                statistics.global_store_sectors += (bytes + 31) / 32;
            }
        });
    }
    return Step::kNext;
}

bool is_of(const BulkCopy& copy, const Warp& w, uint32_t mask) {
    return copy.barrier_cta == nullptr && copy.issuer == &w && (mask >> copy.lane & 1) != 0;
}

Step commit(Warp& w, const Op&, uint32_t mask) {
    for (const auto& copy : w.cta.cluster.copies) {
        if (is_of(*copy, w, mask) && copy->group == BulkCopy::kOpenGroup)
            copy->group = w.committed_bulk_groups[copy->lane];
    }
    each_lane(mask, [&](uint32_t lane) { ++w.committed_bulk_groups[lane]; });
    return Step::kNext;
}

// aux: groups that may stay; bit 32: only their reads are waited for.
Step wait(Warp& w, const Op& op, uint32_t mask) {
    const auto may_stay = static_cast<uint32_t>(op.aux);
    const bool only_reads = op.aux >> 32 & 1;
    const bool races = w.grid.options.checks.races;
    for (const auto& copy : w.cta.cluster.copies) {
        if (!is_of(*copy, w, mask) || copy->group == BulkCopy::kOpenGroup) continue;
        if (copy->group + may_stay >= w.committed_bulk_groups[copy->lane]) continue;
        const Op& issued = w.program.ops[copy->pc];
        read_source(w.grid, *copy);
        if (copy->from.cta && !copy->source_is_free) {
            copy->source_is_free = true;
            if (races)
                copy->from.cta->shared.end_async_read(
                    w, issued, copy->lane, static_cast<uint32_t>(copy->from.at), copy->bytes);
        }
        if (only_reads) continue;
        if (races && !copy->to.cta) {
            const MemoryBlock& block = *w.grid.block_of(copy->to.at, copy->bytes);
            w.grid.global_shadow.write(w, issued, copy->lane, block, copy->to.at, copy->bytes,
                                       kPlain, copy->data.data());
        }
        write_target(w.grid, *copy);
    }
    if (!only_reads) {
        std::erase_if(w.cta.cluster.copies,
                      [&](const auto& copy) { return is_of(*copy, w, mask) && copy->has_written; });
    }
    return Step::kNext;
}

Step nothing(Warp&, const Op&, uint32_t) { return Step::kNext; }

}  // namespace

void decode_bulk_copy(Decoding& d) {
    d.need_arch(90, "a bulk copy");
    if (d.take("tensor")) d.unsupported("tensor copies are not offered");
    if (d.take("commit_group")) {
        d.need_count(0, 0);
        return d.finish(commit, "bulk");
    }
    if (d.take("wait_group")) {
        d.op.aux = d.take("read") ? uint64_t{1} << 32 : 0;
        d.need_count(1, 1);
        d.op.aux |= d.constant(d.in.operands[0], "the number of groups") & 0xffffffff;
        return d.finish(wait, "bulk");
    }
    if (d.take("prefetch")) {
        if (!d.take("L2") || !d.take("global")) d.fail("the form is .prefetch.L2.global");
        d.take_hints({"L2::cache_hint"});
        d.need_count(2, 3);
        d.address(d.in.operands[0]);
        return d.finish(nothing, "bulk");
    }
    // The target's space comes first.
    const std::string_view to = d.in.modifiers.size() > 2 ? d.in.modifiers[2] : "";
    const bool to_shared = to == "shared::cluster";
    const bool from_global = d.take("global") && to_shared;
    d.take("shared::cluster");
    const bool from_shared = d.take("shared::cta");
    const bool grouped = d.take("bulk_group");
    const bool barred = d.take("mbarrier::complete_tx::bytes");
    const bool multicast = d.take("multicast::cluster");
    const bool hinted = d.take("L2::cache_hint");
    if ((to != "global" && !to_shared) || (to == "global" && !from_shared) ||
        (to_shared && from_global == from_shared) || to_shared != barred || to_shared == grouped)
        d.fail(
            "the forms are .shared::cluster.global and .shared::cluster.shared::cta with "
            ".mbarrier::complete_tx::bytes, .global.shared::cta with .bulk_group");
    const size_t operands = 3u + (barred ? 1 : 0) + (multicast ? 1 : 0) + (hinted ? 1 : 0);
    d.need_count(operands, operands);
    d.address(d.in.operands[0]);
    d.second_address(d.in.operands[1]);
    d.src(d.in.operands[2], Type::kU32);
    if (barred) {
        const ptx::Operand& barrier = d.in.operands[3];
        if (barrier.kind != ptx::Operand::Kind::kMemory || barrier.value != 0)
            d.fail("the mbarrier's address is a register in brackets");
        const uint32_t bytes = d.register_bytes(barrier.parts[0]);
        if (bytes == 4) d.op.aux2 |= 4;
        d.src(barrier.parts[0], bytes == 4 ? Type::kU32 : Type::kU64);
        if (multicast) d.src(d.in.operands[4], Type::kU16);
    }
    const Way way = to == "global" ? Way::kSharedToGlobal
                    : from_global  ? Way::kGlobalToShared
                                   : Way::kSharedToShared;
    d.op.aux2 |= static_cast<uint64_t>(way) << 16 | (multicast ? 1u << 8 : 0u);
    d.finish(issue, "bulk");
}

}  // namespace fattn::vgpu
