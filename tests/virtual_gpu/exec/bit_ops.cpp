// Logic, shifts, bit fields, counts and permutes.
#include <bit>
#include <type_traits>

#include "exec/decoding.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Type;

struct And {
    template <class T>
    static T f(T a, T b) {
        return static_cast<T>(a & b);
    }
};
struct Or {
    template <class T>
    static T f(T a, T b) {
        return static_cast<T>(a | b);
    }
};
struct Xor {
    template <class T>
    static T f(T a, T b) {
        return static_cast<T>(a ^ b);
    }
};
struct Not {
    template <class T>
    static T f(T a) {
        return static_cast<T>(~a);
    }
};
struct Cnot {
    template <class T>
    static T f(T a) {
        return a == 0;
    }
};
struct Brev {
    template <class T>
    static T f(T a) {
        T made = 0;
        for (uint32_t i = 0; i < 8 * sizeof(T); ++i)
            made = static_cast<T>(made << 1 | (a >> i & 1));
        return made;
    }
};
struct Lop3 {
    static uint32_t f(uint32_t a, uint32_t b, uint32_t c, uint64_t table) {
        uint32_t made = 0;
        for (uint32_t i = 0; i < 8; ++i) {
            if (table >> i & 1) made |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
        }
        return made;
    }
};

template <class F>
Step predicate_binary(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t a = *w.src<uint32_t>(op, 0) ^ (op.aux2 >> 32 & 1 ? ~0u : 0);
    const uint32_t b = *w.src<uint32_t>(op, 1) ^ (op.aux2 >> 33 & 1 ? ~0u : 0);
    write_predicate(w.dst<uint32_t>(op), mask, F::f(a, b));
    return Step::kNext;
}

Step predicate_not(Warp& w, const Op& op, uint32_t mask) {
    write_predicate(w.dst<uint32_t>(op), mask, ~*w.src<uint32_t>(op, 0));
    return Step::kNext;
}

template <class F>
void logic(Decoding& d) {
    const Type type = d.take_type();
    d.need_count(3, 3);
    d.dst(d.in.operands[0], bytes_of(type));
    if (type == Type::kPred) {
        d.predicate(d.in.operands[1]);
        d.predicate(d.in.operands[2]);
        return d.finish(predicate_binary<F>, "logic");
    }
    d.src(d.in.operands[1], type);
    d.src(d.in.operands[2], type);
    switch (type) {
        case Type::kB16:
            return d.finish(binary<F, uint16_t>, "logic");
        case Type::kB32:
            return d.finish(binary<F, uint32_t>, "logic");
        case Type::kB64:
            return d.finish(binary<F, uint64_t>, "logic");
        default:
            d.fail("the type is none of pred b16 b32 b64");
    }
}

template <class F>
void logic_unary(Decoding& d) {
    const Type type = d.take_type();
    d.need_count(2, 2);
    d.dst(d.in.operands[0], bytes_of(type));
    d.src(d.in.operands[1], type);
    switch (type) {
        case Type::kPred:
            if (d.in.opcode != "not") d.fail("the type .pred is for not alone");
            return d.finish(predicate_not, "logic");
        case Type::kB16:
            if (d.in.opcode == "brev") d.fail("the type is b32 or b64");
            return d.finish(unary<F, uint16_t>, "logic");
        case Type::kB32:
            return d.finish(unary<F, uint32_t>, "logic");
        case Type::kB64:
            return d.finish(unary<F, uint64_t>, "logic");
        default:
            d.fail("the type is none of b16 b32 b64");
    }
}

// Amounts past the width shift everything out.
template <class T, bool left>
Step shift(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const uint32_t* b = w.src<uint32_t>(op, 1);
    constexpr uint32_t kBits = 8 * sizeof(T);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) {
        if constexpr (left) return b[i] >= kBits ? T{0} : static_cast<T>(a[i] << b[i]);
        if constexpr (std::is_signed_v<T>)
            return static_cast<T>(a[i] >> (b[i] >= kBits ? kBits - 1 : b[i]));
        return b[i] >= kBits ? T{0} : static_cast<T>(a[i] >> b[i]);
    });
    return Step::kNext;
}

void decode_shift(Decoding& d) {
    const Type type = d.take_type();
    d.need_count(3, 3);
    d.dst(d.in.operands[0], bytes_of(type));
    d.src(d.in.operands[1], type);
    d.src(d.in.operands[2], Type::kU32);
    if (d.in.opcode == "shl") {
        switch (type) {
            case Type::kB16:
                return d.finish(shift<uint16_t, true>, "logic");
            case Type::kB32:
                return d.finish(shift<uint32_t, true>, "logic");
            case Type::kB64:
                return d.finish(shift<uint64_t, true>, "logic");
            default:
                d.fail("the type is none of b16 b32 b64");
        }
    }
    switch (type) {
        case Type::kB16:
        case Type::kU16:
            return d.finish(shift<uint16_t, false>, "logic");
        case Type::kB32:
        case Type::kU32:
            return d.finish(shift<uint32_t, false>, "logic");
        case Type::kB64:
        case Type::kU64:
            return d.finish(shift<uint64_t, false>, "logic");
        case Type::kS16:
            return d.finish(shift<int16_t, false>, "logic");
        case Type::kS32:
            return d.finish(shift<int32_t, false>, "logic");
        case Type::kS64:
            return d.finish(shift<int64_t, false>, "logic");
        default:
            d.fail("the type is none of b16 b32 b64 u16 u32 u64 s16 s32 s64");
    }
}

// Funnel shift of {b, a}; aux: 1 left, 2 the amount is clamped to 32, else taken modulo 32.
Step funnel(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t* a = w.src<uint32_t>(op, 0);
    const uint32_t* b = w.src<uint32_t>(op, 1);
    const uint32_t* c = w.src<uint32_t>(op, 2);
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) {
        const uint32_t amount = op.aux & 2 ? (c[i] > 32 ? 32 : c[i]) : c[i] & 31;
        const uint64_t both = uint64_t{b[i]} << 32 | a[i];
        return static_cast<uint32_t>(op.aux & 1 ? (both << amount) >> 32 : both >> amount);
    });
    return Step::kNext;
}

void decode_funnel(Decoding& d) {
    const auto direction = d.take_one({"l", "r"});
    const auto mode = d.take_one({"clamp", "wrap"});
    if (direction.empty() || mode.empty()) d.fail("the form is shf.l or .r, .clamp or .wrap, .b32");
    if (!d.take("b32")) d.fail("the type is b32");
    d.op.aux = (direction == "l" ? 1u : 0u) | (mode == "clamp" ? 2u : 0u);
    d.need_count(4, 4);
    d.dst(d.in.operands[0], 4);
    for (size_t i = 1; i < 4; ++i) d.src(d.in.operands[i], Type::kB32);
    d.finish(funnel, "logic");
}

template <class T>
Step extract(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const uint32_t* b = w.src<uint32_t>(op, 1);
    const uint32_t* c = w.src<uint32_t>(op, 2);
    constexpr uint32_t kBits = 8 * sizeof(T);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) {
        using U = std::make_unsigned_t<T>;
        const uint32_t position = b[i] & 255, length = c[i] & 255;
        U made = 0;
        // Bits past the length repeat the sign: that of the field, or of the source's top bit when
        // the field leaves it.
        const uint32_t top = position + length - 1 < kBits - 1 ? position + length - 1 : kBits - 1;
        const bool sign = std::is_signed_v<T> && length != 0 && (static_cast<U>(a[i]) >> top & 1);
        for (uint32_t k = 0; k < kBits; ++k) {
            const bool bit = k < length && position + k < kBits
                                 ? static_cast<U>(a[i]) >> (position + k) & 1
                                 : sign;
            made = static_cast<U>(made | static_cast<U>(bit) << k);
        }
        return static_cast<T>(made);
    });
    return Step::kNext;
}

template <class T>
Step insert(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T* b = w.src<T>(op, 1);
    const uint32_t* c = w.src<uint32_t>(op, 2);
    const uint32_t* e = w.src<uint32_t>(op, 3);
    constexpr uint32_t kBits = 8 * sizeof(T);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) {
        const uint32_t position = c[i] & 255, length = e[i] & 255;
        if (position >= kBits || length == 0) return b[i];
        const T ones =
            length >= kBits ? static_cast<T>(~T{0}) : static_cast<T>((T{1} << length) - 1);
        const T field = static_cast<T>(ones << position);
        return static_cast<T>((b[i] & ~field) | (static_cast<T>(a[i] << position) & field));
    });
    return Step::kNext;
}

void decode_field(Decoding& d) {
    const Type type = d.take_type();
    const bool inserts = d.in.opcode == "bfi";
    d.need_count(inserts ? 5 : 4, inserts ? 5 : 4);
    d.dst(d.in.operands[0], bytes_of(type));
    d.src(d.in.operands[1], type);
    if (inserts) d.src(d.in.operands[2], type);
    for (size_t i = inserts ? 3 : 2; i < d.count(); ++i) d.src(d.in.operands[i], Type::kU32);
    if (inserts) {
        if (type == Type::kB32) return d.finish(insert<uint32_t>, "logic");
        if (type == Type::kB64) return d.finish(insert<uint64_t>, "logic");
        d.fail("the type is b32 or b64");
    }
    switch (type) {
        case Type::kU32:
            return d.finish(extract<uint32_t>, "logic");
        case Type::kS32:
            return d.finish(extract<int32_t>, "logic");
        case Type::kU64:
            return d.finish(extract<uint64_t>, "logic");
        case Type::kS64:
            return d.finish(extract<int64_t>, "logic");
        default:
            d.fail("the type is none of u32 s32 u64 s64");
    }
}

struct Popc {
    template <class T>
    static uint32_t f(T a) {
        return static_cast<uint32_t>(std::popcount(a));
    }
};
struct Clz {
    template <class T>
    static uint32_t f(T a) {
        return static_cast<uint32_t>(std::countl_zero(a));
    }
};
// The highest bit that differs from the sign; aux 1: counted from the top.
template <class T>
uint32_t find_bit(T a, bool from_top) {
    using U = std::make_unsigned_t<T>;
    const U bits =
        std::is_signed_v<T> && a < 0 ? static_cast<U>(~static_cast<U>(a)) : static_cast<U>(a);
    if (bits == 0) return 0xffffffff;
    const auto zeros = static_cast<uint32_t>(std::countl_zero(bits));
    return from_top ? zeros : static_cast<uint32_t>(8 * sizeof(T)) - 1 - zeros;
}

template <class F, class T>
Step counting(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) { return F::f(a[i]); });
    return Step::kNext;
}

template <class F>
void decode_count(Decoding& d) {
    const Type type = d.take_type();
    d.need_count(2, 2);
    d.dst(d.in.operands[0], 4);
    d.src(d.in.operands[1], type);
    if (type == Type::kB32) return d.finish(counting<F, uint32_t>, "logic");
    if (type == Type::kB64) return d.finish(counting<F, uint64_t>, "logic");
    d.fail("the type is b32 or b64");
}

template <class T>
Step find(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) { return find_bit(a[i], op.aux != 0); });
    return Step::kNext;
}

void decode_find(Decoding& d) {
    d.op.aux = d.take("shiftamt");
    const Type type = d.take_type();
    d.need_count(2, 2);
    d.dst(d.in.operands[0], 4);
    d.src(d.in.operands[1], type);
    switch (type) {
        case Type::kU32:
            return d.finish(find<uint32_t>, "logic");
        case Type::kS32:
            return d.finish(find<int32_t>, "logic");
        case Type::kU64:
            return d.finish(find<uint64_t>, "logic");
        case Type::kS64:
            return d.finish(find<int64_t>, "logic");
        default:
            d.fail("the type is none of u32 s32 u64 s64");
    }
}

// aux: 0 the selector's nibbles; 1 f4e 2 b4e 3 rc8 4 ecl 5 ecr 6 rc16.
uint32_t permute(uint32_t a, uint32_t b, uint32_t c, uint64_t mode) {
    const uint64_t bytes = uint64_t{b} << 32 | a;
    uint32_t made = 0;
    const uint32_t n = c & 3;
    for (uint32_t i = 0; i < 4; ++i) {
        uint32_t selector = c >> (4 * i) & 15;
        switch (mode) {
            case 1:
                selector = n + i;
                break;
            case 2:
                selector = (n - i) & 7;
                break;
            case 3:
                selector = n;
                break;
            case 4:
                selector = i > n ? i : n;
                break;
            case 5:
                selector = i < n ? i : n;
                break;
            case 6:
                selector = (n & 1) * 2 + (i & 1);
                break;
            default:
                break;
        }
        auto byte = static_cast<uint32_t>(bytes >> (8 * (selector & 7)) & 255);
        if (selector & 8) byte = byte & 128 ? 255 : 0;
        made |= byte << (8 * i);
    }
    return made;
}

Step prmt(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t* a = w.src<uint32_t>(op, 0);
    const uint32_t* b = w.src<uint32_t>(op, 1);
    const uint32_t* c = w.src<uint32_t>(op, 2);
    write_lanes(w.dst<uint32_t>(op), mask,
                [&](uint32_t i) { return permute(a[i], b[i], c[i], op.aux); });
    return Step::kNext;
}

void decode_prmt(Decoding& d) {
    if (!d.take("b32")) d.fail("the type is b32");
    constexpr std::string_view kModes[] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
    for (uint32_t i = 0; i < 6; ++i) {
        if (d.take(kModes[i])) d.op.aux = i + 1;
    }
    d.need_count(4, 4);
    d.dst(d.in.operands[0], 4);
    for (size_t i = 1; i < 4; ++i) d.src(d.in.operands[i], Type::kB32);
    d.finish(prmt, "logic");
}

// With a second destination, a predicate: the result is not 0, joined with a third predicate.
// aux: bits 0-7 the table, 8 joined by or, else by and.
Step lop3(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t* a = w.src<uint32_t>(op, 0);
    const uint32_t* b = w.src<uint32_t>(op, 1);
    const uint32_t* c = w.src<uint32_t>(op, 2);
    alignas(64) uint32_t made[32];
    for (uint32_t i = 0; i < 32; ++i) made[i] = Lop3::f(a[i], b[i], c[i], op.aux);
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) { return made[i]; });
    if (op.num_dst < 2) return Step::kNext;
    const uint32_t some = gather_bits([&](uint32_t i) { return made[i] != 0; });
    const uint32_t other = *w.src<uint32_t>(op, 3) ^ (op.aux2 >> 35 & 1 ? ~0u : 0);
    write_predicate(w.dst<uint32_t>(op, 1), mask, op.aux & 256 ? some | other : some & other);
    return Step::kNext;
}

void decode_lop3(Decoding& d) {
    const auto join = d.take_one({"or", "and"});
    if (!d.take("b32")) d.fail("the type is b32");
    const size_t operands = join.empty() ? 5 : 6;
    d.need_count(operands, operands);
    const ptx::Operand& to = d.in.operands[0];
    if ((to.kind == ptx::Operand::Kind::kPair) == join.empty())
        d.fail("the destination is d|p with .or and .and, and d without");
    d.dst(join.empty() ? to : to.parts[0], 4);
    if (!join.empty()) d.dst(to.parts[1], 1);
    for (size_t i = 1; i < 4; ++i) d.src(d.in.operands[i], Type::kB32);
    if (!join.empty()) d.predicate(d.in.operands[5]);
    d.op.aux = d.constant(d.in.operands[4], "the truth table");
    if (d.op.aux > 255) d.fail("the truth table is 0 to 255");
    if (join == "or") d.op.aux |= 256;
    d.finish(lop3, "logic");
}

}  // namespace

void add_bit_opcodes(OpcodeTable& table) {
    table["and"] = logic<And>;
    table["or"] = logic<Or>;
    table["xor"] = logic<Xor>;
    table["not"] = logic_unary<Not>;
    table["cnot"] = logic_unary<Cnot>;
    table["brev"] = logic_unary<Brev>;
    table["shl"] = table["shr"] = decode_shift;
    table["shf"] = decode_funnel;
    table["bfe"] = table["bfi"] = decode_field;
    table["popc"] = decode_count<Popc>;
    table["clz"] = decode_count<Clz>;
    table["bfind"] = decode_find;
    table["prmt"] = decode_prmt;
    table["lop3"] = decode_lop3;
}

}  // namespace fattn::vgpu
