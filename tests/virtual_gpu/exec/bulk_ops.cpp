// cp.async.bulk and cp.reduce.async.bulk: issue, groups, waits. Copies themselves are bulk.cpp's.
#include "exec/bulk_issue.h"
#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Space;
using ptx::Type;

enum class Way : uint64_t { kGlobalToShared, kSharedToShared, kSharedToGlobal };

// Sources: target, source, bytes, and for what completes on an mbarrier its address, then the mask
// of a multicast. aux2: bits 0-2 that target, source, mbarrier are 32-bit registers, 8 multicast,
// 9 a reduction, 16-17 the way, 20-23 a reduction's operation, 24-31 its type.
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
    each_lane(mask, [&](uint32_t lane) {
        const uint32_t bytes = w.src<uint32_t>(op, 2)[lane];
        if (bytes == 0 || bytes % 16 != 0) {
            w.fault(op, lane, FaultKind::kIllegal,
                    "a bulk copy of " + std::to_string(bytes) +
                        " bytes; a multiple of 16 that is not 0 is allowed");
        }
        BulkCopy made = copy_of(w, op, lane);
        made.bytes = bytes;
        if (op.aux2 >> 9 & 1)
            made.reduction = {static_cast<Rmw>(op.aux2 >> 20 & 15),
                              static_cast<Type>(op.aux2 >> 24 & 255)};
        const Space from_space = way == Way::kGlobalToShared ? Space::kGlobal : Space::kShared;
        const Place from = resolve_range(w, op, lane, from_space, sources[lane], bytes, false, 16);
        if (from.shared) {
            made.from = {&owner_of(w, *from.shared), static_cast<uint32_t>(from.address)};
            if (to_shared && w.grid.options.checks.races)
                from.shared->read_async(w, op, lane, made.from.at, bytes);
        } else {
            made.runs = {{sources[lane], 0, bytes}};
            read_runs(w, op, lane, made);
        }
        if (!to_shared) {
            resolve_range(w, op, lane, Space::kGlobal, targets[lane], bytes, true, 16);
            made.runs = {{targets[lane], 0, bytes}};
            return start_to_global(w, op, std::move(made));
        }
        const Place to = resolve_range(w, op, lane, Space::kShared, targets[lane], bytes, true, 16);
        const uint32_t ranks = multicast ? w.lanes<uint16_t>(op.src(4))[lane] : 0;
        start_to_shared(w, op, made, {to, barriers[lane], multicast, ranks, true});
    });
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
        read_source(w.grid, *copy);
        if (!copy->source_is_free) {
            copy->source_is_free = true;
            if (races) {
                SharedMemory& source = copy->from.cta->shared;
                source.unhold(copy->from.at, copy->bytes);
                // From here on it is as if the lane had read it now.
                source.note_read(copy->from.at, copy->bytes, w.knowledge.first_agent() + copy->lane,
                                 w.knowledge.epoch(), copy->pc);
            }
        }
        if (only_reads) continue;
        signal_end(w.grid, *copy);
        if (!races) continue;
        for (const BulkCopy::Run& run : copy->runs) {
            const MemoryBlock& block = *w.grid.block_of(run.address, run.bytes);
            w.grid.global_shadow.settle(w, copy->lane, block, run.address, run.bytes);
        }
    }
    if (!only_reads) {
        std::erase_if(w.cta.cluster.copies, [&](const auto& copy) {
            return is_of(*copy, w, mask) && copy->has_signalled;
        });
    }
    return Step::kNext;
}

Step nothing(Warp&, const Op&, uint32_t) { return Step::kNext; }

}  // namespace

void decode_bulk_copy(Decoding& d, bool reduces) {
    d.need_arch(90, "a bulk copy");
    if (d.take("tensor")) return decode_tensor_copy(d, reduces);
    if (!reduces && d.take("commit_group")) {
        d.need_count(0, 0);
        return d.finish(commit, "bulk");
    }
    if (!reduces && d.take("wait_group")) {
        d.op.aux = d.take("read") ? uint64_t{1} << 32 : 0;
        d.need_count(1, 1);
        d.op.aux |= d.constant(d.in.operands[0], "the number of groups") & 0xffffffff;
        return d.finish(wait, "bulk");
    }
    if (!reduces && d.take("prefetch")) {
        if (!d.take("L2") || !d.take("global")) d.fail("the form is .prefetch.L2.global");
        d.take_hints({"L2::cache_hint"});
        d.need_count(2, 3);
        d.address(d.in.operands[0]);
        return d.finish(nothing, "bulk");
    }
    // The target's space comes first.
    const std::string_view to = d.in.modifiers.size() > (reduces ? 3u : 2u)
                                    ? d.in.modifiers[reduces ? 3 : 2]
                                    : std::string_view();
    const bool to_shared = to == "shared::cluster";
    const bool from_global = d.take("global") && to_shared;
    d.take("shared::cluster");
    const bool from_shared = d.take("shared::cta");
    const bool grouped = d.take("bulk_group");
    const bool barred = d.take("mbarrier::complete_tx::bytes");
    const bool multicast = d.take("multicast::cluster");
    const bool hinted = d.take("L2::cache_hint");
    if ((to != "global" && !to_shared) || (to == "global" && !from_shared) ||
        (to_shared && from_global == from_shared) ||
        (to_shared && !from_global && (multicast || hinted)) || to_shared != barred ||
        to_shared == grouped || (reduces && (from_global || multicast)))
        d.fail(
            "the forms are .shared::cluster.global (copies alone) and .shared::cluster.shared::cta "
            "with .mbarrier::complete_tx::bytes, .global.shared::cta with .bulk_group");
    if (reduces) {
        const Rmw what = take_reduction(d);
        const bool no_ftz = d.take("noftz");
        const Type type = d.take_type();
        const bool half = type == Type::kF16 || type == Type::kBf16;
        if (!fattn::vgpu::reduces(what, type))
            d.fail("the type ." + std::string(ptx::info(type).name) +
                   " does not fit the operation");
        if (no_ftz != (half && what == Rmw::kAdd))
            d.fail(".noftz comes with .add of f16 and bf16, and with it alone");
        const bool in_shared = type == Type::kU32 || type == Type::kS32 || type == Type::kB32 ||
                               (type == Type::kU64 && what == Rmw::kAdd);
        if (to_shared && !in_shared)
            d.fail("in shared memory a reduction is of 32-bit integers, or adds u64");
        d.reduction = what;
        d.op.aux2 |=
            1u << 9 | static_cast<uint64_t>(what) << 20 | static_cast<uint64_t>(type) << 24;
    }
    const size_t operands = 3u + (barred ? 1 : 0) + (multicast ? 1 : 0) + (hinted ? 1 : 0);
    d.need_count(operands, operands);
    d.address(d.in.operands[0]);
    d.second_address(d.in.operands[1]);
    d.src(d.in.operands[2], Type::kU32);
    if (barred) decode_barrier_address(d, d.in.operands[3]);
    if (multicast) d.src(d.in.operands[4], Type::kU16);
    const Way way = to == "global" ? Way::kSharedToGlobal
                    : from_global  ? Way::kGlobalToShared
                                   : Way::kSharedToShared;
    d.op.aux2 |= static_cast<uint64_t>(way) << 16 | (multicast ? 1u << 8 : 0u);
    d.finish(issue, "bulk");
}

}  // namespace fattn::vgpu
