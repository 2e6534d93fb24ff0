// What lanes of a warp do together: shuffles, votes, matches, reductions, elections, and their own
// barrier.
#include <algorithm>
#include <bit>

#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Type;

// The member mask is the last source; false when the path has to wait for lanes that it names.
bool together(Warp& w, const Op& op, uint32_t mask) {
    const Row row = op.src(op.num_src - 1u);
    if (w.grid.options.checks.uninitialised) w.need_defined(op, row, mask, "a member mask");
    return w.meet(op, mask, w.lanes<uint32_t>(row)[std::countr_zero(mask)]);
}

Step warp_sync(Warp& w, const Op& op, uint32_t mask) {
    if (!together(w, op, mask)) return Step::kWait;
    if (w.grid.options.checks.races)
        w.knowledge.sync(mask, w.whole(mask), w.cta.cluster.next_epoch());
    return Step::kNext;
}

enum class Shuffle : uint64_t { kUp, kDown, kButterfly, kIndex };

Step shuffle(Warp& w, const Op& op, uint32_t mask) {
    if (!together(w, op, mask)) return Step::kWait;
    alignas(64) uint32_t from[32];
    std::copy_n(w.src<uint32_t>(op, 0), 32, from);
    const uint32_t* b = w.src<uint32_t>(op, 1);
    const uint32_t* c = w.src<uint32_t>(op, 2);
    uint32_t* to = w.dst<uint32_t>(op, 0);
    const uint32_t source_defined = w.defined(op.src(0)),
                   control_defined = w.defined(op.src(1)) & w.defined(op.src(2));
    uint32_t valid = 0, defined = 0, from_idle = 0;
    each_lane(mask, [&](uint32_t lane) {
        const uint32_t clamp = c[lane] & 31, segment = c[lane] >> 8 & 31, amount = b[lane] & 31;
        const uint32_t top = (lane & segment) | (clamp & ~segment), bottom = lane & segment;
        uint32_t j = lane;
        bool in_range = false;
        switch (static_cast<Shuffle>(op.aux)) {
            case Shuffle::kUp:
                in_range = static_cast<int32_t>(lane - amount) >= static_cast<int32_t>(top);
                j = lane - amount;
                break;
            case Shuffle::kDown:
                j = lane + amount;
                in_range = j <= top;
                break;
            case Shuffle::kButterfly:
                j = lane ^ amount;
                in_range = j <= top;
                break;
            case Shuffle::kIndex:
                j = bottom | (amount & ~segment);
                in_range = j <= top;
                break;
        }
        if (!in_range) j = lane;
        to[lane] = from[j];
        valid |= uint32_t{in_range} << lane;
        defined |= (source_defined >> j & control_defined >> lane & 1) << lane;
        if (!(mask >> j & 1)) from_idle |= 1u << lane;
    });
    // A lane that does not take part has nothing to give.
    defined &= ~from_idle;
    w.set_defined(op.dst(0), mask, defined);
    if ((defined & mask) != mask)
        w.set_origin(op.dst(0), from_idle ? w.program.index_of(op) + 1 : w.origin(op.src(0)));
    if (op.num_dst > 1) {
        write_predicate(w.dst<uint32_t>(op, 1), mask, valid);
        w.set_defined(op.dst(1), mask, control_defined);
    }
    return Step::kNext;
}

void decode_shfl(Decoding& d) {
    if (!d.take("sync")) d.fail("the form without .sync is gone since sm_70");
    const auto mode = d.take_one({"up", "down", "bfly", "idx"});
    if (mode.empty() || !d.take("b32")) d.fail("the form is shfl.sync.up (down, bfly, idx) .b32");
    d.op.aux = static_cast<uint64_t>(mode == "up"     ? Shuffle::kUp
                                     : mode == "down" ? Shuffle::kDown
                                     : mode == "bfly" ? Shuffle::kButterfly
                                                      : Shuffle::kIndex);
    d.need_count(5, 5);
    const Operand& to = d.in.operands[0];
    if (to.kind == Operand::Kind::kPair) {
        d.dst(to.parts[0], 4);
        d.dst(to.parts[1], 1);
    } else {
        d.dst(to, 4);
    }
    for (size_t i = 1; i < 5; ++i) d.src(d.in.operands[i], Type::kB32);
    d.op.propagates = false;
    d.finish(shuffle, "shuffle");
}

// aux: 0 all 1 any 2 uni 3 ballot.
Step vote(Warp& w, const Op& op, uint32_t mask) {
    if (!together(w, op, mask)) return Step::kWait;
    if (w.grid.options.checks.uninitialised) w.need_defined(op, op.src(0), mask, "a vote");
    const uint32_t votes = (*w.src<uint32_t>(op, 0) ^ (op.aux2 >> 32 & 1 ? ~0u : 0)) & mask;
    if (op.aux == 3) {
        write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t) { return votes; });
    } else {
        const bool holds = op.aux == 0   ? votes == mask
                           : op.aux == 1 ? votes != 0
                                         : votes == 0 || votes == mask;
        write_predicate(w.dst<uint32_t>(op), mask, holds ? ~0u : 0);
    }
    w.set_defined(op.dst(0), mask, ~0u);
    return Step::kNext;
}

void decode_vote(Decoding& d) {
    if (!d.take("sync")) d.fail("the form without .sync is gone since sm_70");
    const auto mode = d.take_one({"all", "any", "uni", "ballot"});
    if (mode.empty()) d.fail("one of .all .any .uni .ballot is missing");
    d.op.aux = mode == "all" ? 0 : mode == "any" ? 1 : mode == "uni" ? 2 : 3;
    const Type type = d.take_type();
    if (type != (mode == "ballot" ? Type::kB32 : Type::kPred))
        d.fail("ballot gives a b32, the others a pred");
    d.need_count(3, 3);
    d.dst(d.in.operands[0], bytes_of(type));
    d.predicate(d.in.operands[1]);
    d.src(d.in.operands[2], Type::kB32);
    d.op.propagates = false;
    d.finish(vote, "vote");
}

template <class T>
Step match(Warp& w, const Op& op, uint32_t mask) {
    if (!together(w, op, mask)) return Step::kWait;
    alignas(64) T from[32];
    std::copy_n(w.src<T>(op, 0), 32, from);
    uint32_t* to = w.dst<uint32_t>(op, 0);
    bool all = true;
    each_lane(mask, [&](uint32_t lane) {
        uint32_t same = 0;
        each_lane(mask,
                  [&](uint32_t other) { same |= uint32_t{from[other] == from[lane]} << other; });
        all &= same == mask;
        to[lane] = same;
    });
    if (op.aux == 1) {
        each_lane(mask, [&](uint32_t lane) { to[lane] = all ? mask : 0; });
        if (op.num_dst > 1) write_predicate(w.dst<uint32_t>(op, 1), mask, all ? ~0u : 0);
    }
    return Step::kNext;
}

void decode_match(Decoding& d) {
    const auto mode = d.take_one({"any", "all"});
    if (mode.empty() || !d.take("sync")) d.fail("the form is match.any.sync or match.all.sync");
    d.op.aux = mode == "all";
    const Type type = d.take_type();
    if (type != Type::kB32 && type != Type::kB64) d.fail("the type is b32 or b64");
    d.need_count(3, 3);
    const Operand& to = d.in.operands[0];
    if (to.kind == Operand::Kind::kPair) {
        if (mode == "any") d.fail("match.any gives no predicate");
        d.dst(to.parts[0], 4);
        d.dst(to.parts[1], 1);
    } else {
        d.dst(to, 4);
    }
    d.src(d.in.operands[1], type);
    d.src(d.in.operands[2], Type::kB32);
    d.finish(type == Type::kB64 ? match<uint64_t> : match<uint32_t>, "vote");
}

enum class Reduce : uint64_t { kAdd, kMin, kMax, kAnd, kOr, kXor, kSignedMin, kSignedMax };

Step reduce(Warp& w, const Op& op, uint32_t mask) {
    if (!together(w, op, mask)) return Step::kWait;
    const uint32_t* a = w.src<uint32_t>(op, 0);
    uint32_t made = a[std::countr_zero(mask)];
    each_lane(mask & (mask - 1), [&](uint32_t lane) {
        const uint32_t b = a[lane];
        const auto x = static_cast<int32_t>(made), y = static_cast<int32_t>(b);
        switch (static_cast<Reduce>(op.aux)) {
            case Reduce::kAdd:
                made += b;
                break;
            case Reduce::kMin:
                made = std::min(made, b);
                break;
            case Reduce::kMax:
                made = std::max(made, b);
                break;
            case Reduce::kAnd:
                made &= b;
                break;
            case Reduce::kOr:
                made |= b;
                break;
            case Reduce::kXor:
                made ^= b;
                break;
            case Reduce::kSignedMin:
                made = static_cast<uint32_t>(std::min(x, y));
                break;
            case Reduce::kSignedMax:
                made = static_cast<uint32_t>(std::max(x, y));
                break;
        }
    });
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t) { return made; });
    const bool defined = (w.defined(op.src(0)) & mask) == mask;
    w.set_defined(op.dst(0), mask, defined ? ~0u : 0);
    if (!defined) w.set_origin(op.dst(0), w.origin(op.src(0)));
    return Step::kNext;
}

void decode_redux(Decoding& d) {
    if (!d.take("sync")) d.fail("the form is redux.sync");
    const auto name = d.take_one({"add", "min", "max", "and", "or", "xor"});
    const Type type = d.take_type();
    const bool bits = name == "and" || name == "or" || name == "xor";
    if (name.empty() || (bits ? type != Type::kB32 : type != Type::kU32 && type != Type::kS32))
        d.fail("the form is redux.sync.add (min, max) .u32 or .s32, or .and (or, xor) .b32");
    const bool is_signed = type == Type::kS32;
    d.op.aux =
        static_cast<uint64_t>(name == "add"   ? Reduce::kAdd
                              : name == "min" ? (is_signed ? Reduce::kSignedMin : Reduce::kMin)
                              : name == "max" ? (is_signed ? Reduce::kSignedMax : Reduce::kMax)
                              : name == "and" ? Reduce::kAnd
                              : name == "or"  ? Reduce::kOr
                                              : Reduce::kXor);
    d.need_count(3, 3);
    d.dst(d.in.operands[0], 4);
    d.src(d.in.operands[1], Type::kB32);
    d.src(d.in.operands[2], Type::kB32);
    d.op.propagates = false;
    d.finish(reduce, "shuffle");
}

Step elect(Warp& w, const Op& op, uint32_t mask) {
    if (!together(w, op, mask)) return Step::kWait;
    const auto leader = static_cast<uint32_t>(std::countr_zero(mask));
    write_lanes(w.dst<uint32_t>(op, 0), mask, [&](uint32_t) { return leader; });
    write_predicate(w.dst<uint32_t>(op, 1), mask, 1u << leader);
    return Step::kNext;
}

void decode_elect(Decoding& d) {
    if (!d.take("sync")) d.fail("the form is elect.sync");
    d.need_arch(90, "elect");
    d.need_count(2, 2);
    const Operand& to = d.in.operands[0];
    if (to.kind != Operand::Kind::kPair) d.fail("the destination is d|p");
    d.dst(to.parts[0], 4);
    d.dst(to.parts[1], 1);
    d.src(d.in.operands[1], Type::kB32);
    d.finish(elect, "vote");
}

Step active_mask(Warp& w, const Op& op, uint32_t mask) {
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t) { return mask; });
    return Step::kNext;
}

void decode_activemask(Decoding& d) {
    if (!d.take("b32")) d.fail("the type is b32");
    d.need_count(1, 1);
    d.dst(d.in.operands[0], 4);
    d.finish(active_mask, "vote");
}

}  // namespace

void decode_warp_sync(Decoding& d) {
    d.need_count(1, 1);
    d.src(d.in.operands[0], Type::kB32);
    d.finish(warp_sync, "barrier");
}

void add_warp_opcodes(OpcodeTable& table) {
    table["shfl"] = decode_shfl;
    table["vote"] = decode_vote;
    table["match"] = decode_match;
    table["redux"] = decode_redux;
    table["elect"] = decode_elect;
    table["activemask"] = decode_activemask;
}

}  // namespace fattn::vgpu
