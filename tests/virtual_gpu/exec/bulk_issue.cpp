// Ends of bulk copies, their mbarriers, and what the memory model asks of them at issue.
#include "exec/bulk_issue.h"

#include <bit>
#include <cstring>

#include "exec/cta.h"
#include "exec/grid.h"
#include "exec/mbarrier_ops.h"

namespace fattn::vgpu {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

Cta& owner_of(Warp& w, const SharedMemory& shared) {
    for (const auto& cta : w.cta.cluster.ctas) {
        if (&cta->shared == &shared) return *cta;
    }
    return w.cta;
}

Place resolve_range(Warp& w, const Op& op, uint32_t lane, Space space, uint64_t address,
                    uint32_t bytes, bool writes, uint32_t alignment) {
    if (address % alignment != 0) {
        w.fault(op, lane, FaultKind::kMisaligned,
                "a bulk copy's address is no multiple of " + std::to_string(alignment) + " bytes",
                {}, address);
    }
    const Place place = resolve(w, op, lane, space, address, 1, writes);
    const Place last = resolve(w, op, lane, space, address + bytes - 1, 1, writes);
    if (last.shared != place.shared || last.block != place.block)
        w.fault(op, lane, FaultKind::kOutOfBounds, "a bulk copy leaves the memory it begins in", {},
                address);
    return place;
}

void read_runs(Warp& w, const Op& op, uint32_t lane, const BulkCopy& copy) {
    for (const BulkCopy::Run& run : copy.runs) {
        const Place place =
            resolve_range(w, op, lane, Space::kGlobal, run.address, run.bytes, false, 1);
        if (w.grid.options.checks.races)
            w.grid.global_shadow.read_async(w, op, lane, *place.block, run.address, run.bytes);
    }
}

BulkCopy copy_of(Warp& w, const Op& op, uint32_t lane) {
    BulkCopy made;
    made.issuer = &w;
    made.lane = lane;
    made.pc = w.program.index_of(op);
    return made;
}

void start_to_global(Warp& w, const Op& op, BulkCopy made) {
    const bool races = w.grid.options.checks.races;
    for (const BulkCopy::Run& run : made.runs) {
        const Place place =
            resolve_range(w, op, made.lane, Space::kGlobal, run.address, run.bytes, true, 1);
        if (races)
            w.grid.global_shadow.owe(w, op, made.lane, *place.block, run.address, run.bytes,
                                     made.reduction.has_value());
    }
    SharedMemory& source = made.from.cta->shared;
    if (races) {
        source.read_async(w, op, made.lane, made.from.at, made.bytes);
        source.hold(made.from.at, made.bytes, made.pc);
    }
    if (w.grid.options.statistics) count_runs(w, made, true);
    auto owned = std::make_unique<BulkCopy>(std::move(made));
    if (w.grid.options.asynchrony == Asynchrony::kEarly) signal_end(w.grid, *owned);
    w.cta.cluster.copies.push_back(std::move(owned));
}

void start_to_shared(Warp& w, const Op& op, const BulkCopy& made, const SharedTarget& target) {
    const bool races = w.grid.options.checks.races;
    Cluster& cluster = w.cta.cluster;
    const Place barrier = resolve(w, op, made.lane, Space::kShared, target.barrier, 8, true);
    Cta& target_cta = owner_of(w, *target.place.shared);
    const auto at = static_cast<uint32_t>(target.place.address);
    const uint32_t ranks = target.multicast ? target.ranks : uint32_t{1} << target_cta.rank;
    for (uint32_t left = ranks; left != 0; left &= left - 1) {
        const auto rank = static_cast<uint32_t>(std::countr_zero(left));
        if (rank >= cluster.ctas.size()) {
            w.fault(op, made.lane, FaultKind::kOutOfBounds,
                    "the multicast names block " + std::to_string(rank) + " of a cluster of " +
                        std::to_string(cluster.ctas.size()));
        }
        Cta& cta = *cluster.ctas[rank];
        need_running(w, op, made.lane, cta);
        auto one = std::make_unique<BulkCopy>(made);
        one->to = {&cta, at};
        // Each block's copy of a multicast signals the mbarrier at the same place of that block.
        one->barrier_cta = target.multicast ? &cta : &owner_of(w, *barrier.shared);
        one->barrier = static_cast<uint32_t>(barrier.address);
        const Mbarrier* found = one->barrier_cta->mbarriers.find(one->barrier);
        if (!found) {
            w.fault(op, made.lane, FaultKind::kBarrier,
                    "there is no mbarrier at shared byte " + std::to_string(one->barrier) +
                        " for a bulk copy to complete on");
        }
        if (races && !knows_initialised(w, made.lane, *found)) {
            w.fault(op, made.lane, FaultKind::kRace,
                    "completes on the mbarrier at shared byte " + std::to_string(one->barrier) +
                        ", whose initialisation by another thread nothing orders before");
        }
        if (races && target.async_proxy && !initialised_for_async(w, made.lane, *found)) {
            w.fault(op, made.lane, FaultKind::kMissingProxyFence,
                    "the mbarrier at shared byte " + std::to_string(one->barrier) +
                        " was initialised through the generic proxy; fence.mbarrier_init or "
                        "fence.proxy.async must stand before a bulk copy completes on it");
        }
        if (races) {
            if (made.reduction) {
                cta.shared.owe_reduction(w, op, made.lane, at, made.bytes, target.async_proxy);
            } else if (target.async_proxy) {
                cta.shared.owe_async(w, op, made.lane, at, made.bytes);
            } else {
                cta.shared.owe(w, op, made.lane, at, made.bytes);
            }
        }
        if (!made.reduction && made.gaps == 0)
            std::memset(cta.shared.defined.data() + at, 0, made.bytes);
        // A multicast reads once.
        if (w.grid.options.statistics && left == ranks) count_runs(w, *one, false);
        if (w.grid.options.asynchrony == Asynchrony::kEarly) {
            signal_end(w.grid, *one);
        } else {
            cluster.copies.push_back(std::move(one));
        }
    }
}

void count_runs(Warp& w, const BulkCopy& copy, bool writes) {
    if (copy.runs.empty()) return;
    Statistics& statistics = w.grid.statistics;
    uint64_t bytes = 0, sectors = 0, last = ~uint64_t{0};
    for (const BulkCopy::Run& run : copy.runs) {
        bytes += run.bytes;
        for (uint64_t sector = run.address / 32; sector <= (run.address + run.bytes - 1) / 32;
             ++sector) {
            sectors += sector != last;
            last = sector;
        }
    }
    ++statistics.global_accesses;
    (writes ? statistics.global_store_bytes : statistics.global_load_bytes) += bytes;
    (writes ? statistics.global_store_sectors : statistics.global_load_sectors) += sectors;
}

void decode_barrier_address(Decoding& d, const Operand& operand) {
    if (operand.kind != Operand::Kind::kMemory || operand.value != 0 || operand.parts.size() != 1)
        d.fail("the mbarrier's address is a register in brackets");
    const uint32_t bytes = d.register_bytes(operand.parts[0]);
    if (bytes == 4) d.op.aux2 |= 4;
    d.src(operand.parts[0], bytes == 4 ? Type::kU32 : Type::kU64);
}

Rmw take_reduction(Decoding& d) {
    struct Name {
        std::string_view text;
        Rmw what;
    };
    constexpr Name kNames[] = {{"add", Rmw::kAdd}, {"min", Rmw::kMin}, {"max", Rmw::kMax},
                               {"inc", Rmw::kInc}, {"dec", Rmw::kDec}, {"and", Rmw::kAnd},
                               {"or", Rmw::kOr},   {"xor", Rmw::kXor}};
    for (const Name& name : kNames) {
        if (d.take(name.text)) return name.what;
    }
    d.fail("an operation such as .add is missing");
}

bool reduces(Rmw what, Type type) {
    const bool half = type == Type::kF16 || type == Type::kBf16;
    const bool whole =
        type == Type::kU32 || type == Type::kS32 || type == Type::kU64 || type == Type::kS64;
    switch (what) {
        case Rmw::kAnd:
        case Rmw::kOr:
        case Rmw::kXor:
            return type == Type::kB32 || type == Type::kB64;
        case Rmw::kInc:
        case Rmw::kDec:
            return type == Type::kU32;
        case Rmw::kAdd:
            return (whole && type != Type::kS64) || half || type == Type::kF32 ||
                   type == Type::kF64;
        default:
            return whole || half;
    }
}

}  // namespace fattn::vgpu
