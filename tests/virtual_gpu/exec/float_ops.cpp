// Arithmetic of f32 and f64, with rounding directions, flushing and saturation, and the
// approximations of the hardware.
#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <limits>
#include <type_traits>

#include "exec/decoding.h"
#include "exec/half.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Type;

// Op::aux of a floating-point operation.
enum FloatFlags : uint64_t {
    kFloatFtz = 1,
    kSat = 2,
    kNanPropagates = 4,
    kXorSign = 8,
    kAbsolute = 16
};

template <class T>
T canonical(T value) {
    if constexpr (sizeof(T) == 4)
        return std::isnan(value) ? std::bit_cast<float>(0x7fffffffu) : value;
    return value;
}

// Of f64, whose NaNs keep their sign and fraction.
template <class T>
T quieted(T nan) {
    if constexpr (sizeof(T) == 8)
        return std::bit_cast<double>(std::bit_cast<uint64_t>(nan) | uint64_t{1} << 51);
    return nan;
}

// Of several NaNs the last factor's comes first, then the addend's; of a quotient the dividend's.
struct Add {
    template <class T>
    static T f(T a, T b) {
        if (sizeof(T) == 8 && std::isnan(b)) return quieted(b);
        return a + b;
    }
};
struct Sub {
    template <class T>
    static T f(T a, T b) {
        if (sizeof(T) == 8 && std::isnan(b)) return quieted(b);
        return a - b;
    }
};
struct Mul {
    template <class T>
    static T f(T a, T b) {
        if (sizeof(T) == 8 && std::isnan(b)) return quieted(b);
        return a * b;
    }
};
struct Div {
    template <class T>
    static T f(T a, T b) {
        if (sizeof(T) == 8 && std::isnan(a)) return quieted(a);
        return a / b;
    }
};
struct Fma {
    template <class T>
    static T f(T a, T b, T c) {
        if (sizeof(T) == 8 && (std::isnan(b) || std::isnan(c)))
            return quieted(std::isnan(b) ? b : c);
        return std::fma(a, b, c);
    }
};
struct Sqrt {
    template <class T>
    static T f(T a) {
        return std::sqrt(a);
    }
};
struct Rcp {
    template <class T>
    static T f(T a) {
        return T{1} / a;
    }
};
// Approximations: the exact value rounded once. Results of hardware differ by a few units in the
// last place.
struct Rsqrt {
    template <class T>
    static T f(T a) {
        return static_cast<T>(1.0 / std::sqrt(static_cast<double>(a)));
    }
};
struct Ex2 {
    template <class T>
    static T f(T a) {
        return static_cast<T>(std::exp2(static_cast<double>(a)));
    }
};
struct Lg2 {
    template <class T>
    static T f(T a) {
        return static_cast<T>(std::log2(static_cast<double>(a)));
    }
};
struct Sin {
    template <class T>
    static T f(T a) {
        return static_cast<T>(std::sin(static_cast<double>(a)));
    }
};
struct Cos {
    template <class T>
    static T f(T a) {
        return static_cast<T>(std::cos(static_cast<double>(a)));
    }
};
struct Tanh {
    template <class T>
    static T f(T a) {
        return static_cast<T>(std::tanh(static_cast<double>(a)));
    }
};
struct ApproxDiv {
    template <class T>
    static T f(T a, T b) {
        // A divisor past 2^126 gives 0, as the documentation says.
        const T size = std::fabs(b);
        if (size > T{0x1p126f} && std::isfinite(size))
            return std::isinf(a) ? std::numeric_limits<T>::quiet_NaN()
                                 : std::copysign(T{0}, a * std::copysign(T{1}, b));
        return static_cast<T>(static_cast<double>(a) / static_cast<double>(b));
    }
};

template <class T>
T before(T value, uint64_t flags) {
    if constexpr (sizeof(T) == 4) return flags & kFloatFtz ? flush(value) : value;
    return value;
}

template <class T>
T after(T value, uint64_t flags) {
    value = before(canonical(value), flags);
    if (flags & kSat) value = value > 0 ? std::min(value, T{1}) : T{0};  // -0 and NaN give +0
    return value;
}

// kMode is a direction of <cfenv>; compute stays out of line, so that nothing is computed before
// the direction is set.
template <class F, class T, int kArity>
[[gnu::noinline]] void compute(T* made, const T* a, const T* b, const T* c, uint64_t flags) {
    for (uint32_t i = 0; i < 32; ++i) {
        if constexpr (kArity == 1) made[i] = F::f(before(a[i], flags));
        if constexpr (kArity == 2) made[i] = F::f(before(a[i], flags), before(b[i], flags));
        if constexpr (kArity == 3)
            made[i] = F::f(before(a[i], flags), before(b[i], flags), before(c[i], flags));
    }
    for (uint32_t i = 0; i < 32; ++i) made[i] = after(made[i], flags);
}

// Flushing looks at the result before its exponent meets its limit: what 24 bits would hold below
// the smallest normal number becomes 0, though rounded to the places of a subnormal it is that
// number.
void flush_tiny(float* made, const float* a, const float* b, const float* c) {
    constexpr double kLeast = 0x1p-126, kStillNormal = kLeast - 0x1p-151;
    for (uint32_t i = 0; i < 32; ++i) {
        if (std::fabs(made[i]) != static_cast<float>(kLeast)) continue;
        const auto of = [](float value) { return static_cast<double>(flush(value)); };
        const double exact = of(a[i]) * of(b[i]) + (c ? of(c[i]) : 0.0);
        if (std::fabs(exact) < kStillNormal) made[i] = std::copysign(0.0F, made[i]);
    }
}

template <class F, class T, int kArity, int kMode>
Step arithmetic(Warp& w, const Op& op, uint32_t mask) {
    alignas(64) T made[32];
    const T* a = w.src<T>(op, 0);
    const T* b = kArity > 1 ? w.src<T>(op, 1) : nullptr;
    const T* c = kArity > 2 ? w.src<T>(op, 2) : nullptr;
    if constexpr (kMode != FE_TONEAREST) std::fesetround(kMode);
    compute<F, T, kArity>(made, a, b, c, op.aux);
    if constexpr (kMode != FE_TONEAREST) std::fesetround(FE_TONEAREST);
    if constexpr (std::is_same_v<T, float> &&
                  (std::is_same_v<F, Mul> || std::is_same_v<F, Fma>)&&kMode == FE_TONEAREST) {
        if (op.aux & kFloatFtz) flush_tiny(made, a, b, c);
    }
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) { return made[i]; });
    return Step::kNext;
}

template <class F, class T, int kArity>
Handler by_mode(std::string_view mode) {
    if (mode == "rz") return arithmetic<F, T, kArity, FE_TOWARDZERO>;
    if (mode == "rm") return arithmetic<F, T, kArity, FE_DOWNWARD>;
    if (mode == "rp") return arithmetic<F, T, kArity, FE_UPWARD>;
    return arithmetic<F, T, kArity, FE_TONEAREST>;
}

template <class F, int kArity>
Handler by_type(Type type, std::string_view mode) {
    return type == Type::kF64 ? by_mode<F, double, kArity>(mode) : by_mode<F, float, kArity>(mode);
}

void operands(Decoding& d, Type type, uint32_t sources) {
    d.need_count(sources + 1, sources + 1);
    d.dst(d.in.operands[0], bytes_of(type));
    for (uint32_t i = 1; i <= sources; ++i) d.src(d.in.operands[i], type);
}

void take_flags(Decoding& d, Type type) {
    if (type == Type::kF32) {
        if (d.take("ftz")) d.op.aux |= kFloatFtz;
        if (d.take("sat")) d.op.aux |= kSat;
    }
}

// min and max: a NaN loses against a number unless .NaN; +0 is larger than -0.
template <class T, bool kMax>
Step extreme(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T* b = w.src<T>(op, 1);
    const uint64_t flags = op.aux;
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) {
        const T x = before(a[i], flags), y = before(b[i], flags);
        const bool nan = std::isnan(x) || std::isnan(y);
        const bool negative = std::signbit(x) != std::signbit(y);
        const bool first_less = x < y || (x == y && std::signbit(x) && !std::signbit(y));
        T made = kMax == first_less ? y : x;
        if (flags & kXorSign) {
            const T p = std::fabs(x), q = std::fabs(y);
            made = std::copysign(kMax == (p < q) ? q : p, negative ? T{-1} : T{1});
        }
        if (nan && ((flags & kNanPropagates) || (std::isnan(x) && std::isnan(y)))) {
            made = quieted(std::isnan(y) ? y : x);
        } else if (nan) {
            made = std::isnan(x) ? y : x;
            if (flags & kXorSign) made = std::copysign(made, negative ? T{-1} : T{1});
        }
        return canonical(made);
    });
    return Step::kNext;
}

template <class T, bool kNegate>
Step sign(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) {
        const T x = before(a[i], op.aux);
        if (std::isnan(x)) return canonical(quieted(x));
        return kNegate ? -x : std::fabs(x);
    });
    return Step::kNext;
}

template <class T>
Step copysign_lanes(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    const T* b = w.src<T>(op, 1);
    write_lanes(w.dst<T>(op), mask, [&](uint32_t i) { return std::copysign(b[i], a[i]); });
    return Step::kNext;
}

template <class T>
Step test_property(Warp& w, const Op& op, uint32_t mask) {
    const T* a = w.src<T>(op, 0);
    write_predicate(w.dst<uint32_t>(op), mask, gather_bits([&](uint32_t i) -> bool {
                        switch (op.aux) {
                            case 0:
                                return std::isfinite(a[i]);
                            case 1:
                                return std::isinf(a[i]);
                            case 2:
                                return !std::isnan(a[i]);
                            case 3:
                                return std::isnan(a[i]);
                            case 4:
                                // Zeros count as normal.
                                return std::isnormal(a[i]) || a[i] == 0;
                            default:
                                return std::fpclassify(a[i]) == FP_SUBNORMAL;
                        }
                    }));
    return Step::kNext;
}

void decode_testp(Decoding& d) {
    constexpr std::string_view kNames[] = {"finite",     "infinite", "number",
                                           "notanumber", "normal",   "subnormal"};
    bool found = false;
    for (uint32_t i = 0; i < 6; ++i) {
        if (!d.take(kNames[i])) continue;
        d.op.aux = i;
        found = true;
    }
    const Type type = d.take_type();
    if (!found || (type != Type::kF32 && type != Type::kF64))
        d.fail(
            "the form is testp.finite (infinite, number, notanumber, normal, subnormal) .f32 or "
            ".f64");
    d.need_count(2, 2);
    d.dst(d.in.operands[0], 1);
    d.src(d.in.operands[1], type);
    d.finish(type == Type::kF64 ? test_property<double> : test_property<float>, "compare");
}

void decode_copysign(Decoding& d) {
    const Type type = d.take_type();
    if (type != Type::kF32 && type != Type::kF64) d.fail("the type is f32 or f64");
    operands(d, type, 2);
    d.finish(type == Type::kF64 ? copysign_lanes<double> : copysign_lanes<float>, "fp32");
}

template <class F>
void approximate(Decoding& d) {
    const bool approx = d.take("approx");
    const bool ftz = d.take("ftz");
    const Type type = d.take_type();
    if (is_half(type)) {
        const bool brain = type == Type::kBf16 || type == Type::kBf16x2;
        if (!approx) d.fail(".approx is missing");
        if (ftz != (brain && d.in.opcode == "ex2"))
            d.fail(brain ? ".ftz comes with ex2 of bf16, and with it alone" : ".ftz is for f32");
        return decode_half(d, type);
    }
    if (!approx) d.fail(".approx is missing");
    if (ftz && d.in.opcode == "tanh") d.fail("tanh has no .ftz");
    if (type != Type::kF32 && !(type == Type::kF64 && ftz && d.in.opcode == "rsqrt")) {
        if (!(type == Type::kF64 && d.in.opcode == "rsqrt")) d.fail("the type is f32");
    }
    if (ftz) d.op.aux |= kFloatFtz;
    operands(d, type, 1);
    d.finish(type == Type::kF64 ? arithmetic<F, double, 1, FE_TONEAREST>
                                : arithmetic<F, float, 1, FE_TONEAREST>,
             "mufu");
}

// sqrt and rcp: rounded or approximate.
template <class F>
void root_or_reciprocal(Decoding& d) {
    const bool approx = d.take("approx");
    const auto mode = d.take_one({"rn", "rz", "rm", "rp"});
    if (approx == !mode.empty()) d.fail("one of .approx .rn .rz .rm .rp is needed");
    const Type type = d.take_type();
    if (type != Type::kF32 && type != Type::kF64) d.fail("the type is f32 or f64");
    take_flags(d, type);
    if (type == Type::kF64) {
        const bool ftz = d.take("ftz"), reciprocal = d.in.opcode == "rcp";
        if (approx && !reciprocal) d.fail(".approx is for f32");
        if ((ftz && !reciprocal) || (approx && !ftz))
            d.fail("of f64 .ftz comes with rcp.approx, and goes with rcp alone");
    }
    operands(d, type, 1);
    d.finish(by_type<F, 1>(type, mode), approx ? "mufu" : type == Type::kF64 ? "fp64" : "fp32");
}

void decode_fma(Decoding& d) {
    const Type type = d.take_type();
    if (is_half(type)) return decode_half(d, type);
    if (type != Type::kF32 && type != Type::kF64)
        d.fail("the type is none of f16 f16x2 bf16 bf16x2 f32 f64");
    decode_float(d, type);
}

}  // namespace

void decode_float(Decoding& d, Type type) {
    if (type != Type::kF32 && type != Type::kF64)
        d.fail("the type ." + std::string(ptx::info(type).name) + " is not known here");
    const std::string_view opcode = d.in.opcode;
    take_flags(d, type);
    const std::string_view kind = type == Type::kF64 ? "fp64" : "fp32";
    if (opcode == "min" || opcode == "max") {
        if (type == Type::kF64 && d.has_one({"NaN", "xorsign"}))
            d.fail("of f64 there is neither .NaN nor .xorsign");
        if (d.op.aux & kSat) d.fail("min and max have no .sat");
        if (d.take("NaN")) d.op.aux |= kNanPropagates;
        if (d.take("xorsign")) {
            if (!d.take("abs")) d.fail(".xorsign comes with .abs");
            d.op.aux |= kXorSign;
        }
        operands(d, type, 2);
        const bool is_max = opcode == "max";
        if (type == Type::kF64)
            return d.finish(is_max ? extreme<double, true> : extreme<double, false>, kind);
        return d.finish(is_max ? extreme<float, true> : extreme<float, false>, kind);
    }
    if (opcode == "neg" || opcode == "abs") {
        if (d.op.aux & kSat) d.fail("neg and abs have no .sat");
        operands(d, type, 1);
        const bool negates = opcode == "neg";
        if (type == Type::kF64)
            return d.finish(negates ? sign<double, true> : sign<double, false>, kind);
        return d.finish(negates ? sign<float, true> : sign<float, false>, kind);
    }
    const auto mode = d.take_one({"rn", "rz", "rm", "rp"});
    if (opcode == "div") {
        const auto how = d.take_one({"approx", "full"});
        if (how.empty() == mode.empty()) d.fail("one of .approx .full .rn .rz .rm .rp is needed");
        if (!how.empty() && type == Type::kF64) d.fail(".approx and .full are for f32");
        if (d.op.aux & kSat) d.fail("div has no .sat");
        operands(d, type, 2);
        if (how == "approx") return d.finish(by_type<ApproxDiv, 2>(type, "rn"), kind);
        return d.finish(by_type<Div, 2>(type, mode), kind);
    }
    if (opcode == "fma" || opcode == "mad") {
        if (mode.empty()) d.fail("one of .rn .rz .rm .rp is missing");
        operands(d, type, 3);
        return d.finish(by_type<Fma, 3>(type, mode), kind);
    }
    operands(d, type, 2);
    if (opcode == "add") return d.finish(by_type<Add, 2>(type, mode), kind);
    if (opcode == "sub") return d.finish(by_type<Sub, 2>(type, mode), kind);
    if (opcode == "mul") return d.finish(by_type<Mul, 2>(type, mode), kind);
    d.fail("the type ." + std::string(ptx::info(type).name) + " is not known here");
}

void add_float_opcodes(OpcodeTable& table) {
    table["fma"] = decode_fma;
    table["rcp"] = root_or_reciprocal<Rcp>;
    table["sqrt"] = root_or_reciprocal<Sqrt>;
    table["rsqrt"] = approximate<Rsqrt>;
    table["ex2"] = approximate<Ex2>;
    table["lg2"] = approximate<Lg2>;
    table["sin"] = approximate<Sin>;
    table["cos"] = approximate<Cos>;
    table["tanh"] = approximate<Tanh>;
    table["testp"] = decode_testp;
    table["copysign"] = decode_copysign;
}

}  // namespace fattn::vgpu
