// atom and red: read, compute and write as one, lane after lane.
#include <algorithm>
#include <bit>
#include <cstring>

#include "exec/access.h"
#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/half.h"
#include "exec/lanes.h"
#include "exec/rmw.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

// What an element's memory holds, or is given: up to 16 bytes.
struct AtomicValue {
    uint64_t words[2] = {};

    bool operator==(const AtomicValue&) const = default;
};

AtomicValue bits_at(const std::byte* from, uint32_t bytes) {
    AtomicValue made;
    std::memcpy(made.words, from, bytes);
    return made;
}

AtomicValue compute(Type type, Rmw what, const AtomicValue& old, const AtomicValue& b,
                    const AtomicValue& c, RmwUnit unit) {
    if (type != Type::kB128)
        return {{compute_rmw(type, what, old.words[0], b.words[0], c.words[0], unit), 0}};
    return what == Rmw::kExch || old == b ? (what == Rmw::kExch ? b : c) : old;
}

// aux: bits 0-7 type, 8-15 operation, 16-23 space, 24-31 elements, 32 acquires, 33 releases, 40-47
// scope. Destinations, if any, are as many as elements.
Step atomic(Warp& w, const Op& op, uint32_t mask) {
    const auto type = static_cast<Type>(op.aux & 255);
    const auto what = static_cast<Rmw>(op.aux >> 8 & 255);
    const auto space = static_cast<Space>(op.aux >> 16 & 255);
    const auto count = static_cast<uint32_t>(op.aux >> 24 & 255);
    const uint32_t bytes = bytes_of(type);
    if (w.grid.options.checks.uninitialised) {
        for (uint32_t i = 0; i < op.num_src; ++i)
            w.need_defined(op, op.src(i), mask, i == 0 ? "an address" : "an operand of an atomic");
    }
    alignas(64) uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    const StrongAccess order = {static_cast<Scope>(op.aux >> 40 & 255), (op.aux >> 32 & 1) != 0,
                                (op.aux >> 33 & 1) != 0, true};
    const AccessFlags flags = strong_for(order.scope);
    const auto row = [&](Row of) { return reinterpret_cast<std::byte*>(w.lanes<uint16_t>(of)); };
    const auto value = [&](uint32_t source, uint32_t lane) {
        return bits_at(row(op.src(source)) + lane * bytes, bytes);
    };
    uint32_t undefined[8] = {};
    each_lane(mask, [&](uint32_t lane) {
        const Place place =
            resolve_or_nowhere(w, op, lane, space, addresses[lane], bytes * count, true);
        if (w.grid.options.checks.races) {
            if (place.shared)
                place.shared->write(w, op, lane, static_cast<uint32_t>(place.address),
                                    bytes * count, flags, nullptr);
            if (place.block)
                w.grid.global_shadow.write(w, op, lane, *place.block, place.address, bytes * count,
                                           flags, nullptr);
            // What nobody is given is not observed.
            if (op.num_dst > 0) observe(w, lane, place, order);
            publish(w, lane, place, order);
        }
        for (uint32_t k = 0; k < count; ++k) {
            std::byte* data = place.data + k * bytes;
            const AtomicValue old = bits_at(data, bytes);
            bool defined = true;
            for (uint32_t i = 0; place.defined && i < bytes; ++i)
                defined &= place.defined[k * bytes + i] != 0;
            if (!defined && what != Rmw::kExch && w.grid.options.checks.uninitialised) {
                w.fault(op, lane, FaultKind::kUninitialised,
                        "an atomic reads memory that was never written", {}, addresses[lane]);
            }
            const AtomicValue made = compute(type, what, old, value(1 + k, lane),
                                             what == Rmw::kCas ? value(2, lane) : AtomicValue{},
                                             place.shared ? RmwUnit::kShared : RmwUnit::kDevice);
            std::memcpy(data, made.words, bytes);
            // Who polls with an atomic changes nothing.
            if (made != old) w.grid.made_progress();
            if (place.defined) std::memset(place.defined + k * bytes, 0xff, bytes);
            if (op.num_dst > 0) {
                std::memcpy(row(op.dst(k)) + lane * bytes, old.words, bytes);
                if (!defined) undefined[k] |= 1u << lane;
            }
        }
    });
    for (uint32_t k = 0; k < op.num_dst; ++k) {
        w.set_defined(op.dst(k), mask, ~undefined[k]);
        if (undefined[k]) w.set_origin(op.dst(k), w.program.index_of(op) + 1);
    }
    if (order.releases && w.grid.options.checks.races)
        w.knowledge.advance(w.cta.cluster.next_epoch());
    if (w.grid.options.statistics) count_traffic(w, mask, addresses, bytes * count, space, true);
    return Step::kNext;
}

void decode_atomic(Decoding& d) {
    const bool returns = d.in.opcode == "atom";
    if (!returns && d.take("async")) return decode_store_async(d);
    const auto order = d.take_one({"relaxed", "acquire", "release", "acq_rel"});
    if (!returns && (order == "acquire" || order == "acq_rel")) d.fail("red does not acquire");
    const Scope scope = take_scope(d);
    const auto where = d.take_one({"global", "shared", "shared::cta", "shared::cluster"});
    const Space space = where == "global" ? Space::kGlobal
                        : where.empty()   ? Space::kGeneric
                                          : Space::kShared;
    struct Name {
        std::string_view text;
        Rmw what;
    };
    constexpr Name kNames[] = {{"add", Rmw::kAdd},   {"min", Rmw::kMin}, {"max", Rmw::kMax},
                               {"and", Rmw::kAnd},   {"or", Rmw::kOr},   {"xor", Rmw::kXor},
                               {"exch", Rmw::kExch}, {"cas", Rmw::kCas}, {"inc", Rmw::kInc},
                               {"dec", Rmw::kDec}};
    bool found = false;
    Rmw what = Rmw::kAdd;
    for (const Name& name : kNames) {
        if (!d.take(name.text)) continue;
        what = name.what;
        found = true;
        break;
    }
    if (!found) d.fail("an operation such as .add is missing");
    const bool hinted = d.take("L2::cache_hint");
    const uint32_t width = d.take_width();
    const bool no_ftz = d.take("noftz");
    const Type type = d.take_type();
    const bool bits = what == Rmw::kAnd || what == Rmw::kOr || what == Rmw::kXor ||
                      what == Rmw::kExch || what == Rmw::kCas;
    const bool half = is_half(type);
    const bool fits = bits ? type == Type::kB32 || type == Type::kB64 ||
                                 (type == Type::kB16 && what == Rmw::kCas) ||
                                 (type == Type::kB128 && (what == Rmw::kExch || what == Rmw::kCas))
                      : what == Rmw::kInc || what == Rmw::kDec ? type == Type::kU32
                      : what == Rmw::kAdd
                          ? type == Type::kU32 || type == Type::kS32 || type == Type::kU64 ||
                                type == Type::kF32 || type == Type::kF64 || half
                          : type == Type::kU32 || type == Type::kS32 || type == Type::kU64 ||
                                type == Type::kS64 || (half && width > 1);
    if (!fits)
        d.fail("the type ." + std::string(ptx::info(type).name) + " does not fit the operation");
    if (half != no_ftz) d.fail(".noftz comes with f16 and bf16, and with them alone");
    if (!returns && (what == Rmw::kExch || what == Rmw::kCas))
        d.fail("red has no .exch and no .cas");
    if (width > 1) {
        d.need_arch(90, "a vector");
        if (space == Space::kShared) d.fail("vectors lie in device memory");
        if (type != Type::kF32 && !half) d.fail("vectors are of f32, f16 and bf16");
    }
    const size_t operands =
        (returns ? 1u : 0u) + 2 + (what == Rmw::kCas ? 1 : 0) + (hinted ? 1 : 0);
    d.need_count(operands, operands);
    if (type == Type::kB128) d.need_arch(90, "b128");
    size_t next = 0;
    if (returns && width == 1) {
        d.dst(d.in.operands[next++], bytes_of(type));
    } else if (returns) {
        for (const Operand& element : d.elements(d.in.operands[next++], width, width))
            d.dst(element, bytes_of(type));
    }
    d.address(d.in.operands[next++]);
    if (width == 1) {
        d.src(d.in.operands[next++], type);
    } else {
        for (const Operand& element : d.elements(d.in.operands[next++], width, width))
            d.src(element, type);
    }
    if (what == Rmw::kCas) d.src(d.in.operands[next++], type);
    const bool acquires = order == "acquire" || order == "acq_rel",
               releases = order == "release" || order == "acq_rel";
    d.op.aux = static_cast<uint64_t>(type) | static_cast<uint64_t>(what) << 8 |
               static_cast<uint64_t>(space) << 16 | uint64_t{width} << 24 |
               uint64_t{acquires} << 32 | uint64_t{releases} << 33 |
               static_cast<uint64_t>(scope) << 40;
    d.op.propagates = false;
    d.reduction = what;
    d.finish(atomic, "atomic");
}

}  // namespace

void add_atomic_opcodes(OpcodeTable& table) { table["atom"] = table["red"] = decode_atomic; }

}  // namespace fattn::vgpu
