// Integer arithmetic: add, sub, mul, mad, div, rem, min, max, neg, abs, sad, dot products.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "exec/decoding.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Type;

template <class T>
using Unsigned = std::make_unsigned_t<T>;
template <class T>
struct Wider;
template <>
struct Wider<uint16_t> {
    using type = uint32_t;
};
template <>
struct Wider<int16_t> {
    using type = int32_t;
};
template <>
struct Wider<uint32_t> {
    using type = uint64_t;
};
template <>
struct Wider<int32_t> {
    using type = int64_t;
};
template <>
struct Wider<uint64_t> {
    using type = unsigned __int128;
};
template <>
struct Wider<int64_t> {
    using type = __int128;
};
template <class T>
using Wide = typename Wider<T>::type;

// Wrapping: arithmetic happens in 64 unsigned bits, of which the low ones are kept.
template <class T>
T wrap(uint64_t value) {
    return static_cast<T>(value);
}
template <class T>
uint64_t up(T value) {
    return static_cast<uint64_t>(value);
}

struct IntegerAdd {
    template <class T>
    static T f(T a, T b) {
        return wrap<T>(up(a) + up(b));
    }
};
struct IntegerSub {
    template <class T>
    static T f(T a, T b) {
        return wrap<T>(up(a) - up(b));
    }
};
struct MulLo {
    template <class T>
    static T f(T a, T b) {
        return wrap<T>(up(a) * up(b));
    }
};
struct MulHi {
    template <class T>
    static T f(T a, T b) {
        return static_cast<T>((Wide<T>(a) * Wide<T>(b)) >> (8 * sizeof(T)));
    }
};
struct Min {
    template <class T>
    static T f(T a, T b) {
        return std::min(a, b);
    }
};
struct Max {
    template <class T>
    static T f(T a, T b) {
        return std::max(a, b);
    }
};
// Quotient and remainder of a division by zero are all ones, as on the machine; the documentation
// leaves them open.
struct IntegerDiv {
    template <class T>
    static T f(T a, T b) {
        if (b == 0) return static_cast<T>(~T{0});
        if constexpr (std::is_signed_v<T>)
            if (b == -1) return wrap<T>(0 - up(a));
        return static_cast<T>(a / b);
    }
};
struct Rem {
    template <class T>
    static T f(T a, T b) {
        if (b == 0) return static_cast<T>(~T{0});
        if constexpr (std::is_signed_v<T>)
            if (b == -1) return 0;
        return static_cast<T>(a % b);
    }
};
struct Neg {
    template <class T>
    static T f(T a) {
        return wrap<T>(0 - up(a));
    }
};
struct Abs {
    template <class T>
    static T f(T a) {
        return a < 0 ? wrap<T>(0 - up(a)) : a;
    }
};
struct MadLo {
    template <class T>
    static T f(T a, T b, T c) {
        return wrap<T>(up(a) * up(b) + up(c));
    }
};
struct MadHi {
    template <class T>
    static T f(T a, T b, T c) {
        return wrap<T>(up(MulHi::f(a, b)) + up(c));
    }
};
struct MadHiSat {
    static int32_t f(int32_t a, int32_t b, int32_t c) {
        return static_cast<int32_t>(std::clamp<int64_t>(int64_t{MulHi::f(a, b)} + c,
                                                        std::numeric_limits<int32_t>::min(),
                                                        std::numeric_limits<int32_t>::max()));
    }
};
struct Sad {
    template <class T>
    static T f(T a, T b, T c) {
        return wrap<T>(up(c) + (a < b ? up(b) - up(a) : up(a) - up(b)));
    }
};
struct AddSat {
    static int32_t f(int32_t a, int32_t b) {
        return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} + b,
                                                        std::numeric_limits<int32_t>::min(),
                                                        std::numeric_limits<int32_t>::max()));
    }
};
struct SubSat {
    static int32_t f(int32_t a, int32_t b) {
        return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} - b,
                                                        std::numeric_limits<int32_t>::min(),
                                                        std::numeric_limits<int32_t>::max()));
    }
};

template <class T>
Step mul_wide(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T* b = w.src<T>(op, 1);
    write_lanes(w.dst<Wide<T>>(op), mask,
                [&](uint32_t i) { return static_cast<Wide<T>>(Wide<T>(a[i]) * Wide<T>(b[i])); });
    return Step::kNext;
}

template <class T>
Step mad_wide(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T* b = w.src<T>(op, 1);
    const Wide<T>* c = w.src<Wide<T>>(op, 2);
    write_lanes(w.dst<Wide<T>>(op), mask, [&](uint32_t i) {
        return wrap<Wide<T>>(up(Wide<T>(a[i]) * Wide<T>(b[i])) + up(c[i]));
    });
    return Step::kNext;
}

enum class Arity { kOne, kTwo, kThree };

template <class F, Arity arity>
Handler by_type(const Decoding& d, Type type) {
    const auto pick = []<class T>(T) -> Handler {
        if constexpr (arity == Arity::kOne) {
            return unary<F, T>;
        } else if constexpr (arity == Arity::kTwo) {
            return binary<F, T>;
        } else {
            return ternary<F, T>;
        }
    };
    switch (type) {
        case Type::kU16:
            return pick(uint16_t{});
        case Type::kS16:
            return pick(int16_t{});
        case Type::kU32:
            return pick(uint32_t{});
        case Type::kS32:
            return pick(int32_t{});
        case Type::kU64:
            return pick(uint64_t{});
        case Type::kS64:
            return pick(int64_t{});
        default:
            d.fail("the type ." + std::string(ptx::info(type).name) +
                   " is none of u16 s16 u32 s32 u64 s64");
    }
}

void integer_operands(Decoding& d, Type type, uint32_t sources) {
    d.need_count(sources + 1, sources + 1);
    d.dst(d.in.operands[0], bytes_of(type));
    for (uint32_t i = 1; i <= sources; ++i) d.src(d.in.operands[i], type);
}

bool handed_on(Decoding& d, Type type) {
    if (is_half(type)) {
        decode_half(d, type);
        return true;
    }
    if (is_float(type)) {
        decode_float(d, type);
        return true;
    }
    return false;
}

template <class F, Arity arity>
void simple(Decoding& d) {
    if ((d.in.opcode == "min" || d.in.opcode == "max") && decode_integer_pair(d)) return;
    const Type type = d.take_type();
    if (handed_on(d, type)) return;
    const bool of_signs = d.in.opcode == "neg" || d.in.opcode == "abs";
    if (of_signs && !is_signed(type)) d.fail("the types are s16 s32 s64");
    integer_operands(d, type, static_cast<uint32_t>(arity) + 1);
    d.finish(by_type<F, arity>(d, type), "int");
}

void decode_add(Decoding& d) {
    if (d.has_one({"cc"})) return decode_carry(d);
    if (d.in.opcode == "add" && decode_integer_pair(d)) return;
    const Type type = d.take_type();
    if (handed_on(d, type)) return;
    const bool saturates = d.take("sat");
    if (saturates && type != Type::kS32) d.fail(".sat is for s32");
    integer_operands(d, type, 2);
    const bool subtracts = d.in.opcode == "sub";
    if (saturates)
        return d.finish(subtracts ? binary<SubSat, int32_t> : binary<AddSat, int32_t>, "int");
    d.finish(subtracts ? by_type<IntegerSub, Arity::kTwo>(d, type)
                       : by_type<IntegerAdd, Arity::kTwo>(d, type),
             "int");
}

Handler wide_handler(const Decoding& d, Type type, bool adds) {
    switch (type) {
        case Type::kU16:
            return adds ? mad_wide<uint16_t> : mul_wide<uint16_t>;
        case Type::kS16:
            return adds ? mad_wide<int16_t> : mul_wide<int16_t>;
        case Type::kU32:
            return adds ? mad_wide<uint32_t> : mul_wide<uint32_t>;
        case Type::kS32:
            return adds ? mad_wide<int32_t> : mul_wide<int32_t>;
        default:
            d.fail(".wide is for u16 s16 u32 s32");
    }
}

void decode_mul(Decoding& d) {
    if (d.has_one({"cc"})) return decode_carry(d);
    const Type type = d.take_type();
    if (handed_on(d, type)) return;
    const bool adds = d.in.opcode == "mad";
    const auto part = d.take_one({"lo", "hi", "wide"});
    if (part.empty()) d.fail("one of .lo .hi .wide is missing");
    if (part == "wide") {
        d.need_count(adds ? 4 : 3, adds ? 4 : 3);
        const uint32_t bytes = bytes_of(type) * 2;
        d.dst(d.in.operands[0], bytes);
        d.src(d.in.operands[1], type);
        d.src(d.in.operands[2], type);
        if (adds) d.src(d.in.operands[3], bytes == 8 ? Type::kB64 : Type::kB32);
        return d.finish(wide_handler(d, type, adds), "int");
    }
    const bool saturates = adds && d.take("sat");
    if (saturates && (part != "hi" || type != Type::kS32)) d.fail(".sat is for mad.hi.s32");
    integer_operands(d, type, adds ? 3 : 2);
    if (saturates) return d.finish(ternary<MadHiSat, int32_t>, "int");
    const bool low = part == "lo";
    if (adds)
        return d.finish(
            low ? by_type<MadLo, Arity::kThree>(d, type) : by_type<MadHi, Arity::kThree>(d, type),
            "int");
    d.finish(low ? by_type<MulLo, Arity::kTwo>(d, type) : by_type<MulHi, Arity::kTwo>(d, type),
             "int");
}

// dp4a and dp2a: a dot product of bytes with bytes (or 16-bit halves) of either signedness; aux: 1
// a signed, 2 b signed, 4 high half.
int32_t byte_of(uint32_t word, uint32_t i, bool is_signed) {
    const auto byte = static_cast<uint8_t>(word >> (8 * i));
    return is_signed ? static_cast<int8_t>(byte) : byte;
}

template <bool halves>
Step dot(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t* a = w.src<uint32_t>(op, 0);
    const uint32_t* b = w.src<uint32_t>(op, 1);
    const uint32_t* c = w.src<uint32_t>(op, 2);
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) {
        uint32_t sum = c[i];
        for (uint32_t k = 0; k < (halves ? 2 : 4); ++k) {
            const auto half = static_cast<uint16_t>(a[i] >> (16 * (k & 1)));
            const int32_t left = !halves      ? byte_of(a[i], k, op.aux & 1)
                                 : op.aux & 1 ? static_cast<int16_t>(half)
                                              : half;
            const int32_t right = byte_of(b[i], k + (halves && (op.aux & 4) ? 2 : 0), op.aux & 2);
            sum += static_cast<uint32_t>(left * right);
        }
        return sum;
    });
    return Step::kNext;
}

void decode_dot(Decoding& d) {
    const bool halves = d.in.opcode == "dp2a";
    if (halves) {
        const auto part = d.take_one({"lo", "hi"});
        if (part.empty()) d.fail("one of .lo .hi is missing");
        d.op.aux |= part == "hi" ? 4 : 0;
    }
    const Type a = d.take_type(), b = d.take_type();
    for (const Type type : {a, b}) {
        if (type != Type::kU32 && type != Type::kS32) d.fail("the types are u32 or s32");
    }
    d.op.aux |= (a == Type::kS32 ? 1u : 0u) | (b == Type::kS32 ? 2u : 0u);
    integer_operands(d, Type::kB32, 3);
    d.finish(halves ? dot<true> : dot<false>, "int");
}

}  // namespace

void add_integer_opcodes(OpcodeTable& table) {
    table["add"] = table["sub"] = decode_add;
    table["mul"] = table["mad"] = decode_mul;
    table["div"] = simple<IntegerDiv, Arity::kTwo>;
    table["rem"] = simple<Rem, Arity::kTwo>;
    table["min"] = simple<Min, Arity::kTwo>;
    table["max"] = simple<Max, Arity::kTwo>;
    table["neg"] = simple<Neg, Arity::kOne>;
    table["abs"] = simple<Abs, Arity::kOne>;
    table["sad"] = simple<Sad, Arity::kThree>;
    table["dp4a"] = table["dp2a"] = decode_dot;
}

}  // namespace fattn::vgpu
