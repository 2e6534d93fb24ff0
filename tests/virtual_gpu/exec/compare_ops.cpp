// Comparisons and selections: setp, set, selp, slct.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "exec/decoding.h"
#include "exec/half.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Type;

enum class Compare : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kNum, kNan };
enum class Combine : uint8_t { kNone, kAnd, kOr, kXor };

// Op::aux: bits 0-7 the comparison, 8 true when unordered, 9 ftz, 16-23 the combination, 24 a
// combined predicate is negated, 25 set writes 16 bits, 32-63 what set writes for true.
constexpr uint64_t kUnordered = 1 << 8, kFtz = 1 << 9, kNegated = 1 << 24, kWritesHalf = 1 << 25;

template <class T>
bool holds(T a, T b, Compare what, bool unordered) {
    if constexpr (std::is_floating_point_v<T>) {
        const bool nan = std::isnan(a) || std::isnan(b);
        if (what == Compare::kNum) return !nan;
        if (what == Compare::kNan) return nan;
        if (nan) return unordered;
    }
    switch (what) {
        case Compare::kEq:
            return a == b;
        case Compare::kNe:
            return a != b;
        case Compare::kLt:
            return a < b;
        case Compare::kLe:
            return a <= b;
        case Compare::kGt:
            return a > b;
        default:
            return a >= b;
    }
}

template <class T, Compare what>
uint32_t compare_lanes(const T* a, const T* b, uint64_t aux) {
    const bool unordered = aux & kUnordered;
    if constexpr (std::is_same_v<T, float>) {
        if (aux & kFtz)
            return gather_bits(
                [&](uint32_t i) { return holds(flush(a[i]), flush(b[i]), what, unordered); });
    }
    return gather_bits([&](uint32_t i) { return holds(a[i], b[i], what, unordered); });
}

template <class T>
uint32_t compare(const T* a, const T* b, uint64_t aux) {
    switch (static_cast<Compare>(aux & 255)) {
        case Compare::kEq:
            return compare_lanes<T, Compare::kEq>(a, b, aux);
        case Compare::kNe:
            return compare_lanes<T, Compare::kNe>(a, b, aux);
        case Compare::kLt:
            return compare_lanes<T, Compare::kLt>(a, b, aux);
        case Compare::kLe:
            return compare_lanes<T, Compare::kLe>(a, b, aux);
        case Compare::kGt:
            return compare_lanes<T, Compare::kGt>(a, b, aux);
        case Compare::kGe:
            return compare_lanes<T, Compare::kGe>(a, b, aux);
        case Compare::kNum:
            return compare_lanes<T, Compare::kNum>(a, b, aux);
        case Compare::kNan:
            return compare_lanes<T, Compare::kNan>(a, b, aux);
    }
    return 0;
}

struct F16 {
    static float value(uint16_t bits) { return f16_value(bits); }
    static constexpr float kSmallest = 0x1p-14F;
};
struct Bf16 {
    static float value(uint16_t bits) { return bf16_value(bits); }
    static constexpr float kSmallest = 0x1p-126F;
};

template <class H>
uint32_t compare_half(const uint16_t* a, const uint16_t* b, uint64_t aux, uint32_t stride,
                      uint32_t at) {
    alignas(64) float x[32], y[32];
    const auto value = [&](uint16_t bits) {
        const float made = H::value(bits);
        return (aux & kFtz) && std::fabs(made) < H::kSmallest ? std::copysign(0.0F, made) : made;
    };
    for (uint32_t i = 0; i < 32; ++i)
        x[i] = value(a[i * stride + at]), y[i] = value(b[i * stride + at]);
    return compare<float>(x, y, aux & ~kFtz);
}

uint32_t combine(uint32_t value, uint32_t other, Combine how) {
    switch (how) {
        case Combine::kAnd:
            return value & other;
        case Combine::kOr:
            return value | other;
        case Combine::kXor:
            return value ^ other;
        default:
            return value;
    }
}

template <class T>
uint32_t compared(Warp& w, const Op& op) {
    return compare<T>(w.src<T>(op, 0), w.src<T>(op, 1), op.aux);
}
template <class H>
uint32_t compared_half(Warp& w, const Op& op) {
    return compare_half<H>(w.src<uint16_t>(op, 0), w.src<uint16_t>(op, 1), op.aux, 1, 0);
}

using Comparer = uint32_t (*)(Warp&, const Op&);

template <Comparer comparer>
Step setp(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t value = comparer(w, op);
    const auto how = static_cast<Combine>(op.aux >> 16 & 255);
    uint32_t other = 0;
    if (how != Combine::kNone) other = *w.src<uint32_t>(op, 2) ^ (op.aux & kNegated ? ~0u : 0);
    write_predicate(w.dst<uint32_t>(op, 0), mask, combine(value, other, how));
    if (op.num_dst > 1) write_predicate(w.dst<uint32_t>(op, 1), mask, combine(~value, other, how));
    return Step::kNext;
}

// Two comparisons at once, one for each half.
template <class H>
Step setp_pair(Warp& w, const Op& op, uint32_t mask) {
    const auto how = static_cast<Combine>(op.aux >> 16 & 255);
    uint32_t other = 0;
    if (how != Combine::kNone) other = *w.src<uint32_t>(op, 2) ^ (op.aux & kNegated ? ~0u : 0);
    for (uint32_t half = 0; half < 2; ++half) {
        const uint32_t value =
            compare_half<H>(w.src<uint16_t>(op, 0), w.src<uint16_t>(op, 1), op.aux, 2, half);
        write_predicate(w.dst<uint32_t>(op, half), mask, combine(value, other, how));
    }
    return Step::kNext;
}

template <Comparer comparer>
Step set(Warp& w, const Op& op, uint32_t mask) {
    const auto how = static_cast<Combine>(op.aux >> 16 & 255);
    uint32_t other = 0;
    if (how != Combine::kNone) other = *w.src<uint32_t>(op, 2) ^ (op.aux & kNegated ? ~0u : 0);
    const uint32_t value = combine(comparer(w, op), other, how);
    const auto yes = static_cast<uint32_t>(op.aux >> 32);
    if (op.aux & kWritesHalf) {
        write_lanes(w.dst<uint16_t>(op), mask,
                    [&](uint32_t i) { return static_cast<uint16_t>(value >> i & 1 ? yes : 0u); });
    } else {
        write_lanes(w.dst<uint32_t>(op), mask,
                    [&](uint32_t i) { return value >> i & 1 ? yes : 0u; });
    }
    return Step::kNext;
}

// Two comparisons at once, one for each half of the result.
template <class H>
Step set_pair(Warp& w, const Op& op, uint32_t mask) {
    const auto how = static_cast<Combine>(op.aux >> 16 & 255);
    uint32_t other = 0;
    if (how != Combine::kNone) other = *w.src<uint32_t>(op, 2) ^ (op.aux & kNegated ? ~0u : 0);
    uint32_t values[2];
    for (uint32_t half = 0; half < 2; ++half) {
        values[half] = combine(
            compare_half<H>(w.src<uint16_t>(op, 0), w.src<uint16_t>(op, 1), op.aux, 2, half), other,
            how);
    }
    const auto yes = static_cast<uint32_t>(op.aux >> 32);
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) {
        return (values[0] >> i & 1 ? yes : 0u) | (values[1] >> i & 1 ? yes << 16 : 0u);
    });
    return Step::kNext;
}

template <template <Comparer> class Made>
Handler by_type(const Decoding& d, Type type) {
    switch (type) {
        case Type::kB16:
        case Type::kU16:
            return Made<compared<uint16_t>>::handler;
        case Type::kB32:
        case Type::kU32:
            return Made<compared<uint32_t>>::handler;
        case Type::kB64:
        case Type::kU64:
            return Made<compared<uint64_t>>::handler;
        case Type::kS16:
            return Made<compared<int16_t>>::handler;
        case Type::kS32:
            return Made<compared<int32_t>>::handler;
        case Type::kS64:
            return Made<compared<int64_t>>::handler;
        case Type::kF32:
            return Made<compared<float>>::handler;
        case Type::kF64:
            return Made<compared<double>>::handler;
        case Type::kF16:
            return Made<compared_half<F16>>::handler;
        case Type::kBf16:
            return Made<compared_half<Bf16>>::handler;
        default:
            d.fail("the type ." + std::string(ptx::info(type).name) + " cannot be compared");
    }
}
template <Comparer comparer>
struct MakeSetp {
    static constexpr Handler handler = setp<comparer>;
};
template <Comparer comparer>
struct MakeSet {
    static constexpr Handler handler = set<comparer>;
};

// Comparison, combination and ftz; returns the type compared, which is the last.
void take_comparison(Decoding& d) {
    struct Name {
        std::string_view text;
        Compare what;
        bool unordered;
    };
    constexpr Name kNames[] = {
        {"eq", Compare::kEq, false}, {"ne", Compare::kNe, false},   {"lt", Compare::kLt, false},
        {"le", Compare::kLe, false}, {"gt", Compare::kGt, false},   {"ge", Compare::kGe, false},
        {"lo", Compare::kLt, false}, {"ls", Compare::kLe, false},   {"hi", Compare::kGt, false},
        {"hs", Compare::kGe, false}, {"equ", Compare::kEq, true},   {"neu", Compare::kNe, true},
        {"ltu", Compare::kLt, true}, {"leu", Compare::kLe, true},   {"gtu", Compare::kGt, true},
        {"geu", Compare::kGe, true}, {"num", Compare::kNum, false}, {"nan", Compare::kNan, false},
    };
    bool found = false;
    for (const Name& name : kNames) {
        if (!d.take(name.text)) continue;
        d.op.aux |= static_cast<uint64_t>(name.what) | (name.unordered ? kUnordered : 0);
        found = true;
        break;
    }
    if (!found) d.fail("a comparison such as .eq or .lt is missing");
    const auto how = d.take_one({"and", "or", "xor"});
    const Combine combination = how == "and"   ? Combine::kAnd
                                : how == "or"  ? Combine::kOr
                                : how == "xor" ? Combine::kXor
                                               : Combine::kNone;
    d.op.aux |= static_cast<uint64_t>(combination) << 16;
    if (d.take("ftz")) d.op.aux |= kFtz;
}

// What a comparison may be made of: .ftz is for f32 and f16, bits are equal or not, the names of
// unsigned and of unordered comparisons are for their types.
void need_comparable(Decoding& d, Type type) {
    const auto has = [&](std::initializer_list<std::string_view> names) {
        for (const std::string_view one : d.in.modifiers) {
            if (std::find(names.begin(), names.end(), one) != names.end()) return true;
        }
        return false;
    };
    const char family = ptx::info(type).family;
    if ((d.op.aux & kFtz) && type != Type::kF32 && type != Type::kF16 && type != Type::kF16x2)
        d.fail(".ftz is for f32, f16 and f16x2");
    const bool by_sign = has({"lo", "ls", "hi", "hs"});
    const bool unordered = has({"equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"});
    const bool fits = family == 'b'   ? has({"eq", "ne"})
                      : family == 'f' ? !by_sign
                                      : !unordered && (family == 'u' || !by_sign);
    if (!fits) d.fail("the comparison does not fit the type");
}

void take_sources(Decoding& d, Type type) {
    need_comparable(d, type);
    const bool combines = d.op.aux >> 16 & 255;
    d.need_count(combines ? 4 : 3, combines ? 4 : 3);
    d.src(d.in.operands[1], type);
    d.src(d.in.operands[2], type);
    if (!combines) return;
    d.predicate(d.in.operands[3]);
    if (d.op.aux2 >> 34 & 1) d.op.aux |= kNegated;
}

void decode_setp(Decoding& d) {
    take_comparison(d);
    const Type type = d.take_type();
    const ptx::Operand& to = d.operand(0, "the destination");
    const bool pairs = type == Type::kF16x2 || type == Type::kBf16x2;
    if (to.kind == ptx::Operand::Kind::kPair) {
        d.dst(to.parts[0], 1);
        d.dst(to.parts[1], 1);
    } else {
        d.dst(to, 1);
        // Of a pair with one destination the upper half's result is of no use.
        if (pairs) d.add_destination(d.scratch(1));
    }
    take_sources(d, type);
    if (pairs) {
        return d.finish(type == Type::kF16x2 ? setp_pair<F16> : setp_pair<Bf16>, "compare");
    }
    if (is_half(type) && to.kind == ptx::Operand::Kind::kPair)
        d.fail("comparing f16 and bf16 has one destination");
    d.finish(by_type<MakeSetp>(d, type), "compare");
}

// What true is in each type.
uint32_t truth_of(Type type) {
    switch (type) {
        case Type::kF32:
            return 0x3f800000;
        case Type::kF16:
        case Type::kF16x2:
            return 0x3c00;
        case Type::kBf16:
        case Type::kBf16x2:
            return 0x3f80;
        case Type::kU16:
        case Type::kS16:
            return 0xffff;
        default:
            return 0xffffffff;
    }
}

void decode_set(Decoding& d) {
    take_comparison(d);
    const Type to = d.take_type(), type = d.take_type();
    const bool pairs = type == Type::kF16x2 || type == Type::kBf16x2;
    const bool word = to == Type::kU32 || to == Type::kS32;
    const bool half_word = to == Type::kU16 || to == Type::kS16;
    const bool half = is_half(type);
    const bool fits = pairs ? word || to == type
                            : word || to == Type::kBf16 ||
                                  (to == Type::kF16 && type != Type::kBf16) ||
                                  (half ? half_word : to == Type::kF32);
    if (!fits) d.fail("the result's type does not fit the type compared");
    if ((d.op.aux & kFtz) && to == Type::kBf16) d.fail("a result of bf16 has no .ftz");
    const uint32_t bytes = bytes_of(to);
    if (bytes == 2) d.op.aux |= kWritesHalf;
    d.op.aux |= uint64_t{pairs && word ? 0xffff : truth_of(to)} << 32;
    d.dst(d.operand(0, "the destination"), bytes);
    take_sources(d, type);
    if (pairs) return d.finish(type == Type::kF16x2 ? set_pair<F16> : set_pair<Bf16>, "compare");
    d.finish(by_type<MakeSet>(d, type), "compare");
}

// The chosen side alone decides whether the result is defined: the first source in the lanes of
// `first`.
void define_chosen(Warp& w, const Op& op, uint32_t mask, uint32_t first, uint32_t chooser) {
    const uint32_t defined =
        chooser & ((w.defined(op.src(0)) & first) | (w.defined(op.src(1)) & ~first));
    w.set_defined(op.dst(0), mask, defined);
    if ((defined & mask) == mask) return;
    for (uint32_t i = 0; i < 3; ++i) {
        if (w.origin(op.src(i)) != 0) return w.set_origin(op.dst(0), w.origin(op.src(i)));
    }
    w.set_origin(op.dst(0), 0);
}

template <class T>
Step selp(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T* b = w.src<T>(op, 1);
    const uint32_t p = *w.src<uint32_t>(op, 2) ^ (op.aux2 >> 34 & 1 ? ~0u : 0);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) { return p >> i & 1 ? a[i] : b[i]; });
    define_chosen(w, op, mask, p, w.defined(op.src(2)));
    return Step::kNext;
}

void decode_selp(Decoding& d) {
    const Type type = d.take_type();
    if (is_half(type) || type == Type::kTf32) d.fail("such values are chosen as bits");
    d.need_count(4, 4);
    const uint32_t bytes = bytes_of(type);
    d.dst(d.in.operands[0], bytes);
    d.src(d.in.operands[1], type);
    d.src(d.in.operands[2], type);
    d.predicate(d.in.operands[3]);
    d.op.propagates = false;
    if (bytes == 2) return d.finish(selp<uint16_t>, "move");
    if (bytes == 4) return d.finish(selp<uint32_t>, "move");
    if (bytes == 8) return d.finish(selp<uint64_t>, "move");
    d.fail("the type has 2, 4 or 8 bytes");
}

template <class T, class C>
Step slct(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T* b = w.src<T>(op, 1);
    const C* c = w.src<C>(op, 2);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) { return c[i] >= 0 ? a[i] : b[i]; });
    const uint32_t first = gather_bits([&](uint32_t i) { return c[i] >= 0; });
    define_chosen(w, op, mask, first, w.defined(op.src(2)));
    return Step::kNext;
}

void decode_slct(Decoding& d) {
    const bool ftz = d.take("ftz");  // -0 and flushed values choose alike
    const Type type = d.take_type(), by = d.take_type();
    if (is_half(type) || type == Type::kTf32 || type == Type::kPred)
        d.fail("such values are chosen as bits");
    if (ftz && by != Type::kF32) d.fail(".ftz comes with a choice by f32");
    d.op.propagates = false;
    d.need_count(4, 4);
    d.dst(d.in.operands[0], bytes_of(type));
    d.src(d.in.operands[1], type);
    d.src(d.in.operands[2], type);
    d.src(d.in.operands[3], by);
    const bool is_float = by == Type::kF32;
    if (!is_float && by != Type::kS32) d.fail("the choice is by s32 or f32");
    switch (bytes_of(type)) {
        case 2:
            return d.finish(is_float ? slct<uint16_t, float> : slct<uint16_t, int32_t>, "move");
        case 4:
            return d.finish(is_float ? slct<uint32_t, float> : slct<uint32_t, int32_t>, "move");
        default:
            return d.finish(is_float ? slct<uint64_t, float> : slct<uint64_t, int32_t>, "move");
    }
}

}  // namespace

void add_compare_opcodes(OpcodeTable& table) {
    table["setp"] = decode_setp;
    table["set"] = decode_set;
    table["selp"] = decode_selp;
    table["slct"] = decode_slct;
}

}  // namespace fattn::vgpu
