// A block's warps and its named barriers.
#include "exec/cta.h"

#include <algorithm>
#include <bit>

#include "exec/grid.h"

namespace fattn::vgpu {

Cluster::~Cluster() { ShadowPool::of_thread().cluster_ended(now); }

bool Cluster::ended() const {
    for (const auto& cta : ctas) {
        if (!cta->ended()) return false;
    }
    return true;
}

Cta::Cta(Grid& of, Cluster& in, Dim3 at, uint32_t cluster_rank)
    : grid(of),
      cluster(in),
      block(at),
      rank(cluster_rank),
      num_threads_(static_cast<uint32_t>(of.launch.block.count())) {
    shared.allocate(grid.shared_bytes(),
                    grid.options.checks.races ? &ShadowPool::of_thread() : nullptr);
    shared.id = uint64_t{cluster.id} << 8 | (rank + 1);
    local.assign(size_t{grid.program.local_bytes} * num_threads_, std::byte{0x7f});
    local_defined.assign(local.size(), 0);
    const uint32_t num_warps = (num_threads_ + 31) / 32;
    for (uint32_t i = 0; i < num_warps; ++i) {
        warps.push_back(std::make_unique<Warp>(*this, i, std::min(32u, num_threads_ - i * 32)));
        warps.back()->knowledge.start((rank * num_warps + i) * 32, cluster.now, cluster.floor());
    }
    warpgroups.resize((num_warps + kWarpsPerGroup - 1) / kWarpsPerGroup);
    // What the block's threads do not have when they start is there for setmaxnreg.
    const uint64_t given = uint64_t{grid.starting_registers} * num_warps * 32;
    const uint64_t all = grid.launch.module->model().registers_per_sm;
    free_registers = all - std::min(all, given);
    for (NamedBarrier& barrier : barriers_) barrier.arrived.assign(num_warps, 0);
}

Cta::~Cta() = default;

bool Cta::ended() const { return live_warps() == 0; }

uint32_t Cta::live_warps() const {
    uint32_t live = 0;
    for (const auto& warp : warps) live += !warp->ended();
    return live;
}

bool Cta::run(uint64_t& budget) {
    bool ran = false;
    for (bool again = true; again && budget > 0;) {
        again = false;
        const size_t first = grid.random.below(static_cast<uint32_t>(warps.size()));
        for (size_t i = 0; i < warps.size() && budget > 0; ++i) {
            Warp& warp = *warps[(first + i) % warps.size()];
            if (warp.ended()) continue;
            uint64_t slice = std::min<uint64_t>(budget, 64 + grid.random.below(2048));
            const uint64_t given = slice;
            if (warp.run(slice)) again = ran = true;
            budget -= given - slice;
        }
    }
    return ran;
}

void Cta::wake() {
    for (const auto& warp : warps) warp->wake();
}

bool Cta::part_waiting() {
    bool parted = false;
    for (const auto& warp : warps) parted |= warp->part_waiting();
    return parted;
}

std::vector<std::string> Cta::where() const {
    std::vector<std::string> lines;
    for (const auto& warp : warps) {
        for (std::string& line : warp->where()) lines.push_back(std::move(line));
    }
    return lines;
}

bool Cta::waits_for_lanes() const {
    for (const auto& warp : warps) {
        if (warp->waits_for_lanes()) return true;
    }
    return false;
}

void Cta::warp_ended() {
    // Who has ended is no longer expected by barriers of everyone.
    for (uint32_t id = 0; id < barriers_.size(); ++id) {
        if (barriers_[id].everyone) complete(id);
    }
}

bool Cta::arrive(Warp& warp, const Op& op, uint32_t mask, const BarrierUse& use) {
    const auto lane = static_cast<uint32_t>(std::countr_zero(mask));
    NamedBarrier& barrier = barriers_[use.id];
    const uint32_t pc = grid.program.index_of(op);
    const bool first = barrier.expected == 0 && !barrier.everyone;
    if (first) {
        barrier.everyone = use.count == 0;
        barrier.expected = use.count;
        barrier.only_waiters = true;
        barrier.operation = use.operation;
        barrier.value = use.operation == 2 ? 1 : 0;
        barrier.pc = pc;
    } else if (barrier.everyone != (use.count == 0) || barrier.expected != use.count) {
        const auto count_text = [](bool everyone, uint32_t count) {
            return everyone ? std::string("all threads") : std::to_string(count) + " threads";
        };
        warp.fault(op, lane, FaultKind::kBarrier,
                   "barrier " + std::to_string(use.id) + " is used for " +
                       count_text(use.count == 0, use.count) +
                       " while its generation was begun for " +
                       count_text(barrier.everyone, barrier.expected),
                   warp.describe_op(barrier.pc));
    }
    if ((barrier.arrived[warp.index] & mask) != 0) {
        warp.fault(op, lane, FaultKind::kBarrier,
                   "the warp arrives twice in one generation of barrier " + std::to_string(use.id),
                   warp.describe_op(barrier.pc));
    }
    barrier.arrived[warp.index] |= mask;
    barrier.only_waiters &= use.waits;
    const auto votes = static_cast<uint32_t>(std::popcount(use.votes & mask));
    if (use.operation == 1) barrier.value += votes;
    if (use.operation == 2) barrier.value &= votes == static_cast<uint32_t>(std::popcount(mask));
    if (use.operation == 3) barrier.value |= votes != 0;
    if (grid.options.checks.races)
        barrier.knowledge.join(warp.knowledge.release(mask, cluster.next_epoch()));
    grid.made_progress();
    Path& path = warp.current();
    if (use.waits) {
        path.state = Path::State::kWaiting;
        path.barrier = static_cast<int32_t>(use.id);
        path.released = false;
    }
    complete(use.id);
    return !use.waits || warp.current().released;
}

bool Cta::complete(uint32_t id) {
    NamedBarrier& barrier = barriers_[id];
    uint32_t threads = 0;
    bool all_arrived = true;
    for (const auto& warp : warps) {
        const uint32_t here = barrier.arrived[warp->index];
        all_arrived &= here == warp->initial();
        const bool full = (warp->alive() & ~here) == 0;
        if (barrier.everyone) {
            if (!full) return false;
        } else if (here != 0 && full) {
            threads += 32;
        }
    }
    if (!barrier.everyone && threads < barrier.expected) return false;
    // What those did who have ended without coming here, the barrier does not order.
    const bool with_floor = barrier.only_waiters && cluster.ctas.size() == 1 && all_arrived;
    const Knowledge knowledge = std::move(barrier.knowledge);
    const uint32_t result = barrier.value;
    const std::vector<uint32_t> arrived = barrier.arrived;
    barrier.knowledge = {};
    barrier.expected = 0;
    barrier.everyone = false;
    std::fill(barrier.arrived.begin(), barrier.arrived.end(), 0);
    const uint32_t floor = cluster.now;
    for (const auto& warp : warps) {
        if (arrived[warp->index] == 0) continue;
        warp->release_from_barrier(static_cast<int32_t>(id), result,
                                   with_floor ? nullptr : &knowledge);
        if (!with_floor || !grid.options.checks.races) continue;
        warp->knowledge.raise_floor(floor, cluster.next_epoch(), knowledge);
    }
    return true;
}

}  // namespace fattn::vgpu
