// Loads and stores: ld, ldu, st.
#include <cstring>

#include "exec/access.h"
#include "exec/cta.h"
#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;
using ptx::Type;

// Op::aux of a load or store.
struct Form {
    Space space;
    uint8_t bytes;      // of an element in memory
    uint8_t count;      // elements
    uint8_t reg_bytes;  // of an element's register
    bool is_signed;
    bool strong, acquires, releases, non_coherent;
    Scope scope;

    uint64_t pack() const {
        return static_cast<uint64_t>(space) | uint64_t{bytes} << 8 | uint64_t{count} << 16 |
               uint64_t{reg_bytes} << 24 | uint64_t{is_signed} << 32 | uint64_t{strong} << 33 |
               uint64_t{acquires} << 34 | uint64_t{releases} << 35 | uint64_t{non_coherent} << 36 |
               static_cast<uint64_t>(scope) << 40;
    }
    static Form unpack(uint64_t a) {
        return {static_cast<Space>(a & 255),
                static_cast<uint8_t>(a >> 8),
                static_cast<uint8_t>(a >> 16),
                static_cast<uint8_t>(a >> 24),
                (a >> 32 & 1) != 0,
                (a >> 33 & 1) != 0,
                (a >> 34 & 1) != 0,
                (a >> 35 & 1) != 0,
                (a >> 36 & 1) != 0,
                static_cast<Scope>(a >> 40 & 255)};
    }
    Access access() const {
        return {space,
                uint32_t{bytes} * count,
                strong ? strong_for(scope) : kPlain,
                non_coherent,
                scope,
                acquires,
                releases};
    }
};

template <class Reg>
void spread(Warp& w, Row row, uint32_t mask, const LaneData& data, uint32_t at, const Form& form) {
    Reg* to = w.lanes<Reg>(row);
    const uint32_t unused = 64 - 8 * form.bytes;
    if (form.bytes == sizeof(Reg)) {
        each_lane(mask, [&](uint32_t lane) {
            std::memcpy(to + lane, data.bytes + lane * kLaneBytes + at, sizeof(Reg));
        });
        return;
    }
    each_lane(mask, [&](uint32_t lane) {
        uint64_t bits = 0;
        std::memcpy(&bits, data.bytes + lane * kLaneBytes + at, form.bytes);
        if (form.is_signed)
            bits = static_cast<uint64_t>(static_cast<int64_t>(bits << unused) >> unused);
        to[lane] = static_cast<Reg>(bits);
    });
}

void spread_wide(Warp& w, Row row, uint32_t mask, const LaneData& data, uint32_t at) {
    auto* to = reinterpret_cast<std::byte*>(w.lanes<uint64_t>(row));
    each_lane(mask, [&](uint32_t lane) {
        std::memcpy(to + lane * 16, data.bytes + lane * kLaneBytes + at, 16);
    });
}

Step load(Warp& w, const Op& op, uint32_t mask) {
    const Form form = Form::unpack(op.aux);
    if (w.grid.options.checks.uninitialised) w.need_defined(op, op.src(0), mask, "an address");
    alignas(64) uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    LaneData data;
    read_lanes(w, op, mask, addresses, form.access(), data);
    const uint32_t element = (form.bytes == 32 ? 0 : 1u << form.bytes) - 1;
    for (uint32_t k = 0; k < op.num_dst; ++k) {
        const uint32_t at = k * form.bytes;
        switch (form.reg_bytes) {
            case 2:
                spread<uint16_t>(w, op.dst(k), mask, data, at, form);
                break;
            case 4:
                spread<uint32_t>(w, op.dst(k), mask, data, at, form);
                break;
            case 8:
                spread<uint64_t>(w, op.dst(k), mask, data, at, form);
                break;
            default:
                spread_wide(w, op.dst(k), mask, data, at);
                break;
        }
        uint32_t defined = 0;
        each_lane(mask, [&](uint32_t lane) {
            defined |= uint32_t{(data.defined[lane] >> at & element) == element} << lane;
        });
        w.set_defined(op.dst(k), mask, defined);
        if (defined != mask) w.set_origin(op.dst(k), w.program.index_of(op) + 1);
    }
    return Step::kNext;
}

Step store(Warp& w, const Op& op, uint32_t mask) {
    const Form form = Form::unpack(op.aux);
    const bool check = w.grid.options.checks.uninitialised;
    if (check) w.need_defined(op, op.src(0), mask, "an address");
    alignas(64) uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    LaneData data;
    std::memset(data.defined, 0, sizeof data.defined);
    const uint32_t to_device = form.space == Space::kGlobal    ? mask
                               : form.space == Space::kGeneric ? outside_windows(addresses, mask)
                                                               : 0;
    for (uint32_t k = 0; k < form.count; ++k) {
        const Row row = op.src(k + 1);
        if (check) w.need_defined(op, row, to_device, "what is stored to device memory");
        const uint32_t defined = w.defined(row);
        const auto* from = reinterpret_cast<const std::byte*>(w.lanes<uint16_t>(row));
        const uint32_t element = (1u << form.bytes) - 1;
        each_lane(mask, [&](uint32_t lane) {
            std::memcpy(data.bytes + lane * kLaneBytes + k * form.bytes,
                        from + lane * form.reg_bytes, form.bytes);
            if (defined >> lane & 1) data.defined[lane] |= element << (k * form.bytes);
        });
    }
    write_lanes_to(w, op, mask, addresses, form.access(), data);
    return Step::kNext;
}

Space take_space(Decoding& d) {
    const auto name = d.take_one({"global", "shared", "shared::cta", "shared::cluster", "local",
                                  "param", "param::entry", "param::func", "const"});
    if (name == "global") return Space::kGlobal;
    if (name.starts_with("shared")) return Space::kShared;
    if (name == "local") return Space::kLocal;
    if (name.starts_with("param")) return Space::kParam;
    if (name == "const") return Space::kConst;
    return Space::kGeneric;
}

void take_cache_hints(Decoding& d, bool stores, Space space, bool strong) {
    if (strong) {
        // These say how caches are used, and are for weak accesses.
    } else if (stores) {
        d.take_hints({"wb", "cg", "cs", "wt"});
    } else {
        d.take_hints({"ca", "cg", "cs", "lu", "cv"});
    }
    if (space != Space::kGlobal && space != Space::kGeneric) return;
    d.take_hints({"L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last",
                  "L1::no_allocate", "L2::evict_normal", "L2::evict_first", "L2::evict_last"});
    if (!stores) d.take_hints({"L2::64B", "L2::128B", "L2::256B"});
}

void decode_access(Decoding& d) {
    const bool stores = d.in.opcode == "st";
    if (stores && d.take("async")) return decode_store_async(d);
    Form form{};
    const bool is_volatile = d.take("volatile");
    const bool weak = d.take("weak");
    const bool relaxed = d.take("relaxed"), acquires = d.take("acquire"),
               releases = d.take("release");
    const bool scoped = d.has_one({"cta", "cluster", "gpu", "sys"});
    form.scope = take_scope(d);
    if (d.take("mmio")) d.unsupported(".mmio is not offered");
    if ((relaxed || acquires || releases) != scoped)
        d.fail("a scope .cta .cluster .gpu .sys comes with .relaxed .acquire .release");
    if (weak && (is_volatile || relaxed || acquires || releases))
        d.fail(".weak contradicts another modifier");
    if ((stores && acquires) || (!stores && releases))
        d.fail(stores ? "a store does not acquire" : "a load does not release");
    form.space = take_space(d);
    form.non_coherent = d.take("nc");
    const bool hinted = d.take("L2::cache_hint");
    take_cache_hints(d, stores, form.space, is_volatile || relaxed || acquires || releases);
    const uint32_t width = d.take_width();
    const Type type = d.take_type();
    form.strong = is_volatile || relaxed || acquires || releases;
    form.acquires = acquires;
    form.releases = releases;
    form.bytes = static_cast<uint8_t>(bytes_of(type));
    form.count = static_cast<uint8_t>(width);
    form.is_signed = is_signed(type);
    if (form.bytes * width > 16) d.fail("a vector has at most 16 bytes");
    const bool ordinary =
        form.space == Space::kLocal || form.space == Space::kConst || form.space == Space::kParam;
    if (is_half(type) || type == Type::kPred || type == Type::kTf32 || width > 4)
        d.fail("up to four values of .b .u .s .f32 .f64 are loaded and stored");
    if (form.non_coherent && (relaxed || acquires)) d.fail(".nc is for weak loads");
    if (form.strong && ordinary) d.fail("only .global, .shared and generic accesses are strong");
    if (form.non_coherent && form.space != Space::kGlobal) d.fail(".nc is for .global");
    if (stores && (form.space == Space::kConst || form.non_coherent))
        d.fail("constant memory cannot be stored to");
    const size_t plain = 2;
    d.need_count(plain + (hinted ? 1 : 0), plain + (hinted ? 1 : 0));
    const Operand& value = d.in.operands[stores ? 1 : 0];
    const Operand& address = d.in.operands[stores ? 0 : 1];
    if (form.space == Space::kParam && d.is_call_parameter(address)) form.space = Space::kLocal;
    if (form.space == Space::kParam && stores) d.fail("parameters of a kernel cannot be stored to");
    if (form.space == Space::kConst) form.space = Space::kGlobal;

    const std::vector<Operand> single = {value};
    const std::vector<Operand>& elements = width == 1 ? single : d.elements(value, width, width);
    form.reg_bytes = static_cast<uint8_t>(std::max(2u, uint32_t{form.bytes}));
    for (const Operand& element : elements) {
        if (const uint32_t bytes = d.register_bytes(element))
            form.reg_bytes = static_cast<uint8_t>(bytes);
    }
    if (form.reg_bytes < form.bytes) d.fail("a register is smaller than the type");
    if (stores) d.address(address);
    for (const Operand& element : elements) {
        if (stores) {
            const Type as = form.reg_bytes == 2   ? Type::kB16
                            : form.reg_bytes == 4 ? (type == Type::kF32 ? Type::kF32 : Type::kB32)
                            : form.reg_bytes == 8 ? (type == Type::kF64 ? Type::kF64 : Type::kB64)
                                                  : Type::kB128;
            d.src(element, as);
        } else {
            d.dst(element, form.reg_bytes);
        }
    }
    if (!stores) d.address(address);
    d.op.aux = form.pack();
    d.op.propagates = false;
    const char* where = form.space == Space::kGlobal   ? "global"
                        : form.space == Space::kShared ? "shared"
                        : form.space == Space::kLocal  ? "local"
                        : form.space == Space::kParam  ? "param"
                                                       : "generic";
    d.finish(stores ? store : load, (stores ? std::string("st.") : std::string("ld.")) + where);
}

constexpr uint32_t kDiscarded = 128;

// What memory held is gone: nobody may use it before it is written again.
Step discard(Warp& w, const Op& op, uint32_t mask) {
    if (w.grid.options.checks.uninitialised) w.need_defined(op, op.src(0), mask, "an address");
    alignas(64) uint64_t addresses[32];
    lane_addresses(w, op, 0, addresses);
    w.grid.made_progress();
    each_lane(mask, [&](uint32_t lane) {
        const Place place = resolve(w, op, lane, Space::kGlobal, addresses[lane], kDiscarded, true);
        if (w.grid.options.checks.races)
            w.grid.global_shadow.write(w, op, lane, *place.block, place.address, kDiscarded, kPlain,
                                       nullptr);
        for (uint32_t i = 0; i < kDiscarded; i += 4)
            std::memcpy(place.data + i, "\xa5\x7f\xa5\x7f", 4);
        if (place.defined) std::memset(place.defined, 0, kDiscarded);
    });
    return Step::kNext;
}

void decode_discard(Decoding& d) {
    d.take("global");
    if (!d.take("L2")) d.fail("the form is discard.global.L2");
    d.need_count(2, 2);
    d.address(d.in.operands[0]);
    if (d.constant(d.in.operands[1], "the size") != kDiscarded) d.fail("the size is 128");
    d.op.propagates = false;
    d.finish(discard, "st.global");
}

}  // namespace

void add_memory_opcodes(OpcodeTable& table) {
    table["discard"] = decode_discard;
    table["ld"] = table["ldu"] = table["st"] = decode_access;
}

}  // namespace fattn::vgpu
