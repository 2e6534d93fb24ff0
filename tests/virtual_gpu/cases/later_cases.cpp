// Single instructions that no GPU has run for this project: carries, parts of words, predicates of
// lop3, results of set; expected values by the documentation's definitions.
#include <algorithm>
#include <bit>
#include <cmath>

#include "cases/cases.h"

namespace fattn::vgpu {
namespace {

using Values = uint64_t;
__extension__ typedef __int128 Wide;
__extension__ typedef unsigned __int128 UnsignedWide;

class LaterTable {
  public:
    using Expected = std::function<uint64_t(uint64_t, uint64_t, uint64_t)>;

    void add(const std::string& name, const std::string& body, const std::string& types,
             Expected expected) {
        cases_.push_back(
            {name, body, {types[0], types[1], types[2], types[3]}, std::move(expected), {}, 0, 0});
    }
    void carries();
    void pairs();
    void small_products();
    void bits();
    void sets();
    std::vector<InstructionCase> take() { return std::move(cases_); }

  private:
    std::vector<InstructionCase> cases_;
};

Values low_bits(UnsignedWide value, uint32_t bits) {
    return static_cast<Values>(value & ((UnsignedWide{1} << bits) - 1));
}

void LaterTable::carries() {
    for (const uint32_t bits : {32u, 64u}) {
        const std::string width = std::to_string(bits), letters = bits == 32 ? "wwww" : "qqqq";
        const UnsignedWide one = UnsignedWide{1} << bits;
        const auto cut = [bits](Values v) { return low_bits(v, bits); };
        const auto chain = [&](const std::string& name, const std::string& text,
                               Expected expected) {
            std::string body = "{ .reg .bW l; " + text + " }";
            for (size_t at; (at = body.find('W')) != std::string::npos;) body.replace(at, 1, width);
            add(name + "." + width, body, letters, std::move(expected));
        };
        chain("add.cc-addc", "add.cc.uW l, %a, %b; addc.uW %d, %c, %a;",
              [=](auto a, auto b, auto c) {
                  const UnsignedWide sum = UnsignedWide{cut(a)} + cut(b);
                  return low_bits(UnsignedWide{cut(c)} + cut(a) + (sum >> bits), bits);
              });
        chain("add.cc-addc.cc-addc",
              "add.cc.sW l, %a, %b; addc.cc.sW l, %b, %c; addc.sW %d, %a, 0;",
              [=](auto a, auto b, auto c) {
                  const UnsignedWide first = UnsignedWide{cut(a)} + cut(b);
                  const UnsignedWide second = UnsignedWide{cut(b)} + cut(c) + (first >> bits);
                  return low_bits(UnsignedWide{cut(a)} + (second >> bits), bits);
              });
        chain("sub.cc-subc", "sub.cc.uW l, %a, %b; subc.uW %d, %c, %a;",
              [=](auto a, auto b, auto c) {
                  const UnsignedWide borrow = cut(a) < cut(b) ? 1 : 0;
                  return low_bits(one + one + cut(c) - cut(a) - borrow, bits);
              });
        chain("sub.cc-subc.cc-subc",
              "sub.cc.uW l, %a, %b; subc.cc.uW l, %b, %c; subc.uW %d, %a, 0;",
              [=](auto a, auto b, auto c) {
                  const Values first = cut(a) < cut(b);
                  const Values second = UnsignedWide{cut(b)} < UnsignedWide{cut(c)} + first;
                  return low_bits(one + cut(a) - second, bits);
              });
        chain("mad.lo.cc-madc.hi", "mad.lo.cc.uW l, %a, %b, %c; madc.hi.uW %d, %a, %b, 0;",
              [=](auto a, auto b, auto c) {
                  const UnsignedWide product = UnsignedWide{cut(a)} * cut(b);
                  return low_bits((product + cut(c)) >> bits, bits);
              });
        chain("mad.hi.cc-madc.lo", "mad.hi.cc.sW l, %a, %b, %c; madc.lo.sW %d, %b, %c, %a;",
              [=](auto a, auto b, auto c) {
                  const auto with_sign = [bits](Values v) {
                      return Wide{static_cast<int64_t>(v << (64 - bits)) >> (64 - bits)};
                  };
                  const auto high = low_bits(
                      static_cast<UnsignedWide>((with_sign(a) * with_sign(b)) >> bits), bits);
                  const UnsignedWide sum = UnsignedWide{high} + cut(c);
                  return low_bits(UnsignedWide{cut(b)} * cut(c) + cut(a) + (sum >> bits), bits);
              });
    }
}

// f of the 16-bit parts of two words.
template <class F>
Values by_halves(Values a, Values b, bool with_sign, F f) {
    Values made = 0;
    for (uint32_t at = 0; at < 32; at += 16) {
        const auto part = [&](Values v) -> int64_t {
            const auto bits = static_cast<uint16_t>(v >> at);
            return with_sign ? static_cast<int16_t>(bits) : bits;
        };
        made |= Values{static_cast<uint16_t>(f(part(a), part(b)))} << at;
    }
    return made;
}

void LaterTable::pairs() {
    for (const bool with_sign : {false, true}) {
        const std::string type = with_sign ? "s16x2" : "u16x2";
        const auto two = [&](const std::string& name, auto f) {
            add(name + "." + type, name + "." + type + " %d, %a, %b;", "www-",
                [=](auto a, auto b, auto) { return by_halves(a, b, with_sign, f); });
        };
        two("add", [](int64_t a, int64_t b) { return a + b; });
        two("min", [](int64_t a, int64_t b) { return a < b ? a : b; });
        two("max", [](int64_t a, int64_t b) { return a < b ? b : a; });
        if (!with_sign) continue;
        two("min.relu", [](int64_t a, int64_t b) { return std::max<int64_t>(0, a < b ? a : b); });
        two("max.relu", [](int64_t a, int64_t b) { return std::max<int64_t>(0, a < b ? b : a); });
    }
    const auto s32 = [](Values v) { return static_cast<int32_t>(v); };
    add("min.relu.s32", "min.relu.s32 %d, %a, %b;", "www-", [=](auto a, auto b, auto) {
        return uint64_t{static_cast<uint32_t>(std::max(0, std::min(s32(a), s32(b))))};
    });
    add("max.relu.s32", "max.relu.s32 %d, %a, %b;", "www-", [=](auto a, auto b, auto) {
        return uint64_t{static_cast<uint32_t>(std::max(0, std::max(s32(a), s32(b))))};
    });
    add("cvt.pack.sat.s16", "cvt.pack.sat.s16.s32 %d, %a, %b;", "www-", [=](auto a, auto b, auto) {
        const auto part = [](int32_t v) {
            return Values{static_cast<uint16_t>(std::clamp(v, -32768, 32767))};
        };
        return part(s32(a)) << 16 | part(s32(b));
    });
    add("cvt.pack.sat.u8", "cvt.pack.sat.u8.s32.b32 %d, %a, %b, %c;", "wwww",
        [=](auto a, auto b, auto c) {
            const auto part = [](int32_t v) {
                return Values{static_cast<uint8_t>(std::clamp(v, 0, 255))};
            };
            return (c << 16 & 0xffff0000) | part(s32(a)) << 8 | part(s32(b));
        });
}

void LaterTable::small_products() {
    for (const bool with_sign : {false, true}) {
        const auto part = [=](Values v) -> int64_t {
            const auto bits = static_cast<int64_t>(v & 0xffffff);
            return with_sign && bits >= 0x800000 ? bits - 0x1000000 : bits;
        };
        const std::string type = with_sign ? ".s32" : ".u32";
        for (const bool high : {false, true}) {
            const std::string half = high ? ".hi" : ".lo";
            const auto product = [=](Values a, Values b) {
                return static_cast<uint32_t>((part(a) * part(b)) >> (high ? 16 : 0));
            };
            add("mul24" + half + type, "mul24" + half + type + " %d, %a, %b;", "www-",
                [=](auto a, auto b, auto) { return uint64_t{product(a, b)}; });
            add("mad24" + half + type, "mad24" + half + type + " %d, %a, %b, %c;", "wwww",
                [=](auto a, auto b, auto c) {
                    return uint64_t{product(a, b) + static_cast<uint32_t>(c)};
                });
        }
    }
    add("mad.hi.sat.s32", "mad.hi.sat.s32 %d, %a, %b, %c;", "wwww", [](auto a, auto b, auto c) {
        const auto s32 = [](Values v) { return int64_t{static_cast<int32_t>(v)}; };
        const int64_t sum = (s32(a) * s32(b) >> 32) + s32(c);
        return uint64_t{static_cast<uint32_t>(std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX))};
    });
}

void LaterTable::bits() {
    const auto bit_of = [](uint32_t a, int64_t at) { return at >= 0 && at < 32 && (a >> at & 1); };
    // Positions and widths between 0 and 39.
    const std::string small = "{ .reg .b32 x, y; rem.u32 x, %b, 40; rem.u32 y, %c, 40; ";
    add("bmsk.clamp", small + "bmsk.clamp.b32 %d, x, y; }", "w-ww", [](auto, auto b, auto c) {
        const uint64_t first = static_cast<uint32_t>(b) % 40, width = static_cast<uint32_t>(c) % 40;
        uint64_t made = 0;
        for (uint64_t i = first; i < std::min<uint64_t>(first + width, 32); ++i)
            made |= uint64_t{1} << i;
        return made;
    });
    add("bmsk.wrap", small + "bmsk.wrap.b32 %d, x, y; }", "w-ww", [](auto, auto b, auto c) {
        const uint64_t first = static_cast<uint32_t>(b) % 40 % 32,
                       width = static_cast<uint32_t>(c) % 40 % 32;
        uint64_t made = 0;
        for (uint64_t i = first; i < std::min<uint64_t>(first + width, 32); ++i)
            made |= uint64_t{1} << i;
        return made;
    });
    for (const bool with_sign : {false, true}) {
        const std::string type = with_sign ? "s32" : "u32";
        add("szext.clamp." + type, small + "szext.clamp." + type + " %d, %a, x; }", "wwww",
            [=](auto a, auto b, auto) {
                const uint32_t width = static_cast<uint32_t>(b) % 40;
                uint64_t made = 0;
                for (uint32_t i = 0; i < 32; ++i) {
                    const bool copy =
                        with_sign && width != 0 && bit_of(static_cast<uint32_t>(a), width - 1);
                    made |= uint64_t{i < width ? bit_of(static_cast<uint32_t>(a), i) : copy} << i;
                }
                return made;
            });
    }
    add("fns", "{ .reg .b32 x, y; rem.u32 x, %b, 32; rem.s32 y, %c, 12; fns.b32 %d, %a, x, y; }",
        "wwww", [=](auto a, auto b, auto c) {
            const auto word = static_cast<uint32_t>(a);
            const int64_t base = static_cast<uint32_t>(b) % 32,
                          steps = static_cast<int32_t>(c) % 12;
            if (steps == 0)
                return bit_of(word, base) ? static_cast<uint64_t>(base) : uint64_t{0xffffffff};
            int64_t found = 0;
            for (int64_t at = base; at >= 0 && at<32; at += steps> 0 ? 1 : -1) {
                found += bit_of(word, at);
                if (found == (steps > 0 ? steps : -steps)) return static_cast<uint64_t>(at);
            }
            return uint64_t{0xffffffff};
        });
    for (const bool joins : {false, true}) {
        const std::string how = joins ? "or" : "and";
        add("lop3." + how,
            "{ .reg .pred p, q; .reg .b32 x; setp.lt.s32 q, %c, 0; lop3." + how +
                ".b32 x|p, %a, %b, %c, 0x80, " + (joins ? "!q" : "q") + "; selp.b32 %d, 1, x, p; }",
            "wwww", [=](auto a, auto b, auto c) {
                const auto made = static_cast<uint32_t>(a & b & c);
                const bool negative = static_cast<int32_t>(c) < 0;
                const bool p = joins ? made != 0 || !negative : made != 0 && negative;
                return uint64_t{p ? 1 : made};
            });
    }
}

// By its definition: 1 sign, then exponent and fraction.
double half_value(Values v, int exponent_bits, int fraction_bits) {
    const auto fraction = static_cast<double>(v & ((1u << fraction_bits) - 1));
    const int exponent = static_cast<int>(v >> fraction_bits & ((1u << exponent_bits) - 1));
    const double sign = v >> (exponent_bits + fraction_bits) & 1 ? -1 : 1;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    if (exponent == (1 << exponent_bits) - 1) return fraction != 0 ? NAN : sign * INFINITY;
    return exponent == 0 ? sign * std::ldexp(fraction, 1 - bias - fraction_bits)
                         : sign * std::ldexp(fraction + (1 << fraction_bits),
                                             exponent - bias - fraction_bits);
}
double f16_of(Values v) { return half_value(v & 0xffff, 5, 10); }
double bf16_of(Values v) { return half_value(v & 0xffff, 8, 7); }
double zeroed_f16(Values v) { return std::fabs(f16_of(v)) < 0x1p-14 ? 0 : f16_of(v); }

void LaterTable::sets() {
    add("set.lt.f16.f16", "set.lt.f16.f16 %d, %a, %b;", "eee-",
        [](auto a, auto b, auto) -> uint64_t { return f16_of(a) < f16_of(b) ? 0x3c00 : 0; });
    add("set.geu.bf16.bf16", "set.geu.bf16.bf16 %d, %a, %b;", "rrr-",
        [](auto a, auto b, auto) -> uint64_t { return bf16_of(a) < bf16_of(b) ? 0 : 0x3f80; });
    add("set.ne.u16.f16", "set.ne.u16.f16 %d, %a, %b;", "hee-",
        [](auto a, auto b, auto) -> uint64_t {
            const double x = f16_of(a), y = f16_of(b);
            return x < y || x > y ? 0xffff : 0;
        });
    add("set.gt.f16.s32", "set.gt.f16.s32 %d, %a, %b;", "hww-",
        [](auto a, auto b, auto) -> uint64_t {
            return static_cast<int32_t>(a) > static_cast<int32_t>(b) ? 0x3c00 : 0;
        });
    add("set.eq.ftz.f16x2.f16x2", "set.eq.ftz.f16x2.f16x2 %d, %a, %b;", "www-",
        [](auto a, auto b, auto) -> uint64_t {
            return (zeroed_f16(a) == zeroed_f16(b) ? 0x3c00u : 0u) |
                   (zeroed_f16(a >> 16) == zeroed_f16(b >> 16) ? 0x3c000000u : 0u);
        });
    add("set.le.u32.bf16x2", "set.le.u32.bf16x2 %d, %a, %b;", "www-",
        [](auto a, auto b, auto) -> uint64_t {
            return (bf16_of(a) <= bf16_of(b) ? 0xffffu : 0u) |
                   (bf16_of(a >> 16) <= bf16_of(b >> 16) ? 0xffff0000u : 0u);
        });
    add("setp.ge.ftz.f16", "{ .reg .pred p; setp.ge.ftz.f16 p, %a, %b; selp.u32 %d, 1, 0, p; }",
        "wee-", [](auto a, auto b, auto) { return uint64_t{zeroed_f16(a) >= zeroed_f16(b)}; });
    add("cvt.rn.satfinite.f16.f32",
        "{ .reg .pred p; setp.nan.f32 p, %a, %a; cvt.rn.satfinite.f16.f32 %d, %a; "
        "selp.b16 %d, 0, %d, p; }",
        "hf--", [](auto a, auto, auto) -> uint64_t {
            const float value = std::bit_cast<float>(static_cast<uint32_t>(a));
            if (std::isnan(value)) return 0;
            // Past the largest number there is nothing; elsewhere the nearest, by search.
            const double magnitude = std::fabs(static_cast<double>(value));
            const uint64_t sign = std::signbit(value) ? 0x8000 : 0;
            if (magnitude >= 65504) return sign | 0x7bff;
            uint64_t low = 0, high = 0x7bff;
            while (high - low > 1) {
                const uint64_t middle = (low + high) / 2;
                (f16_of(middle) <= magnitude ? low : high) = middle;
            }
            const double to_low = magnitude - f16_of(low), to_high = f16_of(high) - magnitude;
            const bool takes_low = to_low < to_high || (to_low == to_high && (low & 1) == 0);
            return sign | (takes_low ? low : high);
        });
}

}  // namespace

const std::vector<InstructionCase>& later_cases() {
    static const std::vector<InstructionCase> cases = [] {
        LaterTable table;
        table.carries();
        table.pairs();
        table.small_products();
        table.bits();
        table.sets();
        return table.take();
    }();
    return cases;
}

}  // namespace fattn::vgpu
