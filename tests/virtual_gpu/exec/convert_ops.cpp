// cvt: between integers and floating point of every size, with directions, saturation and pairs.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "exec/convert_forms.h"
#include "exec/decoding.h"
#include "exec/half.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Type;

// Op::aux of a conversion.
struct Conversion {
    Type to, from;
    Round round;
    bool to_integral;  // .rni and the like: the result of a float is a whole number
    bool ftz, sat, relu;
    bool finite;  // infinities become the largest number

    uint64_t pack() const {
        return static_cast<uint64_t>(to) | static_cast<uint64_t>(from) << 8 |
               static_cast<uint64_t>(round) << 16 | uint64_t{to_integral} << 24 |
               uint64_t{ftz} << 25 | uint64_t{sat} << 26 | uint64_t{relu} << 27 |
               uint64_t{finite} << 28;
    }
    static Conversion unpack(uint64_t aux) {
        return {static_cast<Type>(aux & 255),
                static_cast<Type>(aux >> 8 & 255),
                static_cast<Round>(aux >> 16 & 255),
                (aux >> 24 & 1) != 0,
                (aux >> 25 & 1) != 0,
                (aux >> 26 & 1) != 0,
                (aux >> 27 & 1) != 0,
                (aux >> 28 & 1) != 0};
    }
};

uint64_t read_bits(Warp& w, Row row, uint32_t bytes, uint32_t lane) {
    switch (bytes) {
        case 2:
            return w.lanes<uint16_t>(row)[lane];
        case 4:
            return w.lanes<uint32_t>(row)[lane];
        default:
            return w.lanes<uint64_t>(row)[lane];
    }
}

void write_bits(Warp& w, Row row, uint32_t bytes, uint32_t lane, uint64_t bits) {
    switch (bytes) {
        case 2:
            w.lanes<uint16_t>(row)[lane] = static_cast<uint16_t>(bits);
            break;
        case 4:
            w.lanes<uint32_t>(row)[lane] = static_cast<uint32_t>(bits);
            break;
        default:
            w.lanes<uint64_t>(row)[lane] = bits;
    }
}

// An integer type's value in 128 bits.
__int128 integer_value(Type type, uint64_t bits) {
    const uint32_t unused = 64 - 8 * bytes_of(type);
    return is_signed(type) ? __int128{static_cast<int64_t>(bits << unused) >> unused}
                           : __int128{bits << unused >> unused};
}

double float_value(Type type, uint64_t bits) {
    switch (type) {
        case Type::kF16:
            return f16_value(static_cast<uint16_t>(bits));
        case Type::kBf16:
            return bf16_value(static_cast<uint16_t>(bits));
        case Type::kF64:
            return std::bit_cast<double>(bits);
        default:
            return std::bit_cast<float>(static_cast<uint32_t>(bits));
    }
}

uint64_t integer_bits(const Conversion& c, __int128 value) {
    const uint32_t bits = 8 * bytes_of(c.to);
    if (c.sat) {
        const __int128 high =
            is_signed(c.to) ? (__int128{1} << (bits - 1)) - 1 : (__int128{1} << bits) - 1;
        const __int128 low = is_signed(c.to) ? -(__int128{1} << (bits - 1)) : 0;
        value = std::clamp(value, low, high);
    }
    return static_cast<uint64_t>(value);
}

uint64_t float_to_integer(const Conversion& c, double value) {
    const uint32_t bits = 8 * bytes_of(c.to);
    // What does not fit becomes the nearest that does; NaN becomes 0, or the top bit for 64 bits.
    if (std::isnan(value))
        return bits == 64 ? uint64_t{1} << 63 : bits == 32 && c.from == Type::kF64 ? 0x80000000 : 0;
    value = round_integral(value, c.round);
    const double high = is_signed(c.to) ? std::ldexp(1, static_cast<int>(bits) - 1)
                                        : std::ldexp(1, static_cast<int>(bits));
    const double low = is_signed(c.to) ? -high : 0;
    if (value >= high)
        return is_signed(c.to) ? (uint64_t{1} << (bits - 1)) - 1 : ~uint64_t{0} >> (64 - bits);
    if (value <= low) return is_signed(c.to) ? ~uint64_t{0} << (bits - 1) : 0;
    return static_cast<uint64_t>(static_cast<__int128>(value));
}

uint64_t float_bits(const Conversion& c, double value) {
    if (c.ftz && (c.to == Type::kF32 || c.from == Type::kF32) && std::fabs(value) < 0x1p-126)
        value = std::copysign(0.0, value);
    if (c.to_integral) value = round_integral(value, c.round);
    if (c.sat) value = value > 0 ? std::min(value, 1.0) : 0.0;
    if (c.relu && value <= 0) value = 0;
    if (c.finite) {
        const double most = c.to == Type::kF16 ? 65504 : 0x1.fep127;
        if (std::fabs(value) > most) value = std::copysign(most, value);
    }
    // A NaN of f64 keeps its sign and what of its fraction there is room for.
    if (std::isnan(value) && c.from == Type::kF64 && c.to != Type::kF64) {
        const auto bits = std::bit_cast<uint64_t>(value);
        if (c.to == Type::kF16) return (bits >> 48 & 0x8000) | 0x7e00 | (bits >> 42 & 0x1ff);
        if (c.to == Type::kF32)
            return (bits >> 32 & 0x80000000) | 0x7fc00000 | (bits >> 29 & 0x3fffff);
    }
    switch (c.to) {
        case Type::kF16:
            return to_f16(value, c.round);
        case Type::kBf16:
            return to_bf16(value, c.round);
        case Type::kTf32:
            return std::isnan(value) ? 0x7fffe000
                                     : std::bit_cast<uint32_t>(static_cast<float>(
                                           round_to(value, kTf32Format, c.round, false)));
        case Type::kF64:
            return std::bit_cast<uint64_t>(value);
        default: {
            if (std::isnan(value)) return 0x7fffffff;
            double rounded = round_to(value, kF32Format, c.round, false);
            if (c.ftz && std::fabs(rounded) < 0x1p-126) rounded = std::copysign(0.0, rounded);
            return std::bit_cast<uint32_t>(static_cast<float>(rounded));
        }
    }
}

// An integer of up to 64 bits rounds once: to f64 only when that is exact or the goal.
uint64_t integer_to_float(const Conversion& c, __int128 value) {
    const bool negative = value < 0;
    auto magnitude = static_cast<unsigned __int128>(negative ? -value : value);
    // Keep 62 bits; what falls off stays as a sticky bit in the last place, which no direction can
    // mistake.
    int shift = 0;
    const auto high = static_cast<uint64_t>(magnitude);
    const int width = high == 0 ? 0 : 64 - std::countl_zero(high);
    if (c.to == Type::kF64) {
        if (width > 53) {
            const int extra = width - 53;
            const uint64_t quantum = uint64_t{1} << extra;
            const uint64_t rest = high & (quantum - 1);
            uint64_t kept = high >> extra;
            const bool up = c.round == Round::kNearestEven
                                ? rest > quantum / 2 || (rest == quantum / 2 && (kept & 1))
                            : c.round == Round::kUp   ? rest != 0 && !negative
                            : c.round == Round::kDown ? rest != 0 && negative
                                                      : false;
            kept += up;
            const double made = std::ldexp(static_cast<double>(kept), extra);
            return std::bit_cast<uint64_t>(negative ? -made : made);
        }
        const auto made = static_cast<double>(high);
        return std::bit_cast<uint64_t>(negative ? -made : made);
    }
    uint64_t kept = high;
    if (width > 50) {
        shift = width - 50;
        const uint64_t rest = kept & ((uint64_t{1} << shift) - 1);
        kept = (kept >> shift) | (rest != 0);
    }
    const double exact = std::ldexp(static_cast<double>(kept), shift);
    return float_bits(c, negative ? -exact : exact);
}

Step convert(Warp& w, const Op& op, uint32_t mask) {
    const Conversion c = Conversion::unpack(op.aux);
    const auto dst_bytes = static_cast<uint32_t>(op.aux2 & 255),
               src_bytes = static_cast<uint32_t>(op.aux2 >> 8 & 255);
    each_lane(mask, [&](uint32_t i) {
        const uint64_t bits = read_bits(w, op.src(0), src_bytes, i);
        uint64_t made = 0;
        if (!is_float(c.from)) {
            const __int128 value = integer_value(c.from, bits);
            if (is_float(c.to)) {
                made = integer_to_float(c, value);
            } else {
                made = static_cast<uint64_t>(integer_value(c.to, integer_bits(c, value)));
            }
        } else {
            double value = float_value(c.from, bits);
            if (c.ftz && c.from == Type::kF32 && std::fabs(value) < 0x1p-126)
                value = std::copysign(0.0, value);
            const bool passes = c.from == Type::kBf16 && c.to == Type::kF32 && !c.sat;
            made = passes && std::isnan(value) ? bits << 16
                   : is_float(c.to)
                       ? float_bits(c, value)
                       : static_cast<uint64_t>(integer_value(c.to, float_to_integer(c, value)));
        }
        write_bits(w, op.dst(0), dst_bytes, i, made);
    });
    return Step::kNext;
}

// --- what compilers write most, of registers as wide as their types
template <class From, class To>
Step resize(Warp& w, const Op& op, uint32_t mask) {
    const From* a = w.src<From>(op, 0);
    write_lanes(w.dst<To>(op), mask, [&](uint32_t i) { return static_cast<To>(a[i]); });
    return Step::kNext;
}

template <class From>
Handler resize_to(uint32_t bytes) {
    return bytes == 2   ? resize<From, uint16_t>
           : bytes == 4 ? resize<From, uint32_t>
                        : resize<From, uint64_t>;
}

// Null where the registers are wider.
Handler resize_of(const Conversion& c, uint32_t to_bytes, uint32_t from_bytes) {
    const bool fits = to_bytes == bytes_of(c.to) && from_bytes == bytes_of(c.from);
    if (is_float(c.to) || is_float(c.from) || c.sat || !fits) return nullptr;
    const bool with_sign = is_signed(c.from);
    switch (from_bytes) {
        case 2:
            return with_sign ? resize_to<int16_t>(to_bytes) : resize_to<uint16_t>(to_bytes);
        case 4:
            return with_sign ? resize_to<int32_t>(to_bytes) : resize_to<uint32_t>(to_bytes);
        case 8:
            return resize_to<uint64_t>(to_bytes);
        default:
            return nullptr;
    }
}

Step round_to_tf32(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t* a = w.src<uint32_t>(op, 0);
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) -> uint32_t {
        const uint32_t magnitude = a[i] & 0x7fffffff;
        // The bits of a NaN are cut, to an infinity's where these were its last.
        return (magnitude < 0x7f800000 ? a[i] + 0x1000 : a[i]) & 0xffffe000;
    });
    return Step::kNext;
}

// --- pairs: the first source makes the upper half
uint16_t half_of(const Conversion& c, float value) {
    const double relued = c.relu && value <= 0 ? 0 : value;
    const double shown = std::isnan(value) ? static_cast<double>(value) : relued;
    return c.to == Type::kF16x2 ? to_f16(shown, c.round) : to_bf16(shown, c.round);
}

Step convert_pair(Warp& w, const Op& op, uint32_t mask) {
    const Conversion c = Conversion::unpack(op.aux);
    const float* a = w.src<float>(op, 0);
    const float* b = w.src<float>(op, 1);
    if (!c.relu && c.round == Round::kNearestEven && c.to == Type::kBf16x2) {
        write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) {
            return uint32_t{bf16_nearest(a[i])} << 16 | bf16_nearest(b[i]);
        });
        return Step::kNext;
    }
#if defined(__F16C__)
    if (!c.relu && c.round == Round::kNearestEven && c.to == Type::kF16x2) {
        const auto half = [](float x) {
            return std::isnan(x) ? uint16_t{0x7fff}
                                 : static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
        };
        write_lanes(w.dst<uint32_t>(op), mask,
                    [&](uint32_t i) { return uint32_t{half(a[i])} << 16 | half(b[i]); });
        return Step::kNext;
    }
#endif
    write_lanes(w.dst<uint32_t>(op), mask,
                [&](uint32_t i) { return uint32_t{half_of(c, a[i])} << 16 | half_of(c, b[i]); });
    return Step::kNext;
}

Step convert_to_bytes(Warp& w, const Op& op, uint32_t mask) {
    const Conversion c = Conversion::unpack(op.aux);
    const auto byte = [&](double value) {
        if (c.relu && value <= 0) value = 0;
        return c.to == Type::kE4m3x2 ? to_e4m3(value) : to_e5m2(value);
    };
    if (c.from == Type::kF32) {
        const float* a = w.src<float>(op, 0);
        const float* b = w.src<float>(op, 1);
        write_lanes(w.dst<uint16_t>(op), mask, [&](uint32_t i) {
            return static_cast<uint16_t>(byte(a[i]) << 8 | byte(b[i]));
        });
    } else {
        const uint32_t* a = w.src<uint32_t>(op, 0);
        write_lanes(w.dst<uint16_t>(op), mask, [&](uint32_t i) {
            return static_cast<uint16_t>(byte(f16_value(static_cast<uint16_t>(a[i] >> 16))) << 8 |
                                         byte(f16_value(static_cast<uint16_t>(a[i]))));
        });
    }
    return Step::kNext;
}

Step convert_from_bytes(Warp& w, const Op& op, uint32_t mask) {
    const Conversion c = Conversion::unpack(op.aux);
    const uint16_t* a = w.src<uint16_t>(op, 0);
    const auto half = [&](uint32_t bits) {
        float value = c.from == Type::kE4m3x2 ? e4m3_value(static_cast<uint8_t>(bits))
                                              : e5m2_value(static_cast<uint8_t>(bits));
        if (c.relu && value <= 0) value = 0;
        return to_f16(value);
    };
    write_lanes(w.dst<uint32_t>(op), mask,
                [&](uint32_t i) { return uint32_t{half(a[i] >> 8)} << 16 | half(a[i] & 255u); });
    return Step::kNext;
}

void decode_pair(Decoding& d, const Conversion& c) {
    d.op.aux = c.pack();
    const bool bytes = c.to == Type::kE4m3x2 || c.to == Type::kE5m2x2;
    if (c.from == Type::kE4m3x2 || c.from == Type::kE5m2x2) {
        d.need_arch(89, "fp8");
        d.need_count(2, 2);
        d.dst(d.in.operands[0], 4);
        d.src(d.in.operands[1], Type::kB16);
        return d.finish(convert_from_bytes, "convert");
    }
    if (bytes) d.need_arch(89, "fp8");
    const bool from_pair = c.from == Type::kF16x2;
    d.need_count(from_pair ? 2 : 3, from_pair ? 2 : 3);
    d.dst(d.in.operands[0], bytes ? 2 : 4);
    d.src(d.in.operands[1], from_pair ? Type::kB32 : Type::kF32);
    if (!from_pair) d.src(d.in.operands[2], Type::kF32);
    if (bytes) return d.finish(convert_to_bytes, "convert");
    d.finish(convert_pair, "convert");
}

void decode_cvt(Decoding& d) {
    if (d.take("pack")) return decode_saturated_pack(d);
    Conversion c{};
    const auto mode = d.take_one({"rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi"});
    c.to_integral = mode.size() == 3 && mode != "rna";
    c.round = mode.starts_with("rz")   ? Round::kZero
              : mode.starts_with("rm") ? Round::kDown
              : mode.starts_with("rp") ? Round::kUp
              : mode == "rna"          ? Round::kNearestAway
                                       : Round::kNearestEven;
    c.relu = d.take("relu");
    const bool finite = d.take("satfinite");
    c.ftz = d.take("ftz");
    c.sat = d.take("sat");
    c.to = d.take_type();
    c.from = d.take_type();
    need_conversion(d, c.to, c.from);
    const auto paired = [](Type t) {
        return t == Type::kF16x2 || t == Type::kBf16x2 || t == Type::kE4m3x2 || t == Type::kE5m2x2;
    };
    if (paired(c.to) || paired(c.from)) return decode_pair(d, c);
    c.finite = finite;
    if (c.sat && !is_float(c.to) && !is_float(c.from)) {
        const uint32_t to_bits = 8 * bytes_of(c.to), from_bits = 8 * bytes_of(c.from);
        const bool holds_all = is_signed(c.to) == is_signed(c.from)
                                   ? to_bits >= from_bits
                                   : is_signed(c.to) && to_bits > from_bits;
        if (holds_all) d.fail(".sat comes where the destination cannot hold every source");
    }
    d.need_count(2, 2);
    const ptx::Operand& to = d.in.operands[0];
    const ptx::Operand& from = d.in.operands[1];
    d.op.aux = c.pack();
    const uint32_t to_bytes = d.register_bytes(to);
    if (to_bytes < bytes_of(c.to) || to_bytes == 0)
        d.fail("the destination is smaller than its type");
    d.dst_any(to);
    uint32_t from_bytes = d.register_bytes(from);
    if (from_bytes != 0) {
        if (from_bytes < bytes_of(c.from)) d.fail("the source is smaller than its type");
        d.src_any(from);
    } else {
        from_bytes = std::max(2u, bytes_of(c.from));
        d.src(from, c.from);
    }
    d.op.aux2 = to_bytes | uint64_t{from_bytes} << 8;
    const bool plain = !c.ftz && !c.sat && !c.relu;
    if (c.to == Type::kTf32 && c.round == Round::kNearestAway && plain && to_bytes == 4 &&
        from_bytes == 4)
        return d.finish(round_to_tf32, "convert");
    const Handler resizes = resize_of(c, to_bytes, from_bytes);
    d.finish(resizes ? resizes : convert, "convert");
}

}  // namespace

void add_convert_opcodes(OpcodeTable& table) { table["cvt"] = decode_cvt; }

}  // namespace fattn::vgpu
