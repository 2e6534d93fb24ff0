// The table of single instructions; expected values are computed here in plain C++, apart from the
// interpreter.
#include "cases/cases.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace fattn::vgpu {
namespace {

using Values = uint64_t;

float f32(Values bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits)); }
double f64(Values bits) { return std::bit_cast<double>(bits); }
Values bits(float value) { return std::isnan(value) ? 0x7fffffff : std::bit_cast<uint32_t>(value); }
int32_t s32(Values v) { return static_cast<int32_t>(v); }
uint32_t u32(Values v) { return static_cast<uint32_t>(v); }
Values word(int64_t v) { return static_cast<uint32_t>(v); }
Values half(int64_t v) { return static_cast<uint16_t>(v); }
float zeroed(float v) {
    return std::fabs(v) < std::numeric_limits<float>::min() ? std::copysign(0.0f, v) : v;
}

// A value of f16 or bf16 by its definition: sign, exponent, fraction.
double small_float(Values v, int exponent_bits, int fraction_bits) {
    const auto fraction = static_cast<double>(v & ((1u << fraction_bits) - 1));
    const int exponent = static_cast<int>(v >> fraction_bits & ((1u << exponent_bits) - 1));
    const double sign = v >> (exponent_bits + fraction_bits) & 1 ? -1 : 1;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction != 0 ? std::numeric_limits<double>::quiet_NaN()
                             : sign * std::numeric_limits<double>::infinity();
    return exponent == 0 ? sign * std::ldexp(fraction, 1 - bias - fraction_bits)
                         : sign * std::ldexp(fraction + (1 << fraction_bits),
                                             exponent - bias - fraction_bits);
}
double f16(Values v) { return small_float(v & 0xffff, 5, 10); }
double bf16(Values v) { return small_float(v & 0xffff, 8, 7); }

// The nearest of all values of the format, found by search: the smaller neighbour's bits are below
// the larger one's.
Values nearest(double value, int exponent_bits, int fraction_bits) {
    if (std::isnan(value)) return 0x7fff;
    const Values sign = std::signbit(value) ? 0x8000 : 0;
    const double magnitude = std::fabs(value);
    const Values infinity = ((Values{1} << exponent_bits) - 1) << fraction_bits;
    Values low = 0, high = infinity;
    while (high - low > 1) {
        const Values middle = (low + high) / 2;
        (small_float(middle, exponent_bits, fraction_bits) <= magnitude ? low : high) = middle;
    }
    if (magnitude == std::numeric_limits<double>::infinity()) return sign | infinity;
    const double below = small_float(low, exponent_bits, fraction_bits);
    const double above = high == infinity
                             ? 2 * small_float(infinity - 1, exponent_bits, fraction_bits) -
                                   small_float(infinity - 2, exponent_bits, fraction_bits)
                             : small_float(high, exponent_bits, fraction_bits);
    const double to_low = magnitude - below, to_high = above - magnitude;
    if (to_low < to_high) return sign | low;
    if (to_high < to_low) return sign | high;
    return sign | (low & 1 ? high : low);
}
Values to_f16(double v) { return nearest(v, 5, 10); }
Values to_bf16(double v) { return nearest(v, 8, 7); }

std::string flag(const std::string& compare) {
    return "{ .reg .pred p; " + compare + " selp.u32 %d, 1, 0, p; }";
}

std::vector<InstructionCase> make() {
    std::vector<InstructionCase> t;
    const auto add = [&](const char* name, const std::string& body, const char* types,
                         std::function<uint64_t(uint64_t, uint64_t, uint64_t)> expected) {
        t.push_back(
            {name, body, {types[0], types[1], types[2], types[3]}, std::move(expected), {}, 0, 0});
    };
    const auto approximate = [&](const char* name, const char* body, double low, double high,
                                 std::function<double(double)> real) {
        t.push_back({name, body, {'f', 'f', '-', '-'}, {}, std::move(real), low, high});
    };
    // --- integers
    add("add.u16", "add.u16 %d, %a, %b;", "hhh-",
        [](auto a, auto b, auto) { return half(static_cast<int64_t>(a + b)); });
    add("add.s32", "add.s32 %d, %a, %b;", "www-",
        [](auto a, auto b, auto) { return word(static_cast<int64_t>(a + b)); });
    add("add.sat.s32", "add.sat.s32 %d, %a, %b;", "www-", [](auto a, auto b, auto) {
        return word(std::clamp<int64_t>(int64_t{s32(a)} + s32(b), INT32_MIN, INT32_MAX));
    });
    add("sub.s64", "sub.s64 %d, %a, %b;", "qqq-", [](auto a, auto b, auto) { return a - b; });
    add("mul.lo.s32", "mul.lo.s32 %d, %a, %b;", "www-",
        [](auto a, auto b, auto) { return word(int64_t{s32(a)} * s32(b)); });
    add("mul.hi.s32", "mul.hi.s32 %d, %a, %b;", "www-",
        [](auto a, auto b, auto) { return word(int64_t{s32(a)} * s32(b) >> 32); });
    add("mul.hi.u32", "mul.hi.u32 %d, %a, %b;", "www-",
        [](auto a, auto b, auto) { return (uint64_t{u32(a)} * u32(b)) >> 32; });
    add("mul.wide.s32", "mul.wide.s32 %d, %a, %b;", "qww-",
        [](auto a, auto b, auto) { return static_cast<uint64_t>(int64_t{s32(a)} * s32(b)); });
    add("mul.wide.u16", "mul.wide.u16 %d, %a, %b;", "whh-",
        [](auto a, auto b, auto) { return a * b; });
    add("mul.hi.u64", "mul.hi.u64 %d, %a, %b;", "qqq-", [](auto a, auto b, auto) {
        const uint64_t al = u32(a), ah = a >> 32, bl = u32(b), bh = b >> 32;
        const uint64_t middle = ah * bl + (al * bl >> 32), other = al * bh + u32(middle);
        return ah * bh + (middle >> 32) + (other >> 32);
    });
    add("mad.lo.s32", "mad.lo.s32 %d, %a, %b, %c;", "wwww",
        [](auto a, auto b, auto c) { return word(static_cast<int64_t>(a * b + c)); });
    add("mad.wide.u32", "mad.wide.u32 %d, %a, %b, %c;", "qwwq",
        [](auto a, auto b, auto c) { return a * b + c; });
    add("div.s32", "{ .reg .b32 x; or.b32 x, %b, 1; div.s32 %d, %a, x; }", "www-",
        [](auto a, auto b, auto) {
            const int64_t y = s32(b | 1);
            return word(s32(a) / y);
        });
    add("rem.u64", "{ .reg .b64 x; or.b64 x, %b, 1; rem.u64 %d, %a, x; }", "qqq-",
        [](auto a, auto b, auto) { return a % (b | 1); });
    add("min.s32", "min.s32 %d, %a, %b;", "www-",
        [](auto a, auto b, auto) { return word(s32(a) < s32(b) ? s32(a) : s32(b)); });
    add("max.u32", "max.u32 %d, %a, %b;", "www-",
        [](auto a, auto b, auto) { return u32(a) > u32(b) ? a : b; });
    add("abs.s32", "abs.s32 %d, %a;", "ww--",
        [](auto a, auto, auto) { return word(s32(a) < 0 ? -int64_t{s32(a)} : s32(a)); });
    add("neg.s64", "neg.s64 %d, %a;", "qq--", [](auto a, auto, auto) { return ~a + 1; });
    add("sad.u32", "sad.u32 %d, %a, %b, %c;", "wwww", [](auto a, auto b, auto c) {
        return word(static_cast<int64_t>(c + (a > b ? a - b : b - a)));
    });
    add("dp4a.s32.s32", "dp4a.s32.s32 %d, %a, %b, %c;", "wwww", [](auto a, auto b, auto c) {
        int64_t sum = s32(c);
        for (int i = 0; i < 4; ++i)
            sum += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
        return word(sum);
    });
    // --- bits
    add("lop3", "lop3.b32 %d, %a, %b, %c, 0x96;", "wwww",
        [](auto a, auto b, auto c) { return a ^ b ^ c; });
    add("lop3.maj", "lop3.b32 %d, %a, %b, %c, 0xe8;", "wwww",
        [](auto a, auto b, auto c) { return (a & b) | (a & c) | (b & c); });
    add("shl.b32", "shl.b32 %d, %a, %b;", "www-",
        [](auto a, auto b, auto) { return b > 31 ? 0 : word(static_cast<int64_t>(a << b)); });
    add("shr.s32", "shr.s32 %d, %a, %b;", "www-",
        [](auto a, auto b, auto) { return word(int64_t{s32(a)} >> (b > 31 ? 31 : b)); });
    add("shr.u64", "shr.u64 %d, %a, %b;", "qqw-",
        [](auto a, auto b, auto) { return b > 63 ? 0 : a >> b; });
    add("shf.l.wrap", "shf.l.wrap.b32 %d, %a, %b, %c;", "wwww", [](auto a, auto b, auto c) {
        return word(static_cast<int64_t>(((b << 32 | a) << (c & 31)) >> 32));
    });
    add("shf.r.clamp", "shf.r.clamp.b32 %d, %a, %b, %c;", "wwww", [](auto a, auto b, auto c) {
        return word(static_cast<int64_t>((b << 32 | a) >> (c > 32 ? 32 : c)));
    });
    add("bfe.u32", "bfe.u32 %d, %a, %b, %c;", "wwww", [](auto a, auto b, auto c) {
        const uint64_t position = b & 255, length = c & 255;
        return position > 31
                   ? 0
                   : (a >> position) & (length > 31 ? 0xffffffff : (uint64_t{1} << length) - 1);
    });
    add("bfe.s32", "bfe.s32 %d, %a, %b, %c;", "wwww", [](auto a, auto b, auto c) -> uint64_t {
        const int64_t position = b & 255, length = c & 255;
        if (length == 0) return 0;
        uint64_t made = 0;
        const int64_t top = std::min<int64_t>(position + length - 1, 31);
        for (int64_t i = 0; i < 32; ++i)
            made |= (a >> (i < length && position + i <= 31 ? position + i : top) & 1) << i;
        return made;
    });
    add("bfi.b32", "bfi.b32 %d, %a, %b, 7, 9;", "www-",
        [](auto a, auto b, auto) { return (b & ~uint64_t{0xff80}) | (a << 7 & 0xff80); });
    add("popc.b64", "popc.b64 %d, %a;", "wq--", [](auto a, auto, auto) {
        uint64_t n = 0;
        for (; a; a &= a - 1) ++n;
        return n;
    });
    add("clz.b32", "clz.b32 %d, %a;", "ww--", [](auto a, auto, auto) {
        uint64_t n = 0;
        while (n < 32 && !(a >> (31 - n) & 1)) ++n;
        return n;
    });
    add("bfind.s32", "bfind.s32 %d, %a;", "ww--", [](auto a, auto, auto) {
        const uint64_t x = s32(a) < 0 ? u32(~a) : a;
        uint64_t n = 31;
        while (n != ~uint64_t{0} && !(x >> n & 1)) --n;
        return word(static_cast<int64_t>(n));
    });
    add("brev.b32", "brev.b32 %d, %a;", "ww--", [](auto a, auto, auto) {
        uint64_t r = 0;
        for (int i = 0; i < 32; ++i) r |= (a >> i & 1) << (31 - i);
        return r;
    });
    add("prmt", "prmt.b32 %d, %a, %b, %c;", "wwww", [](auto a, auto b, auto c) {
        uint64_t made = 0;
        for (int i = 0; i < 4; ++i) {
            const uint64_t s = c >> 4 * i & 15, byte = (b << 32 | a) >> 8 * (s & 7) & 255;
            made |= (s & 8 ? (byte & 128 ? 255 : 0) : byte) << 8 * i;
        }
        return made;
    });
    add("prmt.rc16", "prmt.b32.rc16 %d, %a, %b, %c;", "wwww", [](auto a, auto, auto c) {
        const uint64_t h = a >> 16 * (c & 1) & 0xffff;
        return h << 16 | h;
    });
    // --- f32
    add("add.f32", "add.rn.f32 %d, %a, %b;", "fff-",
        [](auto a, auto b, auto) { return bits(f32(a) + f32(b)); });
    add("sub.ftz.f32", "sub.rn.ftz.f32 %d, %a, %b;", "fff-",
        [](auto a, auto b, auto) { return bits(zeroed(zeroed(f32(a)) - zeroed(f32(b)))); });
    add("mul.f32", "mul.rn.f32 %d, %a, %b;", "fff-",
        [](auto a, auto b, auto) { return bits(f32(a) * f32(b)); });
    add("mul.sat.f32", "mul.rn.sat.f32 %d, %a, %b;", "fff-", [](auto a, auto b, auto) {
        const float v = f32(a) * f32(b);
        return v > 0 ? bits(std::min(v, 1.0f)) : 0;
    });
    add("fma.f32", "fma.rn.f32 %d, %a, %b, %c;", "ffff",
        [](auto a, auto b, auto c) { return bits(std::fma(f32(a), f32(b), f32(c))); });
    add("fma.ftz.f32", "fma.rn.ftz.f32 %d, %a, %b, %c;", "ffff", [](auto a, auto b, auto c) {
        // What 24 bits hold below the smallest normal number is 0 before it is rounded further.
        const double exact = double{zeroed(f32(a))} * double{zeroed(f32(b))} + zeroed(f32(c));
        const float rounded = std::fma(zeroed(f32(a)), zeroed(f32(b)), zeroed(f32(c)));
        return bits(std::fabs(exact) < 0x1p-126 - 0x1p-151 ? std::copysign(0.0f, rounded)
                                                           : zeroed(rounded));
    });
    add("div.rn.f32", "div.rn.f32 %d, %a, %b;", "fff-",
        [](auto a, auto b, auto) { return bits(f32(a) / f32(b)); });
    add("rcp.rn.f32", "rcp.rn.f32 %d, %a;", "ff--",
        [](auto a, auto, auto) { return bits(1.0f / f32(a)); });
    add("sqrt.rn.f32", "sqrt.rn.f32 %d, %a;", "ff--",
        [](auto a, auto, auto) { return bits(std::sqrt(f32(a))); });
    add("min.f32", "min.f32 %d, %a, %b;", "fff-", [](auto a, auto b, auto) {
        if (std::isnan(f32(a)) || std::isnan(f32(b))) return std::isnan(f32(a)) ? bits(f32(b)) : a;
        if (f32(a) == f32(b)) return std::signbit(f32(a)) ? a : b;
        return f32(a) < f32(b) ? a : b;
    });
    add("max.NaN.f32", "max.NaN.f32 %d, %a, %b;", "fff-", [](auto a, auto b, auto) {
        if (std::isnan(f32(a)) || std::isnan(f32(b))) return uint64_t{0x7fffffff};
        if (f32(a) == f32(b)) return std::signbit(f32(a)) ? b : a;
        return f32(a) > f32(b) ? a : b;
    });
    for (const char* mode : {"rz", "rm", "rp"}) {
        const std::string m = mode;
        // One rounding of the exact sum, which two f64 hold: the f64 sum and what it lost.
        add(("add." + m + ".f32").c_str(), "add." + m + ".f32 %d, %a, %b;", "fff-",
            [m](auto a, auto b, auto) -> uint64_t {
                const double x = f32(a), y = f32(b), sum = x + y;
                if (!std::isfinite(sum)) return bits(static_cast<float>(sum));
                if (sum == 0)
                    return x == 0 && y == 0 && std::signbit(x) == std::signbit(y)
                               ? bits(static_cast<float>(x))
                           : m == "rm" ? 0x80000000
                                       : 0;
                const double part = sum - x, lost = (x - (sum - part)) + (y - part);
                float low = static_cast<float>(sum);
                if (low > sum || (low == sum && lost < 0))
                    low = std::nextafter(low, -std::numeric_limits<float>::infinity());
                const bool exact = low == sum && lost == 0;
                const float high =
                    exact ? low : std::nextafter(low, std::numeric_limits<float>::infinity());
                const float made = m == "rm" ? low : m == "rp" ? high : sum > 0 ? low : high;
                return bits(made);
            });
    }
    add("add.f64", "add.rn.f64 %d, %a, %b;", "ggg-", [](auto a, auto b, auto) {
        const double v = f64(a) + f64(b);
        return std::isnan(v) ? uint64_t{0} : std::bit_cast<uint64_t>(v);
    });
    t.back().body =
        "{ .reg .pred p; add.rn.f64 %d, %a, %b; setp.nan.f64 p, %d, %d; selp.b64 %d, 0, %d, p; }";
    // --- comparisons
    add("setp.lt.f32", flag("setp.lt.f32 p, %a, %b;"), "wff-",
        [](auto a, auto b, auto) { return uint64_t{f32(a) < f32(b)}; });
    add("setp.geu.f32", flag("setp.geu.f32 p, %a, %b;"), "wff-",
        [](auto a, auto b, auto) { return uint64_t{!(f32(a) < f32(b))}; });
    add("setp.hi.u32", flag("setp.hi.u32 p, %a, %b;"), "www-",
        [](auto a, auto b, auto) { return uint64_t{u32(a) > u32(b)}; });
    add("setp.le.s64", flag("setp.le.s64 p, %a, %b;"), "wqq-", [](auto a, auto b, auto) {
        return uint64_t{static_cast<int64_t>(a) <= static_cast<int64_t>(b)};
    });
    add("set.eq.u32.f32", "set.eq.u32.f32 %d, %a, %b;", "wff-",
        [](auto a, auto b, auto) { return f32(a) == f32(b) ? uint64_t{0xffffffff} : 0; });
    add("slct.f32", "slct.b32.f32 %d, %a, %b, %c;", "wwwf",
        [](auto a, auto b, auto c) { return f32(c) >= 0 ? a : b; });
    // --- halves
    add("add.f16", "add.rn.f16 %d, %a, %b;", "eee-",
        [](auto a, auto b, auto) { return to_f16(f16(a) + f16(b)); });
    add("mul.f16", "mul.rn.f16 %d, %a, %b;", "eee-",
        [](auto a, auto b, auto) { return to_f16(f16(a) * f16(b)); });
    add("fma.f16", "fma.rn.f16 %d, %a, %b, %c;", "eeee",
        [](auto a, auto b, auto c) { return to_f16(std::fma(f16(a), f16(b), f16(c))); });
    add("fma.bf16", "fma.rn.bf16 %d, %a, %b, %c;", "rrrr", [](auto a, auto b, auto c) -> uint64_t {
        const double product = bf16(a) * bf16(b), addend = bf16(c), sum = product + addend;
        if (!std::isfinite(sum)) return to_bf16(sum);
        const double part = sum - product, lost = (product - (sum - part)) + (addend - part);
        // A tie in f64 that is none: move to the side where the rest lies.
        return to_bf16(lost == 0 || std::bit_cast<uint64_t>(sum) & 1
                           ? sum
                           : std::nextafter(sum, lost > 0 ? 1e300 : -1e300));
    });
    add("min.f16", "min.f16 %d, %a, %b;", "eee-", [](auto a, auto b, auto) {
        if (std::isnan(f16(a)) || std::isnan(f16(b)))
            return std::isnan(f16(a)) ? (std::isnan(f16(b)) ? uint64_t{0x7fff} : b) : a;
        if (f16(a) == f16(b)) return std::signbit(f16(a)) ? a : b;
        return f16(a) < f16(b) ? a : b;
    });
    // --- conversions
    add("cvt.rn.f16.f32", "cvt.rn.f16.f32 %d, %a;", "ef--",
        [](auto a, auto, auto) { return to_f16(f32(a)); });
    add("cvt.rn.bf16.f32", "cvt.rn.bf16.f32 %d, %a;", "rf--",
        [](auto a, auto, auto) { return to_bf16(f32(a)); });
    add("cvt.rn.bf16x2.f32", "cvt.rn.bf16x2.f32 %d, %a, %b;", "wff-",
        [](auto a, auto b, auto) { return to_bf16(f32(a)) << 16 | to_bf16(f32(b)); });
    add("cvt.rn.f16x2.f32", "cvt.rn.f16x2.f32 %d, %a, %b;", "wff-",
        [](auto a, auto b, auto) { return to_f16(f32(a)) << 16 | to_f16(f32(b)); });
    add("cvt.f32.f16", "cvt.f32.f16 %d, %a;", "fe--",
        [](auto a, auto, auto) { return bits(static_cast<float>(f16(a))); });
    add("cvt.rna.tf32.f32", "cvt.rna.tf32.f32 %d, %a;", "wf--", [](auto a, auto, auto) -> uint64_t {
        return ((a & 0x7f800000) == 0x7f800000 ? a : a + 0x1000) & 0xffffe000;
    });
    add("cvt.rzi.s32.f32", "cvt.rzi.s32.f32 %d, %a;", "wf--", [](auto a, auto, auto) {
        const double v = f32(a);
        return std::isnan(v) ? 0
                             : word(static_cast<int64_t>(
                                   std::clamp(std::trunc(v), -2147483648.0, 2147483647.0)));
    });
    add("cvt.rni.u32.f32", "cvt.rni.u32.f32 %d, %a;", "wf--", [](auto a, auto, auto) {
        const double v = f32(a);
        return std::isnan(v)
                   ? 0
                   : static_cast<uint64_t>(std::clamp(std::nearbyint(v), 0.0, 4294967295.0));
    });
    add("cvt.rmi.f32.f32", "cvt.rmi.f32.f32 %d, %a;", "ff--",
        [](auto a, auto, auto) { return bits(std::floor(f32(a))); });
    add("cvt.rn.f32.s32", "cvt.rn.f32.s32 %d, %a;", "fw--",
        [](auto a, auto, auto) { return bits(static_cast<float>(s32(a))); });
    add("cvt.rn.f32.u64", "cvt.rn.f32.u64 %d, %a;", "fq--",
        [](auto a, auto, auto) { return bits(static_cast<float>(a)); });
    add("cvt.rn.f64.s64", "cvt.rn.f64.s64 %d, %a;", "gq--", [](auto a, auto, auto) {
        return std::bit_cast<uint64_t>(static_cast<double>(static_cast<int64_t>(a)));
    });
    add("cvt.rn.f32.f64", "cvt.rn.f32.f64 %d, %a;", "fg--",
        [](auto a, auto, auto) { return bits(static_cast<float>(f64(a))); });
    add("cvt.u16.s32", "cvt.u16.s32 %d, %a;", "hw--",
        [](auto a, auto, auto) { return half(static_cast<int64_t>(a)); });
    add("cvt.sat.s8.s32", "{ .reg .b32 x; cvt.sat.s8.s32 x, %a; mov.b32 %d, x; }", "ww--",
        [](auto a, auto, auto) { return word(std::clamp(s32(a), -128, 127)); });
    add("cvt.rn.satfinite.e4m3x2.f32", "cvt.rn.satfinite.e4m3x2.f32 %d, %a, %b;", "hff-",
        [](auto a, auto b, auto) {
            const auto one = [](float v) -> uint64_t {
                if (std::isnan(v)) return 0x7f;
                const uint64_t sign = std::signbit(v) ? 0x80 : 0;
                uint64_t best = 0;
                for (uint64_t k = 0; k < 0x7f; ++k) {
                    const double e = std::fabs(small_float(k == 0x7e ? 0x7e : k, 4, 3) - 0),
                                 m = std::fabs(v);
                    const double value =
                        k >= 0x78 ? std::ldexp(8.0 + static_cast<double>(k & 7), 5) : e;
                    const double old = best >= 0x78
                                           ? std::ldexp(8.0 + static_cast<double>(best & 7), 5)
                                           : small_float(best, 4, 3);
                    if (std::fabs(value - m) < std::fabs(old - m) ||
                        (std::fabs(value - m) == std::fabs(old - m) && !(k & 1) && k > best))
                        best = k;
                }
                return sign | (std::fabs(v) > 448 ? 0x7e : best);
            };
            return one(f32(a)) << 8 | one(f32(b));
        });
    // --- approximations
    approximate("ex2.approx", "ex2.approx.f32 %d, %a;", -130, 130,
                [](double x) { return std::exp2(x); });
    approximate("ex2.approx.ftz", "ex2.approx.ftz.f32 %d, %a;", -120, 120,
                [](double x) { return std::exp2(x); });
    approximate("ex2.approx.small", "ex2.approx.ftz.f32 %d, %a;", -16, 1,
                [](double x) { return std::exp2(x); });
    approximate("lg2.approx", "lg2.approx.f32 %d, %a;", 2, 1e6,
                [](double x) { return std::log2(x); });
    approximate("rcp.approx", "rcp.approx.f32 %d, %a;", -1000, 1000,
                [](double x) { return 1 / x; });
    approximate("rcp.approx.ftz", "rcp.approx.ftz.f32 %d, %a;", 0.5, 1000,
                [](double x) { return 1 / x; });
    approximate("rsqrt.approx", "rsqrt.approx.f32 %d, %a;", 0.01, 1000,
                [](double x) { return 1 / std::sqrt(x); });
    approximate("sqrt.approx", "sqrt.approx.f32 %d, %a;", 0.01, 1000,
                [](double x) { return std::sqrt(x); });
    approximate("tanh.approx", "tanh.approx.f32 %d, %a;", -6, 6,
                [](double x) { return std::tanh(x); });
    approximate("sin.approx", "sin.approx.f32 %d, %a;", -3.1, 3.1,
                [](double x) { return std::sin(x); });
    approximate("cos.approx", "cos.approx.f32 %d, %a;", -3.1, 3.1,
                [](double x) { return std::cos(x); });
    return t;
}

}  // namespace

const std::vector<InstructionCase>& instruction_cases() {
    static const std::vector<InstructionCase> cases = make();
    return cases;
}

}  // namespace fattn::vgpu
