// Integer and floating-point read-modify-writes.
#include "exec/rmw.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "exec/half.h"

namespace fattn::vgpu {

using ptx::Type;

namespace {

template <class T>
T integer(Rmw what, T old, T b, T c) {
    using U = std::make_unsigned_t<T>;
    switch (what) {
        case Rmw::kAdd:
            return static_cast<T>(static_cast<U>(old) + static_cast<U>(b));
        case Rmw::kMin:
            return std::min(old, b);
        case Rmw::kMax:
            return std::max(old, b);
        case Rmw::kAnd:
            return static_cast<T>(old & b);
        case Rmw::kOr:
            return static_cast<T>(old | b);
        case Rmw::kXor:
            return static_cast<T>(old ^ b);
        case Rmw::kExch:
            return b;
        case Rmw::kCas:
            return old == b ? c : old;
        case Rmw::kInc:
            return old >= b ? T{0} : static_cast<T>(old + 1);
        case Rmw::kDec:
            return old == 0 || old > b ? b : static_cast<T>(old - 1);
    }
    return old;
}

template <class T>
uint64_t as_integer(Rmw what, uint64_t old, uint64_t b, uint64_t c) {
    return static_cast<uint64_t>(static_cast<std::make_unsigned_t<T>>(
        integer<T>(what, static_cast<T>(old), static_cast<T>(b), static_cast<T>(c))));
}

uint16_t half_result(Rmw what, uint16_t a, uint16_t b, bool brain) {
    const double x = brain ? bf16_value(a) : f16_value(a), y = brain ? bf16_value(b) : f16_value(b);
    double made = x + y;
    if (what == Rmw::kMin) made = std::isnan(x) ? y : std::isnan(y) ? x : std::min(x, y);
    if (what == Rmw::kMax) made = std::isnan(x) ? y : std::isnan(y) ? x : std::max(x, y);
    return brain ? to_bf16(made) : to_f16(made);
}

uint32_t add_f32(uint32_t old, uint32_t b, bool flushes) {
    const auto x = std::bit_cast<float>(old), y = std::bit_cast<float>(b);
    const float sum = flushes ? flush(flush(x) + flush(y)) : x + y;
    return std::isnan(sum) ? 0x7fffffff : std::bit_cast<uint32_t>(sum);
}

uint64_t add_f64(uint64_t old, uint64_t b, bool makes_quiet) {
    const auto x = std::bit_cast<double>(old), y = std::bit_cast<double>(b);
    const uint64_t quiet = makes_quiet ? uint64_t{1} << 51 : 0;
    // The new operand's NaN counts first where it stays as it is.
    if (std::isnan(x) && (makes_quiet || !std::isnan(y))) return old | quiet;
    if (std::isnan(y)) return b | quiet;
    return std::bit_cast<uint64_t>(x + y);
}

}  // namespace

uint64_t compute_rmw(Type type, Rmw what, uint64_t old, uint64_t b, uint64_t c, RmwUnit unit) {
    switch (type) {
        case Type::kB16:
            return as_integer<uint16_t>(what, old, b, c);
        case Type::kB32:
        case Type::kU32:
            return as_integer<uint32_t>(what, old, b, c);
        case Type::kS32:
            return as_integer<int32_t>(what, old, b, c);
        case Type::kB64:
        case Type::kU64:
            return as_integer<uint64_t>(what, old, b, c);
        case Type::kS64:
            return as_integer<int64_t>(what, old, b, c);
        case Type::kF32:
            return add_f32(static_cast<uint32_t>(old), static_cast<uint32_t>(b),
                           unit == RmwUnit::kDevice);
        case Type::kF64:
            return add_f64(old, b, unit == RmwUnit::kShared);
        case Type::kF16:
        case Type::kBf16:
            return half_result(what, static_cast<uint16_t>(old), static_cast<uint16_t>(b),
                               type == Type::kBf16);
        default: {
            const bool brain = type == Type::kBf16x2;
            return half_result(what, static_cast<uint16_t>(old), static_cast<uint16_t>(b), brain) |
                   uint32_t{half_result(what, static_cast<uint16_t>(old >> 16),
                                        static_cast<uint16_t>(b >> 16), brain)}
                       << 16;
        }
    }
}

}  // namespace fattn::vgpu
