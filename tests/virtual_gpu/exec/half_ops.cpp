// Arithmetic of f16, bf16 and their pairs: exact in f64 up to one rounding.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "exec/decoding.h"
#include "exec/half.h"
#include "exec/lanes.h"

namespace fattn::vgpu {
namespace {

using ptx::Type;

enum HalfFlags : uint64_t { kHalfFtz = 1, kHalfSat = 2, kNan = 4, kRelu = 8, kHalfXorSign = 16 };
enum class What : uint8_t { kAdd, kSub, kMul, kFma, kMin, kMax, kNeg, kAbs, kEx2, kTanh };

struct HalfF16 {
    static double value(uint16_t bits) { return f16_value(bits); }
    static uint16_t bits(double value) { return to_f16(value); }
    static constexpr double kSmallest = 0x1p-14;
};
struct HalfBf16 {
    static double value(uint16_t bits) { return bf16_value(bits); }
    static uint16_t bits(double value) { return to_bf16(value); }
    static constexpr double kSmallest = 0x1p-126;
};

// a * b + c rounded to odd in f64, so that the rounding that follows is the only one.
double fma_odd(double a, double b, double c) {
    const double product = a * b;  // exact: 22 bits at most
    const double sum = product + c;
    if (!std::isfinite(sum)) return sum;
    const double c_part = sum - product;
    const double error = (product - (sum - c_part)) + (c - c_part);
    if (error == 0 || (std::bit_cast<uint64_t>(sum) & 1)) return sum;
    return std::nextafter(sum, error > 0 ? std::numeric_limits<double>::infinity()
                                         : -std::numeric_limits<double>::infinity());
}

template <class H, What what>
uint16_t compute(uint16_t a, uint16_t b, uint16_t c, uint64_t flags) {
    const auto enter = [&](uint16_t bits) {
        const double value = H::value(bits);
        return (flags & kHalfFtz) && std::fabs(value) < H::kSmallest ? std::copysign(0.0, value)
                                                                     : value;
    };
    if constexpr (what == What::kNeg)
        return std::isnan(H::value(a)) ? 0x7fff : static_cast<uint16_t>(H::bits(enter(a)) ^ 0x8000);
    if constexpr (what == What::kAbs)
        return std::isnan(H::value(a)) ? 0x7fff : static_cast<uint16_t>(H::bits(enter(a)) & 0x7fff);
    const double x = enter(a), y = enter(b);
    if constexpr (what == What::kMin || what == What::kMax) {
        const bool less = x < y || (x == y && std::signbit(x) && !std::signbit(y));
        double made = (what == What::kMax) == less ? y : x;
        if (flags & kHalfXorSign) {
            const double p = std::fabs(x), q = std::fabs(y);
            made = std::copysign((what == What::kMax) == (p < q) ? q : p,
                                 std::signbit(x) != std::signbit(y) ? -1.0 : 1.0);
        }
        if (std::isnan(x) || std::isnan(y)) {
            if ((flags & kNan) || (std::isnan(x) && std::isnan(y))) return 0x7fff;
            made = std::isnan(x) ? y : x;
            if (flags & kHalfXorSign)
                made = std::copysign(made, std::signbit(x) != std::signbit(y) ? -1.0 : 1.0);
        }
        return H::bits(made);
    }
    double made = 0;
    if constexpr (what == What::kAdd) made = x + y;
    if constexpr (what == What::kSub) made = x - y;
    if constexpr (what == What::kMul) made = x * y;
    if constexpr (what == What::kFma) made = fma_odd(x, y, enter(c));
    if constexpr (what == What::kEx2) made = std::exp2(x);
    if constexpr (what == What::kTanh) made = std::tanh(x);
    double rounded = H::value(H::bits(made));
    if ((flags & kHalfFtz) && std::fabs(rounded) < H::kSmallest)
        rounded = std::copysign(0.0, rounded);
    if (flags & kHalfSat) rounded = rounded > 0 ? std::min(rounded, 1.0) : 0.0;
    if ((flags & kRelu) && rounded <= 0) rounded = 0;
    return H::bits(rounded);
}

template <class H, What what>
Step single(Warp& w, const Op& op, uint32_t mask) {
    const uint16_t* a = w.src<uint16_t>(op, 0);
    const uint16_t* b = op.num_src > 1 ? w.src<uint16_t>(op, 1) : a;
    const uint16_t* c = op.num_src > 2 ? w.src<uint16_t>(op, 2) : a;
    write_lanes(w.dst<uint16_t>(op), mask,
                [&](uint32_t i) { return compute<H, what>(a[i], b[i], c[i], op.aux); });
    return Step::kNext;
}

template <class H, What what>
Step pair(Warp& w, const Op& op, uint32_t mask) {
    const uint32_t* a = w.src<uint32_t>(op, 0);
    const uint32_t* b = op.num_src > 1 ? w.src<uint32_t>(op, 1) : a;
    const uint32_t* c = op.num_src > 2 ? w.src<uint32_t>(op, 2) : a;
    const auto low = [](uint32_t x) { return static_cast<uint16_t>(x); };
    const auto high = [](uint32_t x) { return static_cast<uint16_t>(x >> 16); };
    write_lanes(w.dst<uint32_t>(op), mask, [&](uint32_t i) {
        return compute<H, what>(low(a[i]), low(b[i]), low(c[i]), op.aux) |
               uint32_t{compute<H, what>(high(a[i]), high(b[i]), high(c[i]), op.aux)} << 16;
    });
    return Step::kNext;
}

template <What what>
Handler by_type(Type type) {
    switch (type) {
        case Type::kF16:
            return single<HalfF16, what>;
        case Type::kF16x2:
            return pair<HalfF16, what>;
        case Type::kBf16:
            return single<HalfBf16, what>;
        default:
            return pair<HalfBf16, what>;
    }
}

}  // namespace

bool is_half(Type type) {
    return type == Type::kF16 || type == Type::kF16x2 || type == Type::kBf16 ||
           type == Type::kBf16x2;
}

void decode_half(Decoding& d, Type type) {
    const std::string_view opcode = d.in.opcode;
    const bool brain = type == Type::kBf16 || type == Type::kBf16x2;
    const auto finish = [&](Handler handler, uint32_t sources) {
        d.need_count(sources + 1, sources + 1);
        d.dst(d.in.operands[0], bytes_of(type));
        for (uint32_t i = 1; i <= sources; ++i) d.src(d.in.operands[i], type);
        d.finish(handler, opcode == "ex2" || opcode == "tanh" ? "mufu" : "fp16");
    };
    if (!brain && d.take("ftz")) d.op.aux |= kHalfFtz;
    if (opcode == "ex2" || opcode == "tanh") {
        if (brain) d.need_arch(90, "bf16");
        return finish(opcode == "ex2" ? by_type<What::kEx2>(type) : by_type<What::kTanh>(type), 1);
    }
    if (opcode == "neg") return finish(by_type<What::kNeg>(type), 1);
    if (opcode == "abs") return finish(by_type<What::kAbs>(type), 1);
    if (opcode == "min" || opcode == "max") {
        if (d.take("NaN")) d.op.aux |= kNan;
        if (d.take("xorsign")) {
            if (!d.take("abs")) d.fail(".xorsign comes with .abs");
            d.op.aux |= kHalfXorSign;
        }
        return finish(opcode == "min" ? by_type<What::kMin>(type) : by_type<What::kMax>(type), 2);
    }
    const bool rounds = d.take("rn");
    if (!brain && d.take("sat")) d.op.aux |= kHalfSat;
    if (opcode == "fma") {
        if (!rounds) d.fail(".rn is missing");
        if (d.take("relu")) d.op.aux |= kRelu;
        return finish(by_type<What::kFma>(type), 3);
    }
    if (brain && (opcode == "add" || opcode == "sub" || opcode == "mul"))
        d.need_arch(90, "bf16 other than in fma");
    if (opcode == "add") return finish(by_type<What::kAdd>(type), 2);
    if (opcode == "sub") return finish(by_type<What::kSub>(type), 2);
    if (opcode == "mul") return finish(by_type<What::kMul>(type), 2);
    d.fail("the type ." + std::string(ptx::info(type).name) + " is not known here");
}

}  // namespace fattn::vgpu
