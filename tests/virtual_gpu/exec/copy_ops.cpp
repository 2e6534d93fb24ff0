// cp.async: copies from device to shared memory that end when they are waited for, or before.
#include <algorithm>
#include <bit>
#include <cstring>

#include "exec/access.h"
#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"
#include "exec/mbarrier_ops.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

void fetch(Warp& w, PendingCopy& copy) {
    copy.has_read = true;
    const Op& op = w.program.ops[copy.pc];
    each_lane(copy.mask, [&](uint32_t lane) {
        const uint32_t bytes = copy.source_bytes[lane];
        std::byte* const data = copy.data + lane * 16;
        uint8_t* const defined = copy.defined + lane * 16;
        // What is not copied is filled with zeros.
        std::memset(data, 0, 16);
        std::memset(defined, 0xff, 16);
        if (bytes == 0) return;
        const MemoryBlock* block = w.grid.block_of(copy.source[lane], bytes);
        if (!block) block = resolve(w, op, lane, Space::kGlobal, copy.source[lane], 1, false).block;
        const uint64_t at = copy.source[lane] - block->base;
        if (bytes == 16) {
            std::memcpy(data, block->data + at, 16);
            if (block->initialised) std::memcpy(defined, block->initialised + at, 16);
            return;
        }
        std::memcpy(data, block->data + at, bytes);
        if (block->initialised) std::memcpy(defined, block->initialised + at, bytes);
    });
}

void deliver(Warp& w, PendingCopy& copy, uint32_t lanes) {
    std::byte* const bytes = w.cta.shared.bytes.data();
    uint8_t* const defined = w.cta.shared.defined.data();
    each_lane(lanes, [&](uint32_t lane) {
        const uint32_t target = copy.target[lane];
        if (copy.bytes == 16) {
            std::memcpy(bytes + target, copy.data + lane * 16, 16);
            std::memcpy(defined + target, copy.defined + lane * 16, 16);
            return;
        }
        std::memcpy(bytes + target, copy.data + lane * 16, copy.bytes);
        std::memcpy(defined + target, copy.defined + lane * 16, copy.bytes);
    });
}

// The copy has ended for these lanes, and they know it.
void finish(Warp& w, PendingCopy& copy, uint32_t lanes) {
    lanes &= copy.mask;
    if (lanes == 0) return;
    if (!copy.has_read) fetch(w, copy);
    if (!copy.has_written) deliver(w, copy, lanes);
    each_lane(lanes, [&](uint32_t lane) {
        w.cta.shared.settle(copy.target[lane], copy.bytes, w.knowledge.first_agent() + lane,
                            w.knowledge.epoch(), copy.pc);
    });
    copy.mask &= ~lanes;
    w.grid.made_progress();
}

void sweep(Warp& w) {
    std::erase_if(w.copies, [&](std::unique_ptr<PendingCopy>& copy) {
        if (copy->mask != 0) return false;
        w.spare_copies.push_back(std::move(copy));
        return true;
    });
}

std::unique_ptr<PendingCopy> new_copy(Warp& w) {
    if (w.spare_copies.empty()) return std::make_unique<PendingCopy>();
    std::unique_ptr<PendingCopy> made = std::move(w.spare_copies.back());
    w.spare_copies.pop_back();
    return made;
}

// Where the copy will write, which nobody may touch until it has.
void own_targets(Warp& w, const Op& op, uint32_t mask, const uint64_t* addresses,
                 PendingCopy& copy) {
    const bool races = w.grid.options.checks.races;
    SharedMemory& shared = w.cta.shared;
    Span span;
    if (find_span(w, mask, addresses, {Space::kShared, copy.bytes, kPlain}, true, span)) {
        std::memcpy(copy.target, span.offsets, sizeof copy.target);
        if (races && shared.has_shadow()) {
            const WordAccess words = shared.words_of(w, op);
            const bool quick = !shared.is_held();
            each_lane(mask, [&](uint32_t lane) {
                if (!quick || !words.owe(copy.target[lane] / 4, copy.bytes / 4, lane))
                    shared.owe(w, op, lane, copy.target[lane], copy.bytes);
            });
        }
        if (w.grid.options.statistics) count_span(w, mask, span, copy.bytes, true);
        return;
    }
    each_lane(mask, [&](uint32_t lane) {
        const Place target =
            resolve(w, op, lane, Space::kShared, addresses[lane], copy.bytes, true);
        copy.target[lane] = static_cast<uint32_t>(target.address);
        if (races) shared.owe(w, op, lane, copy.target[lane], copy.bytes);
    });
    if (w.grid.options.statistics)
        count_traffic(w, mask, addresses, copy.bytes, Space::kShared, true);
}

// What the lanes of `mask` copy from.
void note_sources(Warp& w, const Op& op, uint32_t mask, const PendingCopy& copy) {
    const bool races = w.grid.options.checks.races;
    const Access whole = {Space::kGlobal, copy.bytes, kPlain};
    bool full = true;
    each_lane(mask, [&](uint32_t lane) { full &= copy.source_bytes[lane] == copy.bytes; });
    Span span;
    if (full && find_span(w, mask, copy.source, whole, false, span))
        return note_span_read(w, op, mask, span, whole);
    each_lane(mask, [&](uint32_t lane) {
        const uint32_t bytes = copy.source_bytes[lane];
        if (w.grid.options.checks.alignment && copy.source[lane] % copy.bytes != 0) {
            w.fault(op, lane, FaultKind::kMisaligned,
                    "the source is no multiple of " + std::to_string(copy.bytes) + " bytes", {},
                    copy.source[lane]);
        }
        const Place source = resolve(w, op, lane, Space::kGlobal, copy.source[lane], 1, false);
        if (!w.grid.block_of(copy.source[lane], bytes))
            resolve(w, op, lane, Space::kGlobal, copy.source[lane] + bytes - 1, 1, false);
        if (races)
            w.grid.global_shadow.read(w, op, lane, *source.block, copy.source[lane], bytes, kPlain,
                                      false);
    });
    if (w.grid.options.statistics)
        count_traffic(w, mask, copy.source, copy.bytes, Space::kGlobal, false);
}

// Sources: target, source, then the source's size and a predicate that leaves the source out, if
// given. aux2: bit 8 a size is given, 9 a predicate is, 16-23 bytes.
Step copy_async(Warp& w, const Op& op, uint32_t mask) {
    if (w.grid.options.checks.uninitialised) {
        for (uint32_t i = 0; i < op.num_src; ++i)
            w.need_defined(op, op.src(i), mask, i < 2 ? "an address" : "an operand of cp.async");
    }
    alignas(64) uint64_t targets[32];
    std::unique_ptr<PendingCopy> issued = new_copy(w);
    PendingCopy& copy = *issued;
    copy.start(mask, static_cast<uint32_t>(op.aux2 >> 16 & 255), w.program.index_of(op));
    lane_addresses(w, op, 0, targets);
    lane_addresses(w, op, 1, copy.source, op.aux, op.aux2 & 2);
    const bool sized = op.aux2 >> 8 & 1, ignores = op.aux2 >> 9 & 1;
    const uint32_t ignore_at = sized ? 3 : 2;
    uint32_t reading = 0;  // lanes that copy something
    each_lane(mask, [&](uint32_t lane) {
        uint32_t bytes = copy.bytes;
        if (sized) {
            bytes = w.src<uint32_t>(op, 2)[lane];
            if (bytes > copy.bytes) {
                w.fault(op, lane, FaultKind::kIllegal,
                        "the source's size is " + std::to_string(bytes) + "; the copy has " +
                            std::to_string(copy.bytes) + " bytes");
            }
        }
        if (ignores &&
            ((*w.src<uint32_t>(op, ignore_at) ^ (op.aux2 >> (32 + ignore_at) & 1 ? ~0u : 0)) >>
                 lane &
             1))
            bytes = 0;
        copy.source_bytes[lane] = static_cast<uint8_t>(bytes);
        reading |= uint32_t{bytes != 0} << lane;
    });
    own_targets(w, op, mask, targets, copy);
    if (reading != 0) note_sources(w, op, reading, copy);
    const Asynchrony when = w.grid.options.asynchrony;
    const auto early = [&] {
        return when == Asynchrony::kEarly || (when == Asynchrony::kSeeded && w.grid.random.coin());
    };
    if (early()) {
        fetch(w, copy);
        copy.has_written = early();
    }
    if (copy.has_written) {
        deliver(w, copy, mask);
    } else if (copy.bytes == 16) {
        each_lane(mask, [&](uint32_t lane) {
            // Until it is written the target holds neither the old nor the new value.
            std::memcpy(w.cta.shared.bytes.data() + copy.target[lane],
                        "\xa5\x7f\xa5\x7f\xa5\x7f\xa5\x7f\xa5\x7f\xa5\x7f\xa5\x7f\xa5\x7f", 16);
            std::memset(w.cta.shared.defined.data() + copy.target[lane], 0, 16);
        });
    } else {
        each_lane(mask, [&](uint32_t lane) {
            for (uint32_t i = 0; i < copy.bytes; i += 4)
                std::memcpy(w.cta.shared.bytes.data() + copy.target[lane] + i, "\xa5\x7f\xa5\x7f",
                            4);
            std::memset(w.cta.shared.defined.data() + copy.target[lane], 0, copy.bytes);
        });
    }
    w.copies.push_back(std::move(issued));
    return Step::kNext;
}

Step copy_commit(Warp& w, const Op&, uint32_t mask) {
    // Lanes that have committed as often make one group.
    std::vector<std::unique_ptr<PendingCopy>> parted;
    for (const auto& pending : w.copies) {
        PendingCopy& copy = *pending;
        while (copy.group == PendingCopy::kOpenGroup && (copy.mask & mask) != 0) {
            const uint32_t number = w.committed_groups[std::countr_zero(copy.mask & mask)];
            uint32_t alike = 0;
            each_lane(copy.mask & mask, [&](uint32_t lane) {
                alike |= uint32_t{w.committed_groups[lane] == number} << lane;
            });
            if (alike == copy.mask) {
                copy.group = number;
                break;
            }
            parted.push_back(new_copy(w));
            *parted.back() = copy;
            parted.back()->mask = alike;
            parted.back()->group = number;
            copy.mask &= ~alike;
        }
    }
    for (auto& copy : parted) w.copies.push_back(std::move(copy));
    sweep(w);
    each_lane(mask, [&](uint32_t lane) { ++w.committed_groups[lane]; });
    return Step::kNext;
}

// aux: groups that may stay; bit 63: everything ends, committed or not.
Step copy_wait(Warp& w, const Op& op, uint32_t mask) {
    const bool all = op.aux >> 63;
    const auto is_over = [&](uint32_t lane, uint32_t group) {
        return all || (group != PendingCopy::kOpenGroup &&
                       uint64_t{group} + op.aux < w.committed_groups[lane]);
    };
    for (const auto& pending : w.copies) {
        PendingCopy& copy = *pending;
        uint32_t done = 0;
        each_lane(copy.mask & mask,
                  [&](uint32_t lane) { done |= uint32_t{is_over(lane, copy.group)} << lane; });
        finish(w, copy, done);
    }
    sweep(w);
    if (!w.has_arrived_copies) return Step::kNext;
    // Copies whose end an mbarrier was to tell.
    for (auto& [offset, barrier] : w.cta.mbarriers.all()) {
        for (auto* list : {&barrier.arriving, &barrier.arrived}) {
            std::erase_if(*list, [&](const Arrived& one) {
                if (one.by.warp != &w || !(mask >> one.by.lane & 1) ||
                    !is_over(one.by.lane, one.by.group))
                    return false;
                one.shared->settle(one.offset, one.bytes, w.knowledge.first_agent() + one.by.lane,
                                   w.knowledge.epoch(), one.pc);
                return true;
            });
        }
    }
    return Step::kNext;
}

// cp.async.mbarrier.arrive: the lanes' copies write now, which is in the window that they have, and
// nobody may count on it before the mbarrier's phase has ended. Without .noinc the arrival was
// added to those expected, so that nothing remains to be counted down.
Step arrive_when_copied(Warp& w, const Op& op, uint32_t mask) {
    std::vector<Arrived> arrived;
    for (const auto& pending : w.copies) {
        PendingCopy& copy = *pending;
        const uint32_t lanes = copy.mask & mask;
        if (lanes == 0) continue;
        if (!copy.has_read) fetch(w, copy);
        if (!copy.has_written) deliver(w, copy, lanes);
        each_lane(lanes, [&](uint32_t lane) {
            arrived.push_back({&w.cta.shared,
                               copy.target[lane],
                               copy.bytes,
                               copy.pc,
                               {&w, lane, copy.group, w.knowledge.epoch()}});
        });
        copy.mask &= ~lanes;
    }
    sweep(w);
    w.has_arrived_copies |= !arrived.empty();
    return mbarrier_arrive_with(w, op, mask, op.aux == 1, arrived);
}

void decode_copy(Decoding& d) {
    const bool reduces = d.take("reduce");
    if (!d.take("async")) d.fail("the forms are cp.async and cp.reduce.async.bulk");
    d.op.propagates = false;
    if (d.take("bulk")) return decode_bulk_copy(d, reduces);
    if (reduces) d.fail("only bulk copies reduce");
    if (d.take("commit_group")) {
        d.need_count(0, 0);
        return d.finish(copy_commit, "cp.async");
    }
    if (d.take("wait_all")) {
        d.need_count(0, 0);
        d.op.aux = uint64_t{1} << 63;
        return d.finish(copy_wait, "cp.async");
    }
    if (d.take("wait_group")) {
        d.need_count(1, 1);
        d.op.aux = d.constant(d.in.operands[0], "the number of groups");
        return d.finish(copy_wait, "cp.async");
    }
    if (d.take("mbarrier")) {
        if (!d.take("arrive")) d.fail("the form is cp.async.mbarrier.arrive");
        d.op.aux = d.take("noinc");
        const bool shared = !d.take_one({"shared", "shared::cta"}).empty();
        if (!d.take("b64")) d.fail("the type is b64");
        d.op.aux2 |= shared ? 0 : 4;
        d.need_count(1, 1);
        d.address(d.in.operands[0]);
        return d.finish(arrive_when_copied, "mbarrier");
    }
    const auto cache = d.take_one({"ca", "cg"});
    if (cache.empty()) d.fail("one of .ca .cg is missing");
    if (d.take_one({"shared", "shared::cta"}).empty() || !d.take("global"))
        d.fail("the form is cp.async.ca.shared.global");
    const bool hinted = d.take("L2::cache_hint");
    d.take_hints({"L2::64B", "L2::128B", "L2::256B"});
    d.need_count(3 + (hinted ? 1 : 0), 5);
    const uint64_t bytes = d.constant(d.in.operands[2], "the size");
    if (cache == "cg" ? bytes != 16 : bytes != 4 && bytes != 8 && bytes != 16)
        d.fail("the size is 16, with .ca also 4 or 8");
    d.address(d.in.operands[0]);
    d.second_address(d.in.operands[1]);
    size_t rest = d.count() - 3 - (hinted ? 1 : 0);
    for (size_t i = 3; rest > 0; ++i, --rest) {
        const Operand& operand = d.in.operands[i];
        const bool is_predicate =
            operand.kind == Operand::Kind::kNegated || d.register_bytes(operand) == 1;
        if (is_predicate) {
            d.predicate(operand);
            d.op.aux2 |= 1 << 9;
        } else {
            d.src(operand, Type::kU32);
            d.op.aux2 |= 1 << 8;
        }
    }
    d.op.aux2 |= bytes << 16;
    d.finish(copy_async, "cp.async");
}

}  // namespace

void add_copy_opcodes(OpcodeTable& table) { table["cp"] = decode_copy; }

}  // namespace fattn::vgpu
