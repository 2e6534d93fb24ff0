// Moves: mov with packing and unpacking, address conversions, special registers that change.
#include <bit>
#include <cstring>

#include "exec/decoding.h"
#include "exec/grid.h"
#include "exec/lanes.h"
#include "exec/spelling.h"
#include "gpu/memory.h"

namespace fattn::vgpu {
namespace {

using ptx::Operand;
using ptx::Type;

template <class T>
Step move(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) { return a[i]; });
    return Step::kNext;
}

Step move_predicate(Warp& w, const Op& op, uint32_t mask) {
    write_predicate(w.dst<uint32_t>(op), mask, *w.src<uint32_t>(op, 0));
    return Step::kNext;
}

// 128 bits are two words of 64 bits a lane.
struct Word128 {
    uint64_t words[2];
};

template <class Whole, class Part>
Step pack(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t n = op.num_src;
    write_lanes(w.dst<Whole>(op), mask, [&](uint32_t i) {
        Whole made{};
        auto* bytes = reinterpret_cast<std::byte*>(&made);
        for (uint32_t k = 0; k < n; ++k)
            std::memcpy(bytes + k * sizeof(Part), w.src<Part>(op, k) + i, sizeof(Part));
        return made;
    });
    return Step::kNext;
}

template <class Whole, class Part>
Step unpack(Warp& w, const Op& op, uint32_t mask) {
    alignas(64) Whole from[32];
    std::memcpy(from, w.src<Whole>(op, 0), sizeof from);
    for (uint32_t k = 0; k < op.num_dst; ++k) {
        write_lanes(w.dst<Part>(op, k), mask, [&](uint32_t i) {
            Part made{};
            std::memcpy(&made, reinterpret_cast<const std::byte*>(&from[i]) + k * sizeof(Part),
                        sizeof(Part));
            return made;
        });
    }
    return Step::kNext;
}

template <template <class, class> class Made>
Handler by_sizes(const Decoding& d, uint32_t whole, size_t parts) {
    if (whole == 2 && parts == 2) d.unsupported("halves of 16 bits have no registers");
    if (whole == 4 && parts == 2) return Made<uint32_t, uint16_t>::handler;
    if (whole == 8 && parts == 2) return Made<uint64_t, uint32_t>::handler;
    if (whole == 8 && parts == 4) return Made<uint64_t, uint16_t>::handler;
    if (whole == 16 && parts == 2) return Made<Word128, uint64_t>::handler;
    if (whole == 16 && parts == 4) return Made<Word128, uint32_t>::handler;
    d.fail("a vector of " + std::to_string(parts) + " does not make " + std::to_string(whole) +
           " bytes");
}
template <class W, class P>
struct MakePack {
    static constexpr Handler handler = pack<W, P>;
};
template <class W, class P>
struct MakeUnpack {
    static constexpr Handler handler = unpack<W, P>;
};

Type bits_of(size_t bytes) {
    return bytes == 2   ? Type::kB16
           : bytes == 4 ? Type::kB32
           : bytes == 8 ? Type::kB64
                        : Type::kB128;
}

// aux: 0 clock, 1 clock_hi, 2 globaltimer; virtual time counts warp instructions.
template <class T>
Step clock(Warp& w, const Op& op, uint32_t mask) {
    const uint64_t now = ++w.grid.time;
    write_lanes(w.dst<T>(op), mask,
                [&](uint32_t) { return static_cast<T>(op.aux == 1 ? now >> 32 : now); });
    return Step::kNext;
}

void decode_mov(Decoding& d) {
    const Type type = d.take_type();
    if (is_half(type) || type == Type::kTf32) d.fail("such values are moved as bits");
    const uint32_t bytes = bytes_of(type);
    d.need_count(2, 2);
    const Operand& to = d.in.operands[0];
    const Operand& from = d.in.operands[1];
    if (from.kind == Operand::Kind::kVector) {
        d.dst(to, bytes);
        for (const Operand& part : d.elements(from, 2, 4))
            d.src(part, bits_of(bytes / from.parts.size()));
        return d.finish(by_sizes<MakePack>(d, bytes, from.parts.size()), "move");
    }
    if (to.kind == Operand::Kind::kVector) {
        for (const Operand& part : d.elements(to, 2, 4))
            d.dst(part, static_cast<uint32_t>(bytes / to.parts.size()));
        d.src(from, type);
        return d.finish(by_sizes<MakeUnpack>(d, bytes, to.parts.size()), "move");
    }
    d.dst(to, bytes);
    if (from.kind == Operand::Kind::kSpecial) {
        constexpr std::string_view kClocks[] = {"%clock",          "%clock64",
                                                "%clock_hi",       "%globaltimer",
                                                "%globaltimer_lo", "%globaltimer_hi"};
        for (const std::string_view name : kClocks) {
            if (from.name != name) continue;
            d.op.aux = name.ends_with("_hi");
            return d.finish(bytes == 8 ? clock<uint64_t> : clock<uint32_t>, "move");
        }
    }
    d.src(from, type);
    switch (bytes) {
        case 1:
            return d.finish(move_predicate, "move");
        case 2:
            return d.finish(move<uint16_t>, "move");
        case 4:
            return d.finish(move<uint32_t>, "move");
        case 8:
            return d.finish(move<uint64_t>, "move");
        default:
            return d.finish(move<Word128>, "move");
    }
}

// --- cvta: between generic addresses and those of a window; device memory's are equal.
template <class T, bool to_window>
Step convert_address(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T window = static_cast<T>(op.aux);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) {
        return static_cast<T>(to_window ? a[i] - window : a[i] + window);
    });
    return Step::kNext;
}

void decode_cvta(Decoding& d) {
    const bool to = d.take("to");
    const auto space = d.take_one(
        {"global", "shared", "shared::cta", "shared::cluster", "local", "const", "param"});
    if (space.empty()) d.fail("a state space is missing");
    const Type type = d.take_type();
    if (type != Type::kU64) d.fail("the type is u64");
    d.op.aux = space.starts_with("shared") ? kSharedWindow
               : space == "local"          ? kLocalWindow
               : space == "param"          ? kParamWindow
                                           : 0;
    d.need_count(2, 2);
    d.dst(d.in.operands[0], 8);
    d.src(d.in.operands[1], type);
    d.finish(to ? convert_address<uint64_t, true> : convert_address<uint64_t, false>, "move");
}

Step is_space(Warp& w, const Op& op, uint32_t mask) {
    const uint64_t* a = w.src<uint64_t>(op, 0);
    write_predicate(
        w.dst<uint32_t>(op), mask, gather_bits([&](uint32_t i) -> bool {
            const bool windowed = a[i] >= kParamWindow && a[i] < kSharedWindow + kWindowBytes;
            return op.aux == 0 ? !windowed : a[i] >= op.aux && a[i] < op.aux + kWindowBytes;
        }));
    return Step::kNext;
}

// Constant variables lie in blocks of device memory that nobody may write.
Step is_constant(Warp& w, const Op& op, uint32_t mask) {
    const uint64_t* a = w.src<uint64_t>(op, 0);
    write_predicate(w.dst<uint32_t>(op), mask, gather_bits([&](uint32_t i) -> bool {
                        if (!(mask >> i & 1)) return false;
                        const MemoryBlock* const block = w.grid.block_of(a[i], 1);
                        return block && block->read_only;
                    }));
    return Step::kNext;
}

void decode_isspacep(Decoding& d) {
    const auto space = d.take_one(
        {"global", "shared", "shared::cta", "shared::cluster", "local", "const", "param"});
    if (space.empty()) d.fail("a state space is missing");
    d.need_count(2, 2);
    d.dst(d.in.operands[0], 1);
    d.src(d.in.operands[1], Type::kU64);
    if (space == "const") return d.finish(is_constant, "move");
    d.op.aux = space.starts_with("shared") ? kSharedWindow
               : space == "local"          ? kLocalWindow
               : space == "param"          ? kParamWindow
                                           : 0;
    d.finish(is_space, "move");
}

// Hints to caches and the like, whose operands are read and whose result is never looked at.
Step move_nothing(Warp&, const Op&, uint32_t) { return Step::kNext; }

Step policy(Warp& w, const Op& op, uint32_t mask) {
    write_lanes(w.dst<uint64_t>(op), mask, [](uint32_t) { return uint64_t{0x12f0000000000000}; });
    return Step::kNext;
}

void decode_createpolicy(Decoding& d) {
    const auto form = d.take_one({"fractional", "range", "cvt"});
    if (form.empty()) d.fail("one of .fractional .range .cvt is missing");
    if (form == "cvt") d.take_hints({"L2"});
    d.take_hints({"L2::evict_last", "L2::evict_normal", "L2::evict_first", "L2::evict_unchanged"});
    d.take_hints({"global"});
    d.take_hints({"L2::evict_first", "L2::evict_unchanged"});
    if (!d.take("b64")) d.fail("the type is b64");
    d.dst(d.operand(0, "the policy"), 8);
    if (form == "fractional" && d.count() > 1) {
        const Operand& part = d.in.operands[1];
        const double value =
            part.kind == Operand::Kind::kFloat ? std::bit_cast<double>(part.value) : 1;
        if (!(value > 0 && value <= 1)) d.fail("the fraction is above 0 and at most 1");
    }
    d.finish(policy, "move");
}

constexpr std::string_view kPrefetchForms[] = {
    "?global,local L1,L2", "?global L2::evict_last,L2::evict_normal", "?const,param tensormap"};
constexpr std::string_view kPrefetchuForms[] = {"L1"};
constexpr std::string_view kPriorityForms[] = {"?global L2::evict_normal"};

void decode_hint(Decoding& d) {
    if (d.in.opcode == "nanosleep") {
        if (!d.take("u32")) d.fail("the type is u32");
        d.need_count(1, 1);
        d.src(d.in.operands[0], Type::kU32);
    } else if (d.in.opcode == "pmevent") {
        d.take("mask");
        d.constant(d.operand(0, "the event"), "the event");
    } else {
        const bool changes = d.in.opcode == "applypriority";
        need_form(d, changes                      ? Forms(kPriorityForms)
                     : d.in.opcode == "prefetchu" ? Forms(kPrefetchuForms)
                                                  : Forms(kPrefetchForms));
        d.need_count(changes ? 2 : 1, changes ? 2 : 1);
        d.take_hints({"global", "local", "L1", "L2", "L2::evict_last", "L2::evict_normal",
                      "tensormap", "const", "param"});
        d.address(d.operand(0, "an address"));
    }
    d.finish(move_nothing, "hint");
}

}  // namespace

void add_move_opcodes(OpcodeTable& table) {
    table["mov"] = decode_mov;
    table["cvta"] = decode_cvta;
    table["isspacep"] = decode_isspacep;
    table["createpolicy"] = decode_createpolicy;
    table["nanosleep"] = table["prefetch"] = table["prefetchu"] = decode_hint;
    table["pmevent"] = table["applypriority"] = decode_hint;
}

}  // namespace fattn::vgpu
