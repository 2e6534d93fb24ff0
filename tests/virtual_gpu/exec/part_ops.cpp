// Arithmetic on parts of a word: pairs of 16-bit integers, products of 24 bits, masks and fields of
// bits, packing with saturation.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "exec/decoding.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Type;

// --- two 16-bit integers in a word
enum class PairWhat : uint8_t { kAdd, kMin, kMax, kMinRelu, kMaxRelu };

template <class T, PairWhat what>
uint16_t part_result(uint32_t a, uint32_t b) {
    const auto x = static_cast<T>(a), y = static_cast<T>(b);
    if constexpr (what == PairWhat::kAdd) return static_cast<uint16_t>(x + y);
    const bool most = what == PairWhat::kMax || what == PairWhat::kMaxRelu;
    const T made = most ? std::max(x, y) : std::min(x, y);
    const bool relu = what == PairWhat::kMinRelu || what == PairWhat::kMaxRelu;
    return static_cast<uint16_t>(relu ? std::max(made, T{0}) : made);
}

template <class T, PairWhat what>
struct OfPair {
    static uint32_t f(uint32_t a, uint32_t b) {
        return part_result<T, what>(a, b) | uint32_t{part_result<T, what>(a >> 16, b >> 16)} << 16;
    }
};

template <bool most>
struct Relu {
    static int32_t f(int32_t a, int32_t b) {
        return std::max(most ? std::max(a, b) : std::min(a, b), 0);
    }
};

template <PairWhat what>
Handler pair_handler(bool with_sign) {
    return with_sign ? binary<OfPair<int16_t, what>, uint32_t>
                     : binary<OfPair<uint16_t, what>, uint32_t>;
}

// --- products of the low 24 bits; aux: 1 signed, 2 the bits from 16 on, 4 added with saturation
int64_t low_24(uint32_t a, bool with_sign) {
    return with_sign ? int64_t{static_cast<int32_t>(a << 8) >> 8} : int64_t{a & 0xffffff};
}

Step multiply_24(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t* a = w.src<uint32_t>(op, 0);
    const uint32_t* b = w.src<uint32_t>(op, 1);
    const uint32_t* c = op.num_src > 2 ? w.src<uint32_t>(op, 2) : nullptr;
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) {
        const int64_t product = low_24(a[i], op.aux & 1) * low_24(b[i], op.aux & 1);
        const auto part = static_cast<uint32_t>(op.aux & 2 ? product >> 16 : product);
        if (!c) return part;
        if (!(op.aux & 4)) return part + c[i];
        const int64_t sum = int64_t{static_cast<int32_t>(part)} + static_cast<int32_t>(c[i]);
        return static_cast<uint32_t>(std::clamp<int64_t>(sum, std::numeric_limits<int32_t>::min(),
                                                         std::numeric_limits<int32_t>::max()));
    });
    return Step::kNext;
}

void decode_24(Decoding& d) {
    const bool adds = d.in.opcode == "mad24";
    const auto part = d.take_one({"lo", "hi"});
    if (part.empty()) d.fail("one of .lo .hi is missing");
    const bool saturates = d.take("sat");
    const Type type = d.take_type();
    if (type != Type::kU32 && type != Type::kS32) d.fail("the type is u32 or s32");
    if (saturates && (!adds || part != "hi" || type != Type::kS32))
        d.fail(".sat is for mad24.hi.s32");
    const size_t operands = adds ? 4 : 3;
    d.need_count(operands, operands);
    d.dst(d.in.operands[0], 4);
    for (size_t i = 1; i < operands; ++i) d.src(d.in.operands[i], type);
    d.op.aux = (type == Type::kS32 ? 1u : 0u) | (part == "hi" ? 2u : 0u) | (saturates ? 4u : 0u);
    d.finish(multiply_24, "int");
}

// --- bmsk: a mask of b bits from bit a on; szext: bits from b on become copies of bit b - 1, or 0
template <bool clamps>
struct BitMask {
    static uint32_t f(uint32_t a, uint32_t b) {
        if (clamps && a >= 32) return 0;
        const uint32_t first = ~0u << (a & 31), width = b & 31;
        if (clamps && b >= 32) return first;
        if (width == 0) return 0;
        const uint32_t end = (a & 31) + width;
        return end >= 32 ? first : first & ~(~0u << end);
    }
};

template <bool clamps, bool with_sign>
struct Extend {
    static uint32_t f(uint32_t a, uint32_t b) {
        if (clamps && b >= 32) return a;
        const uint32_t width = b & 31, above = ~0u << width;
        const bool sign = with_sign && width != 0 && (a >> (width - 1) & 1);
        return sign ? a | above : a & ~above;
    }
};

void decode_bit_mask(Decoding& d) {
    const auto mode = d.take_one({"clamp", "wrap"});
    if (mode.empty()) d.fail("one of .clamp .wrap is missing");
    const bool clamps = mode == "clamp", extends = d.in.opcode == "szext";
    const Type type = d.take_type();
    if (extends ? type != Type::kU32 && type != Type::kS32 : type != Type::kB32)
        d.fail(extends ? "the type is u32 or s32" : "the type is b32");
    d.need_count(3, 3);
    d.dst(d.in.operands[0], 4);
    d.src(d.in.operands[1], type);
    d.src(d.in.operands[2], Type::kU32);
    const bool with_sign = type == Type::kS32;
    if (!extends)
        return d.finish(clamps ? binary<BitMask<true>, uint32_t> : binary<BitMask<false>, uint32_t>,
                        "logic");
    d.finish(clamps ? (with_sign ? binary<Extend<true, true>, uint32_t>
                                 : binary<Extend<true, false>, uint32_t>)
                    : (with_sign ? binary<Extend<false, true>, uint32_t>
                                 : binary<Extend<false, false>, uint32_t>),
             "logic");
}

// fns: where the bit is that is the offset-th of those set from a base on, up or down.
struct FindNthSet {
    static uint32_t f(uint32_t mask, uint32_t base, uint32_t offset) {
        const auto steps = static_cast<int32_t>(offset);
        if (steps == 0) return base < 32 && (mask >> base & 1) ? base : ~0u;
        int64_t left = steps > 0 ? int64_t{steps} : -int64_t{steps};
        for (int64_t at = base; at >= 0 && at<32; at += steps> 0 ? 1 : -1) {
            if ((mask >> at & 1) && --left == 0) return static_cast<uint32_t>(at);
        }
        return ~0u;
    }
};

void decode_find_nth(Decoding& d) {
    if (!d.take("b32")) d.fail("the type is b32");
    d.need_count(4, 4);
    d.dst(d.in.operands[0], 4);
    for (size_t i = 1; i < 4; ++i) d.src(d.in.operands[i], Type::kB32);
    d.finish(ternary<FindNthSet, uint32_t>, "logic");
}

// --- cvt.pack.sat: a above b, and what was in the third source above both; aux: 0-7 bits of a
// part, 8 signed.
Step pack_saturated(Warp& w, const Op& op, uint32_t mask) {
    const int32_t* a = w.src<int32_t>(op, 0);
    const int32_t* b = w.src<int32_t>(op, 1);
    const uint32_t* c = op.num_src > 2 ? w.src<uint32_t>(op, 2) : nullptr;
    const auto bits = static_cast<uint32_t>(op.aux & 255);
    const int32_t most = (1 << (op.aux & 256 ? bits - 1 : bits)) - 1;
    const int32_t least = op.aux & 256 ? -most - 1 : 0;
    const auto part = [&](int32_t value) {
        return static_cast<uint32_t>(std::clamp(value, least, most)) & ((1u << bits) - 1);
    };
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) {
        const uint32_t low = part(a[i]) << bits | part(b[i]);
        return c ? c[i] << (2 * bits) | low : low;
    });
    return Step::kNext;
}

}  // namespace

bool decode_integer_pair(Decoding& d) {
    const std::string_view opcode = d.in.opcode;
    const bool relu = d.has_one({"relu"}) && opcode != "add";
    const bool pairs = d.has_one({"u16x2", "s16x2"});
    if (!pairs && !(relu && d.has_one({"s32"}))) return false;
    if (relu) d.take("relu");
    const bool with_sign = d.take_one({"u16x2", "s16x2", "s32"}).starts_with("s");
    if (relu && !with_sign) d.fail(".relu is for s16x2 and s32");
    d.need_arch(90, "it");
    d.need_count(3, 3);
    d.dst(d.in.operands[0], 4);
    d.src(d.in.operands[1], Type::kB32);
    d.src(d.in.operands[2], Type::kB32);
    const bool most = opcode == "max";
    if (!pairs) {
        d.finish(most ? binary<Relu<true>, int32_t> : binary<Relu<false>, int32_t>, "int");
        return true;
    }
    d.finish(opcode == "add" ? pair_handler<PairWhat::kAdd>(with_sign)
             : most          ? (relu ? pair_handler<PairWhat::kMaxRelu>(true)
                                     : pair_handler<PairWhat::kMax>(with_sign))
                             : (relu ? pair_handler<PairWhat::kMinRelu>(true)
                                     : pair_handler<PairWhat::kMin>(with_sign)),
             "int");
    return true;
}

void decode_saturated_pack(Decoding& d) {
    struct Form {
        std::string_view name;
        uint32_t bits;
        bool with_sign;
    };
    constexpr Form kForms[] = {{"u16", 16, false}, {"s16", 16, true}, {"u8", 8, false},
                               {"s8", 8, true},    {"u4", 4, false},  {"s4", 4, true},
                               {"u2", 2, false},   {"s2", 2, true}};
    if (!d.take("sat")) d.fail("the form is cvt.pack.sat");
    const Form* found = nullptr;
    for (const Form& one : kForms) {
        if (!found && d.take(one.name)) found = &one;
    }
    if (!found || !d.take("s32")) d.fail("the form is cvt.pack.sat.u8 (or s8, u16, ...) .s32");
    const bool third = found->bits < 16;
    if (third && !d.take("b32")) d.fail("the last type is b32");
    const size_t operands = third ? 4 : 3;
    d.need_count(operands, operands);
    d.dst(d.in.operands[0], 4);
    for (size_t i = 1; i < operands; ++i) d.src(d.in.operands[i], Type::kB32);
    d.op.aux = found->bits | (found->with_sign ? 256u : 0u);
    d.finish(pack_saturated, "convert");
}

void add_part_opcodes(OpcodeTable& table) {
    table["mul24"] = table["mad24"] = decode_24;
    table["bmsk"] = table["szext"] = decode_bit_mask;
    table["fns"] = decode_find_nth;
}

}  // namespace fattn::vgpu
