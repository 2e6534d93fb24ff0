// mbarrier instructions, barrier.cluster, and addresses of other blocks of the cluster.
#include "exec/mbarrier_ops.h"

#include <bit>
#include <cstring>

#include "exec/access.h"
#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"
#include "exec/spelling.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

constexpr int64_t kMaxCount = (1 << 20) - 1;

Space space_of(const Op& op) { return op.aux2 & 4 ? Space::kGeneric : Space::kShared; }

Cta& mbarrier_owner(Warp& w, const SharedMemory& shared) {
    for (const auto& cta : w.cta.cluster.ctas) {
        if (&cta->shared == &shared) return *cta;
    }
    return w.cta;
}

struct Found {
    Cta* cta;
    uint32_t offset;
    Mbarrier* barrier;
};

Place place_of(Warp& w, const Op& op, uint32_t lane, uint64_t address) {
    const Place place = resolve(w, op, lane, space_of(op), address, 8, true);
    if (!place.shared)
        w.fault(op, lane, FaultKind::kBarrier, "an mbarrier lies in shared memory", {}, address);
    return place;
}

// For all lanes of `mask`, whose addresses are alike.
Found find_together(Warp& w, const Op& op, uint32_t mask, uint64_t address) {
    const auto first = static_cast<uint32_t>(std::countr_zero(mask));
    const Place place = place_of(w, op, first, address);
    Cta& cta = mbarrier_owner(w, *place.shared);
    const auto offset = static_cast<uint32_t>(place.address);
    Mbarrier* barrier = cta.mbarriers.find(offset);
    if (!barrier) {
        w.fault(op, first, FaultKind::kBarrier,
                "there is no mbarrier at shared byte " + std::to_string(offset) +
                    ": it was not initialised, or invalidated since",
                {}, address);
    }
    if (!w.grid.options.checks.races) return {&cta, offset, barrier};
    if (barrier->initialised > w.knowledge.floor()) {
        each_lane(mask, [&](uint32_t lane) {
            if (w.knowledge.ordered(lane, barrier->initialiser, barrier->initialised)) return;
            if (knows_initialised(w, lane, *barrier)) {
                // The fence stands for the initialisation, where that is the last write.
                place.shared->replace_write(offset, 8, barrier->initialiser, barrier->initialised,
                                            barrier->agent, barrier->fenced);
                return;
            }
            w.fault(op, lane, FaultKind::kRace,
                    "uses the mbarrier at shared byte " + std::to_string(offset) +
                        ", whose initialisation by another thread nothing orders before",
                    {}, address);
        });
    }
    place.shared->write_strong(w, op, mask, offset, 8);
    return {&cta, offset, barrier};
}

Found find(Warp& w, const Op& op, uint32_t lane, uint64_t address) {
    return find_together(w, op, 1u << lane, address);
}

void settle(Warp& w, const Found& found) {
    if (!settle_phase(*found.barrier)) return;
    found.cta->wake();
    for (const auto& cta : w.cta.cluster.ctas) cta->wake();
}

uint64_t state_of(const Mbarrier& barrier) {
    return barrier.phase << 32 | static_cast<uint32_t>(barrier.pending);
}

void give(Warp& w, const Found& found, const Knowledge& knowledge) {
    if (w.grid.options.checks.races) found.barrier->current.join(knowledge);
    w.grid.made_progress();
}

Knowledge release(Warp& w, uint32_t mask) {
    return w.grid.options.checks.races ? w.knowledge.release(mask, w.cta.cluster.next_epoch())
                                       : Knowledge{};
}

void need_operands(Warp& w, const Op& op, uint32_t mask) {
    if (!w.grid.options.checks.uninitialised) return;
    for (uint32_t i = 0; i < op.num_src; ++i)
        w.need_defined(op, op.src(i), mask, "an operand of an mbarrier");
}

// --- init and inval
Step init(Warp& w, const Op& op, uint32_t mask) {
    need_operands(w, op, mask);
    uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    each_lane(mask, [&](uint32_t lane) {
        const Place place = place_of(w, op, lane, addresses[lane]);
        const uint32_t count = w.src<uint32_t>(op, 1)[lane];
        if (count == 0 || count > kMaxCount)
            w.fault(op, lane, FaultKind::kBarrier,
                    "the count is " + std::to_string(count) + "; 1 to 1048575 are allowed");
        const auto offset = static_cast<uint32_t>(place.address);
        if (w.cta.mbarriers.find(offset) && w.grid.options.checks.barriers) {
            w.fault(op, lane, FaultKind::kBarrier,
                    "an mbarrier that is in use at shared byte " + std::to_string(offset) +
                        " is initialised again without mbarrier.inval",
                    {}, addresses[lane]);
        }
        if (w.grid.options.checks.races)
            place.shared->write(w, op, lane, offset, 8, kPlain, nullptr);
        Mbarrier& made = mbarrier_owner(w, *place.shared).mbarriers.make(offset);
        made.expected = count;
        made.pending = count;
        made.initialiser = w.knowledge.first_agent() + lane;
        made.initialised = w.knowledge.epoch();
        made.agent = w.cta.cluster.num_agents++;
        std::memset(place.defined, 0xff, 8);
    });
    w.grid.made_progress();
    return Step::kNext;
}

Step invalidate(Warp& w, const Op& op, uint32_t mask) {
    uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    each_lane(mask, [&](uint32_t lane) {
        const Found found = find(w, op, lane, addresses[lane]);
        found.cta->shared.write(w, op, lane, found.offset, 8, kPlain, nullptr);
        found.cta->mbarriers.remove(found.offset);
    });
    return Step::kNext;
}

// --- arrivals. Sources: address, then a count or a number of bytes. aux: bit 0 a count or bytes
// are given, 1 they are bytes, 2 drops, 3 no arrival (expect_tx, complete_tx), 4 completes instead
// of expecting, 5 relaxed.
Step arrive(Warp& w, const Op& op, uint32_t mask) {
    need_operands(w, op, mask);
    uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    const bool given = op.aux & 1, bytes = op.aux & 2, drops = op.aux & 4, arrives = !(op.aux & 8);
    const Knowledge knowledge = arrives ? release(w, mask) : Knowledge{};
    each_lane(mask, [&](uint32_t lane) {
        const Found found = find(w, op, lane, addresses[lane]);
        Mbarrier& barrier = *found.barrier;
        const uint64_t state = state_of(barrier);
        const uint32_t operand = given ? w.src<uint32_t>(op, 1)[lane] : 1;
        const uint32_t count = bytes ? 1 : operand;
        if (arrives) give(w, found, knowledge);
        if (bytes) {
            barrier.transactions += op.aux & 16 ? -static_cast<int64_t>(operand) : operand;
            if (barrier.transactions > kMaxCount || barrier.transactions < -kMaxCount) {
                w.fault(op, lane, FaultKind::kBarrier,
                        "the outstanding bytes of an mbarrier would be " +
                            std::to_string(barrier.transactions) + "; 1048575 is the limit",
                        {}, addresses[lane]);
            }
        }
        if (arrives) {
            barrier.pending -= count;
            if (drops && barrier.expected > 0) barrier.expected -= count;
            if (barrier.pending < 0) {
                w.fault(op, lane, FaultKind::kBarrier,
                        "more arrivals than the " + std::to_string(barrier.expected) +
                            " that a phase of the mbarrier expects",
                        {}, addresses[lane]);
            }
        }
        settle(w, found);
        if (op.num_dst > 0) w.dst<uint64_t>(op)[lane] = state;
    });
    if (op.num_dst > 0) w.set_defined(op.dst(0), mask, ~0u);
    return Step::kNext;
}

// Who first sees a phase ended knows its bulk copies, and from him others learn of them.
void take_arrived(Warp& w, Mbarrier& barrier) {
    if (barrier.arrived.empty()) return;
    const uint32_t epoch = w.cta.cluster.next_epoch();
    for (const Arrived& one : barrier.arrived) {
        if (one.by.warp) {
            const uint32_t thread = one.by.warp->knowledge.first_agent() + one.by.lane;
            one.shared->settle(one.offset, one.bytes, thread, one.by.epoch, one.pc);
        } else {
            one.shared->settle(one.offset, one.bytes, barrier.agent, epoch, one.pc);
        }
    }
    barrier.arrived.clear();
    barrier.completed.generic.learn(barrier.agent, epoch);
    barrier.completed.async.learn(barrier.agent, epoch);
}

// --- tests. aux: bit 0 parity instead of a state, 1 may wait.
Step test(Warp& w, const Op& op, uint32_t mask) {
    need_operands(w, op, mask);
    uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    const bool parity = op.aux & 1, waits = op.aux & 2;
    uint32_t done = 0;
    Knowledge knowledge;
    for (uint32_t left = mask; left != 0;) {
        const uint64_t address = addresses[std::countr_zero(left)];
        uint32_t alike = 0;
        each_lane(left,
                  [&](uint32_t lane) { alike |= uint32_t{addresses[lane] == address} << lane; });
        left &= ~alike;
        Mbarrier& barrier = *find_together(w, op, alike, address).barrier;
        uint32_t ended = 0;
        each_lane(alike, [&](uint32_t lane) {
            const uint64_t phase =
                parity ? w.src<uint32_t>(op, 1)[lane] & 1 : w.src<uint64_t>(op, 1)[lane] >> 32;
            const bool is_over = parity ? (barrier.phase & 1) != phase : barrier.phase != phase;
            ended |= uint32_t{is_over} << lane;
        });
        done |= ended;
        if (ended == 0) continue;
        take_arrived(w, barrier);
        if (w.grid.options.checks.races) knowledge.join(barrier.completed);
    }
    // A wait that finds nothing ends when the barrier changes, or by chance before that.
    if (waits && done == 0 && w.grid.random.below(8) != 0) return Step::kWait;
    if (done != 0 && w.grid.options.checks.races)
        w.knowledge.acquire(done, w.whole(done), knowledge);
    write_predicate(w.dst<uint32_t>(op), mask, done);
    w.set_defined(op.dst(0), mask, ~0u);
    return Step::kNext;
}

Step pending_count(Warp& w, const Op& op, uint32_t mask) {
    const uint64_t* state = w.src<uint64_t>(op, 0);
    write_lanes(w.dst<uint32_t>(op), mask,
                [&](uint32_t i) { return static_cast<uint32_t>(state[i]); });
    return Step::kNext;
}

// As ptxas has them.
constexpr std::string_view kMbarrierForms[] = {
    "init,inval ?shared,shared::cta b64",
    "arrive,arrive_drop ?expect_tx ?release.cta,release.cluster "
    "?shared,shared::cta,shared::cluster b64",
    "arrive,arrive_drop noComplete ?release.cta ?shared,shared::cta b64",
    "expect_tx,complete_tx ?relaxed.cta,relaxed.cluster ?shared,shared::cta,shared::cluster b64",
    "test_wait,try_wait ?parity ?acquire.cta,acquire.cluster ?shared,shared::cta b64",
    "pending_count b64"};

void decode_mbarrier(Decoding& d) {
    need_form(d, kMbarrierForms);
    const auto what = d.take_one({"init", "inval", "arrive", "arrive_drop", "expect_tx",
                                  "complete_tx", "test_wait", "try_wait", "pending_count"});
    if (what.empty()) d.fail("an operation such as .init is missing");
    d.op.propagates = false;
    if (what == "pending_count") {
        if (!d.take("b64")) d.fail("the type is b64");
        d.need_count(2, 2);
        d.dst(d.in.operands[0], 4);
        d.src(d.in.operands[1], Type::kB64);
        d.op.propagates = true;
        return d.finish(pending_count, "mbarrier");
    }
    const bool expects = (what == "arrive" || what == "arrive_drop") && d.take("expect_tx");
    const bool stays_open = d.take("noComplete");
    const bool remote = d.has_one({"shared::cluster"});
    d.take_one({"release", "acquire", "relaxed"});
    d.take_one({"cta", "cluster"});
    const bool parity = d.take("parity");
    const bool generic = d.take_one({"shared", "shared::cta", "shared::cluster"}).empty();
    if (!d.take("b64")) d.fail("the type is b64");
    d.op.aux2 |= generic ? 4 : 0;
    if (what == "init" || what == "inval") {
        const bool makes = what == "init";
        d.need_count(makes ? 2 : 1, makes ? 2 : 1);
        d.address(d.in.operands[0]);
        if (makes) d.src(d.in.operands[1], Type::kU32);
        return d.finish(makes ? init : invalidate, "mbarrier");
    }
    if (what == "test_wait" || what == "try_wait") {
        if (what == "try_wait") d.need_arch(90, "try_wait");
        d.need_count(3, what == "try_wait" ? 4 : 3);
        d.dst(d.in.operands[0], 1);
        d.address(d.in.operands[1]);
        d.src(d.in.operands[2], parity ? Type::kU32 : Type::kU64);
        if (d.count() == 4) d.src(d.in.operands[3], Type::kU32);
        d.op.aux = (parity ? 1u : 0u) | (what == "try_wait" ? 2u : 0u);
        return d.finish(test, "mbarrier");
    }
    if (parity) d.fail(".parity is for test_wait and try_wait");
    const bool only_bytes = what == "expect_tx" || what == "complete_tx";
    size_t next = 0;
    if (!only_bytes && d.operand(0, "an operand").kind != Operand::Kind::kMemory) {
        if (d.in.operands[0].kind != Operand::Kind::kSink) {
            if (remote) d.fail("an arrival at .shared::cluster has no state; _ stands for it");
            d.dst(d.in.operands[0], 8);
        }
        ++next;
    }
    d.address(d.operand(next++, "an address"));
    const bool given = next < d.count();
    if (given) d.src(d.in.operands[next++], Type::kU32);
    d.need_count(next, next);
    if ((expects || only_bytes) && !given) d.fail("a number of bytes is missing");
    if (stays_open && !given) d.fail(".noComplete comes with a count");
    d.op.aux = (given ? 1u : 0u) | (expects || only_bytes ? 2u : 0u) |
               (what == "arrive_drop" ? 4u : 0u) | (only_bytes ? 8u : 0u) |
               (what == "complete_tx" ? 16u : 0u);
    d.finish(arrive, "mbarrier");
}

// What a relaxed arrival tells: what was known at the last fence that reaches the cluster, and
// which mbarriers were initialised before fence.mbarrier_init.
void publish_fenced(Warp& w, uint32_t mask, Knowledge& to) {
    each_lane(mask, [&](uint32_t lane) {
        const FenceState::Fenced& fenced = w.fences.fenced[lane];
        if (fenced.knowledge && fenced.scope >= Scope::kCluster) to.join(*fenced.knowledge);
    });
    for (const auto& [offset, barrier] : w.cta.mbarriers.all()) {
        const uint32_t lane = barrier.initialiser - w.knowledge.first_agent();
        if (barrier.fenced == 0 || lane >= 32 || !(mask >> lane & 1)) continue;
        to.generic.learn(barrier.agent, barrier.fenced);
        to.async.learn(barrier.agent, barrier.fenced);
    }
}

// --- barrier.cluster: aux 1 arrives, 2 waits, 4 relaxed.
Step cluster_barrier(Warp& w, const Op& op, uint32_t mask) {
    Cluster& cluster = w.cta.cluster;
    Path& path = w.current();
    if ((op.aux & 8) && mask != w.alive() && w.grid.options.checks.convergence) {
        w.fault(op, static_cast<uint32_t>(std::countr_zero(mask)), FaultKind::kDivergence,
                "all lanes of the warp that live must come to an .aligned barrier together");
    }
    if (op.aux & 1) {
        each_lane(mask, [&](uint32_t lane) {
            if (w.cluster_generation[lane] != cluster.generation) {
                w.fault(op, lane, FaultKind::kBarrier,
                        "the thread arrives at barrier.cluster again without having waited");
            }
            ++w.cluster_generation[lane];
        });
        cluster.arrived_threads += static_cast<uint32_t>(std::popcount(mask));
        if (w.grid.options.checks.races) {
            if (op.aux & 4) {
                publish_fenced(w, mask, cluster.knowledge);
            } else {
                cluster.knowledge.join(w.knowledge.release(mask, cluster.next_epoch()));
            }
        }
        uint32_t live = 0;
        for (const auto& cta : cluster.ctas) {
            for (const auto& warp : cta->warps)
                live += static_cast<uint32_t>(std::popcount(warp->alive()));
        }
        w.grid.made_progress();
        if (cluster.arrived_threads >= live) {
            cluster.arrived_threads = 0;
            ++cluster.generation;
            cluster.completed = std::move(cluster.knowledge);
            // Even a relaxed arrival tells that its block runs.
            Clock& generic = cluster.completed.generic;
            generic.floor = std::max(generic.floor, cluster.started);
            cluster.knowledge = {};
            for (const auto& cta : cluster.ctas) cta->wake();
        }
        return Step::kNext;
    }
    path.released = false;
    const auto lane = static_cast<uint32_t>(std::countr_zero(mask));
    if (w.cluster_generation[lane] > cluster.generation) return Step::kWait;
    if (w.grid.options.checks.races) w.knowledge.acquire(mask, w.whole(mask), cluster.completed);
    return Step::kNext;
}

// --- mapa and getctarank: addresses in another block's shared memory carry its rank.
template <class T>
Step map_address(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const uint32_t* rank = w.src<uint32_t>(op, 1);
    const T window = op.aux ? static_cast<T>(kSharedWindow) : T{0};
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) {
        const T offset = static_cast<T>((a[i] - window) & ((1u << kRankShift) - 1));
        return static_cast<T>(window + offset + (static_cast<T>(rank[i] + 1) << kRankShift));
    });
    return Step::kNext;
}

void decode_mapa(Decoding& d) {
    const bool shared = d.take("shared::cluster");
    const Type type = d.take_type();
    if (type != Type::kU32 && type != Type::kU64) d.fail("the type is u32 or u64");
    if (!shared && type == Type::kU32) d.fail("generic addresses have 64 bits");
    d.need_arch(90, "mapa");
    d.op.aux = !shared;
    d.need_count(3, 3);
    d.dst(d.in.operands[0], bytes_of(type));
    d.src(d.in.operands[1], type);
    d.src(d.in.operands[2], Type::kU32);
    d.finish(type == Type::kU64 ? map_address<uint64_t> : map_address<uint32_t>, "move");
}

template <class T>
Step rank_of(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T window = op.aux ? static_cast<T>(kSharedWindow) : T{0};
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) {
        const auto above = static_cast<uint32_t>((a[i] - window) >> kRankShift);
        return above == 0 ? w.cta.rank : above - 1;
    });
    return Step::kNext;
}

void decode_getctarank(Decoding& d) {
    const bool shared = d.take("shared::cluster");
    const Type type = d.take_type();
    d.need_arch(90, "getctarank");
    d.op.aux = !shared;
    d.need_count(2, 2);
    d.dst(d.in.operands[0], 4);
    d.src(d.in.operands[1], type);
    d.finish(bytes_of(type) == 8 ? rank_of<uint64_t> : rank_of<uint32_t>, "move");
}

}  // namespace

void decode_cluster_barrier(Decoding& d) {
    const auto what = d.take_one({"arrive", "wait"});
    if (what.empty()) d.fail("one of .arrive .wait is missing");
    const auto order = d.take_one({"release", "relaxed", "acquire"});
    d.need_arch(90, "barrier.cluster");
    d.op.aux = (what == "arrive" ? 1u : 2u) | (order == "relaxed" ? 4u : 0u) |
               (d.take("aligned") ? 8u : 0u);
    d.need_count(0, 0);
    d.op.propagates = false;
    d.finish(cluster_barrier, "barrier");
}

Step mbarrier_arrive_with(Warp& w, const Op& op, uint32_t mask, bool counts,
                          const std::vector<Arrived>& copies) {
    uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    const Knowledge knowledge = release(w, mask);
    each_lane(mask, [&](uint32_t lane) {
        const Found found = find(w, op, lane, addresses[lane]);
        give(w, found, knowledge);
        for (const Arrived& one : copies) {
            if (one.by.lane == lane) found.barrier->arriving.push_back(one);
        }
        if (!counts) return;
        if (--found.barrier->pending < 0) {
            w.fault(op, lane, FaultKind::kBarrier,
                    "more arrivals than the " + std::to_string(found.barrier->expected) +
                        " that a phase of the mbarrier expects",
                    {}, addresses[lane]);
        }
        settle(w, found);
    });
    return Step::kNext;
}

Step mbarrier_init_fence(Warp& w, const Op&, uint32_t mask) {
    if (!w.grid.options.checks.races) return Step::kNext;
    for (auto& [offset, barrier] : w.cta.mbarriers.all()) {
        const uint32_t lane = barrier.initialiser - w.knowledge.first_agent();
        if (lane >= 32 || !(mask >> lane & 1)) continue;
        barrier.fenced = w.cta.cluster.next_epoch();
        w.knowledge.learn(1u << lane, false, barrier.agent, barrier.fenced);
    }
    return Step::kNext;
}

bool knows_initialised(const Warp& w, uint32_t lane, const Mbarrier& barrier) {
    return w.knowledge.ordered(lane, barrier.initialiser, barrier.initialised) ||
           (barrier.fenced != 0 && w.knowledge.ordered(lane, barrier.agent, barrier.fenced));
}

bool initialised_for_async(const Warp& w, uint32_t lane, const Mbarrier& barrier) {
    return w.knowledge.ordered_async(lane, barrier.initialiser, barrier.initialised) ||
           (barrier.fenced != 0 && w.knowledge.ordered_async(lane, barrier.agent, barrier.fenced));
}

void add_mbarrier_opcodes(OpcodeTable& table) {
    table["mbarrier"] = decode_mbarrier;
    table["mapa"] = decode_mapa;
    table["getctarank"] = decode_getctarank;
}

}  // namespace fattn::vgpu
