// Control: branches, ends of threads, traps, named barriers, fences, and what programmatic launches
// say.
#include <bit>
#include <cstring>

#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/flatten.h"
#include "exec/grid.h"
#include "exec/grid_trace.h"
#include "exec/lanes.h"
#include "exec/mbarrier_ops.h"

namespace fattn::vgpu {

namespace {

using ptx::Operand;
using ptx::Type;

// A branch runs for the lanes that take it; `mask` of the path tells the others.
Step branch(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t all = w.current().mask;
    if (mask == all) {
        w.jump(op.target);
    } else {
        w.diverge(op, mask, all);
    }
    return Step::kJumped;
}

Step uniform_branch(Warp& w, const Op& op, uint32_t mask) {
    if (mask != w.current().mask && w.grid.options.checks.convergence) {
        w.fault(op, static_cast<uint32_t>(std::countr_zero(mask)), FaultKind::kDivergence,
                "a .uni branch is taken by some lanes of a path and not by others");
    }
    return branch(w, op, mask);
}

void decode_bra(Decoding& d) {
    const bool uniform = d.take("uni");
    d.op.is_branch = true;
    d.op.propagates = false;
    d.finish(uniform ? uniform_branch : branch, "control");
}

Step end(Warp& w, const Op& op, uint32_t mask) {
    if (w.grid.options.checks.races) need_copies_ended(w, op, mask);
    if (w.grid.options.checks.wgmma) need_wgmma_ended(w, op, mask);
    ++w.current().pc;
    w.end_lanes(mask);
    return Step::kEnded;
}

void decode_end(Decoding& d) {
    d.take("uni");
    d.need_count(0, 0);
    d.op.ends_path = true;
    d.finish(end, "control");
}

Step trap(Warp& w, const Op& op, uint32_t mask) {
    w.fault(op, static_cast<uint32_t>(std::countr_zero(mask)), FaultKind::kTrap,
            "the kernel executed '" + w.program.infos[w.program.index_of(op)].text + "'");
}

void decode_trap(Decoding& d) {
    d.need_count(0, 0);
    d.op.ends_path = true;
    d.finish(trap, "control");
}

Step branch_outside(Warp& w, const Op& op, uint32_t mask) {
    w.fault(op, static_cast<uint32_t>(std::countr_zero(mask)), FaultKind::kIllegal,
            "the index of brx.idx is past its list of labels");
}

void decode_branch_outside(Decoding& d) {
    d.op.ends_path = true;
    d.finish(branch_outside, "control");
}

// --- bar and barrier. Sources: the barrier's number, the count (0: everyone), and for red a
// predicate. aux: bits 0-7 operation, 8 waits, 9 aligned; num_dst is 1 for red.
Step barrier(Warp& w, const Op& op, uint32_t mask) {
    Path& path = w.current();
    const auto operation = static_cast<uint32_t>(op.aux & 255);
    const bool waits = op.aux >> 8 & 1;
    if (path.released) {
        path.released = false;
        const uint32_t result = path.result;
        if (operation == 1)
            write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t) { return result; });
        if (operation > 1) write_predicate(w.dst<uint32_t>(op), mask, result ? ~0u : 0);
        if (op.num_dst > 0) w.set_defined(op.dst(0), mask, ~0u);
        return Step::kNext;
    }
    const auto lane = static_cast<uint32_t>(std::countr_zero(mask));
    if ((op.aux >> 9 & 1) && mask != w.alive() && w.rejoin(mask)) return Step::kWait;
    if ((op.aux >> 9 & 1) && mask != w.alive() && w.grid.options.checks.convergence) {
        w.fault(op, lane, FaultKind::kDivergence,
                "all lanes of the warp that live must come to an .aligned barrier together; " +
                    std::to_string(std::popcount(mask)) + " of " +
                    std::to_string(std::popcount(w.alive())) + " do");
    }
    if (w.grid.options.checks.uninitialised) {
        for (uint32_t i = 0; i < op.num_src; ++i)
            w.need_defined(op, op.src(i), mask, "an operand of a barrier");
    }
    const uint32_t id = w.src<uint32_t>(op, 0)[lane], count = w.src<uint32_t>(op, 1)[lane];
    if (id > 15)
        w.fault(op, lane, FaultKind::kBarrier,
                "barrier " + std::to_string(id) + " is used; there are 0 to 15");
    const uint32_t rounded = (w.cta.num_threads() + 31) / 32 * 32;
    if (count % 32 != 0 || count > rounded) {
        w.fault(op, lane, FaultKind::kIllegal,
                "the barrier is for " + std::to_string(count) +
                    " threads; a multiple of 32 up to " + std::to_string(rounded) + " is allowed");
    }
    const uint32_t votes =
        operation == 0 ? 0 : *w.src<uint32_t>(op, 2) ^ (op.aux2 >> 34 & 1 ? ~0u : 0);
    if (waits) ++w.grid.statistics.barrier_waits;
    if (!w.cta.arrive(w, op, mask, {id, count, waits, operation, votes})) return Step::kWait;
    return waits ? barrier(w, op, mask) : Step::kNext;
}

void decode_barrier(Decoding& d) {
    if (d.in.opcode == "barrier" && d.take("cluster")) return decode_cluster_barrier(d);
    const bool old_name = d.in.opcode == "bar";
    if (old_name && d.take("warp")) {
        if (!d.take("sync")) d.fail("the form is bar.warp.sync");
        return decode_warp_sync(d);
    }
    d.take("cta");
    const auto what = d.take_one({"sync", "arrive", "red"});
    if (what.empty()) d.fail("one of .sync .arrive .red is missing");
    const bool aligned = old_name || d.take("aligned");
    uint64_t operation = 0;
    size_t first = 0;
    if (what == "red") {
        const auto name = d.take_one({"popc", "and", "or"});
        if (name.empty()) d.fail("one of .popc .and .or is missing");
        operation = name == "popc" ? 1 : name == "and" ? 2 : 3;
        const Type type = d.take_type();
        if ((operation == 1) != (type == Type::kU32) || (operation != 1) != (type == Type::kPred))
            d.fail("popc gives a u32, and and or give a pred");
        d.dst(d.operand(0, "the destination"), operation == 1 ? 4 : 1);
        first = 1;
    }
    d.src(d.operand(first, "the barrier"), Type::kU32);
    const size_t rest = d.count() - first - 1 - (operation ? 1 : 0);
    if (rest > 1 || (what == "arrive" && rest != 1))
        d.fail("it takes a barrier, a number of threads" +
               std::string(operation ? ", a predicate" : ""));
    Operand everyone;
    d.src(rest == 1 ? d.in.operands[first + 1] : everyone, Type::kU32);
    if (operation) d.predicate(d.in.operands.back());
    d.op.aux = operation | uint64_t{what != "arrive"} << 8 | uint64_t{aligned} << 9;
    d.op.propagates = false;
    d.finish(barrier, "barrier");
}

// --- fences. aux of fence: the scope.
Step fence(Warp& w, const Op& op, uint32_t mask) {
    fence_lanes(w, mask, static_cast<Scope>(op.aux));
    return Step::kNext;
}

// aux: bit 0 shared memory, 1 device memory.
Step proxy_fence(Warp& w, const Op& op, uint32_t mask) {
    w.knowledge.fence_proxy(mask, w.whole(mask), w.cta.cluster.next_epoch(),
                            {(op.aux & 1) != 0, (op.aux & 2) != 0}, w.grid.options.checks.strict);
    return Step::kNext;
}

Step control_nothing(Warp&, const Op&, uint32_t) { return Step::kNext; }

void decode_fence(Decoding& d) {
    if (d.in.opcode == "membar") {
        const auto level = d.take_one({"cta", "gl", "sys"});
        if (level.empty()) d.fail("one of .cta .gl .sys is missing");
        d.op.aux = static_cast<uint64_t>(level == "cta" ? Scope::kCta : Scope::kGpu);
        return d.finish(fence, "fence");
    }
    if (d.take("proxy")) {
        if (d.take("async")) {
            const auto space = d.take_one({"global", "shared::cta", "shared::cluster"});
            d.op.aux = space.empty() ? 3 : space == "global" ? 2 : 1;
            return d.finish(proxy_fence, "fence");
        }
        if (d.take("alias")) return d.finish(control_nothing, "fence");
        if (!d.take("tensormap::generic"))
            d.fail("one of .async .alias .tensormap::generic is missing");
        return decode_tensor_map_fence(d);
    }
    if (d.take("mbarrier_init")) {
        if (!d.take("release") || !d.take("cluster"))
            d.fail("the form is fence.mbarrier_init.release.cluster");
        return d.finish(mbarrier_init_fence, "fence");
    }
    d.take_hints({"sc", "acq_rel"});
    if (!d.has_one({"cta", "cluster", "gpu", "sys"}))
        d.fail("one of .cta .cluster .gpu .sys is missing");
    d.op.aux = static_cast<uint64_t>(take_scope(d));
    d.finish(fence, "fence");
}

// Grids run one after the other here, so what a dependent waits for has always ended; but only who
// has waited knows of it.
Step wait_for_grids(Warp& w, const Op&, uint32_t mask) {
    w.grid.waited_for_grids = true;
    if (w.grid.launch.before.empty()) return Step::kNext;
    Knowledge ended;
    ended.of_cluster(kGridsBefore).generic.set_floor(1);
    w.knowledge.acquire(mask, w.whole(mask), ended);
    return Step::kNext;
}

void decode_griddepcontrol(Decoding& d) {
    d.need_arch(90, "griddepcontrol");
    d.need_count(0, 0);
    const auto what = d.take_one({"launch_dependents", "wait"});
    if (what.empty()) d.fail("one of .launch_dependents .wait is missing");
    // The earliest time at which dependents may start is always one that they have to reckon with.
    d.finish(what == "wait" ? wait_for_grids : control_nothing, "hint");
}

}  // namespace

void add_control_opcodes(OpcodeTable& table) {
    table["bra"] = decode_bra;
    table["exit"] = table["ret"] = decode_end;
    table["trap"] = table["brkpt"] = decode_trap;
    table[kBranchOutside] = decode_branch_outside;
    table["bar"] = table["barrier"] = decode_barrier;
    table["membar"] = table["fence"] = decode_fence;
    table["griddepcontrol"] = decode_griddepcontrol;
}

}  // namespace fattn::vgpu
