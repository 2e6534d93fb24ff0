// Single instructions for every width and type, made from a few rules: integers in 128 bits, floats
// in f64. No GPU has run them yet; cases.cpp has those that one has.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "cases/cases.h"

namespace fattn::vgpu {
namespace {

using Values = uint64_t;
__extension__ typedef __int128 Wide;
__extension__ typedef unsigned __int128 UnsignedWide;

struct Integer {
    const char* name;
    char letter;
    uint32_t bits;
    bool is_signed;

    Wide value(Values v) const {
        const uint32_t unused = 64 - bits;
        return is_signed ? Wide{static_cast<int64_t>(v << unused) >> unused}
                         : Wide{v << unused >> unused};
    }
    Values made(Wide v) const { return static_cast<uint64_t>(v) << (64 - bits) >> (64 - bits); }
    Wide lowest() const { return is_signed ? -(Wide{1} << (bits - 1)) : Wide{0}; }
    Wide highest() const { return (Wide{1} << (is_signed ? bits - 1 : bits)) - 1; }
};

constexpr Integer kIntegers[] = {{"u16", 'h', 16, false}, {"s16", 'h', 16, true},
                                 {"u32", 'w', 32, false}, {"s32", 'w', 32, true},
                                 {"u64", 'q', 64, false}, {"s64", 'q', 64, true}};

float further_f32(Values bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits)); }
double further_f64(Values bits) { return std::bit_cast<double>(bits); }
Values bits_of(float v) { return std::isnan(v) ? 0x7fffffff : std::bit_cast<uint32_t>(v); }

class Table {
  public:
    using Expected = std::function<uint64_t(uint64_t, uint64_t, uint64_t)>;

    void add(const std::string& name, const std::string& body, const std::string& types,
             Expected expected) {
        cases_.push_back(
            {name, body, {types[0], types[1], types[2], types[3]}, std::move(expected), {}, 0, 0});
    }
    void integers();
    void bits();
    void comparisons();
    void conversions();
    void doubles();
    std::vector<InstructionCase> take() { return std::move(cases_); }

  private:
    std::vector<InstructionCase> cases_;
};

std::string repeated(char letter, size_t sources) {
    return std::string(1 + sources, letter) + std::string(3 - sources, '-');
}

void Table::integers() {
    for (const Integer& t : kIntegers) {
        const std::string type = t.name, width = std::to_string(t.bits);
        const auto two = [&](const std::string& name, auto f) {
            add(name + "." + type, name + "." + type + " %d, %a, %b;", repeated(t.letter, 2),
                [t, f](auto a, auto b, auto) { return t.made(f(t.value(a), t.value(b))); });
        };
        two("add", [](Wide a, Wide b) { return a + b; });
        two("sub", [](Wide a, Wide b) { return a - b; });
        two("min", [](Wide a, Wide b) { return std::min(a, b); });
        two("max", [](Wide a, Wide b) { return std::max(a, b); });
        add("mul.lo." + type, "mul.lo." + type + " %d, %a, %b;", repeated(t.letter, 2),
            [t](auto a, auto b, auto) {
                return t.made(static_cast<Wide>(static_cast<UnsignedWide>(t.value(a)) *
                                                static_cast<UnsignedWide>(t.value(b))));
            });
        add("mul.hi." + type, "mul.hi." + type + " %d, %a, %b;", repeated(t.letter, 2),
            [t](auto a, auto b, auto) {
                if (t.is_signed) return t.made(t.value(a) * t.value(b) >> t.bits);
                return t.made(static_cast<Wide>(static_cast<UnsignedWide>(t.value(a)) *
                                                    static_cast<UnsignedWide>(t.value(b)) >>
                                                t.bits));
            });
        add("mad.lo." + type, "mad.lo." + type + " %d, %a, %b, %c;", repeated(t.letter, 3),
            [t](auto a, auto b, auto c) {
                return t.made(static_cast<Wide>(static_cast<UnsignedWide>(t.value(a)) *
                                                    static_cast<UnsignedWide>(t.value(b)) +
                                                static_cast<UnsignedWide>(t.value(c))));
            });
        for (const std::string name : {"div", "rem"}) {
            const bool remainder = name == "rem";
            add(name + "." + type,
                "{ .reg .b" + width + " x; or.b" + width + " x, %b, 1; " + name + "." + type +
                    " %d, %a, x; }",
                repeated(t.letter, 2), [t, remainder](auto a, auto b, auto) {
                    const Wide y = t.value(b | 1);
                    return t.made(remainder ? t.value(a) % y : t.value(a) / y);
                });
        }
        add("shr." + type, "shr." + type + " %d, %a, %b;",
            std::string{t.letter, t.letter, 'w', '-'}, [t](auto a, auto b, auto) {
                return t.made(t.value(a) >> std::min<uint64_t>(b & 0xffffffff, t.bits));
            });
        if (!t.is_signed) continue;
        add("neg." + type, "neg." + type + " %d, %a;", repeated(t.letter, 1),
            [t](auto a, auto, auto) { return t.made(-t.value(a)); });
        add("abs." + type, "abs." + type + " %d, %a;", repeated(t.letter, 1),
            [t](auto a, auto, auto) { return t.made(t.value(a) < 0 ? -t.value(a) : t.value(a)); });
    }
}

void Table::bits() {
    for (const Integer& t : kIntegers) {
        if (t.is_signed) continue;
        const std::string type = "b" + std::to_string(t.bits);
        const auto two = [&](const std::string& name, auto f) {
            add(name + "." + type, name + "." + type + " %d, %a, %b;", repeated(t.letter, 2),
                [f](auto a, auto b, auto) -> uint64_t { return f(a, b); });
        };
        two("and", [](auto a, auto b) { return a & b; });
        two("or", [](auto a, auto b) { return a | b; });
        two("xor", [](auto a, auto b) { return a ^ b; });
        add("not." + type, "not." + type + " %d, %a;", repeated(t.letter, 1),
            [t](auto a, auto, auto) { return t.made(~Wide{a}); });
        add("cnot." + type, "cnot." + type + " %d, %a;", repeated(t.letter, 1),
            [](auto a, auto, auto) { return uint64_t{a == 0}; });
        add("shl." + type, "shl." + type + " %d, %a, %b;",
            std::string{t.letter, t.letter, 'w', '-'}, [t](auto a, auto b, auto) {
                return (b & 0xffffffff) >= t.bits ? 0 : t.made(Wide{a} << b);
            });
        add("selp." + type,
            "{ .reg .pred p; setp.lt.s32 p, %c, 0; selp." + type + " %d, %a, %b, p; }",
            std::string{t.letter, t.letter, t.letter, 'w'},
            [](auto a, auto b, auto c) { return c >> 31 & 1 ? a : b; });
        add("slct." + type, "slct." + type + ".s32 %d, %a, %b, %c;",
            std::string{t.letter, t.letter, t.letter, 'w'},
            [](auto a, auto b, auto c) { return c >> 31 & 1 ? b : a; });
        if (t.bits == 16) continue;
        add("popc." + type, "popc." + type + " %d, %a;", std::string{'w', t.letter, '-', '-'},
            [](auto a, auto, auto) { return static_cast<uint64_t>(std::popcount(a)); });
        add("clz." + type, "clz." + type + " %d, %a;", std::string{'w', t.letter, '-', '-'},
            [t](auto a, auto, auto) {
                return static_cast<uint64_t>(std::countl_zero(a)) - (64 - t.bits);
            });
        add("brev." + type, "brev." + type + " %d, %a;", repeated(t.letter, 1),
            [t](auto a, auto, auto) {
                uint64_t made = 0;
                for (uint32_t i = 0; i < t.bits; ++i) made |= (a >> i & 1) << (t.bits - 1 - i);
                return made;
            });
        // Bytes 0 of two registers: a place from 0 to 255 and a length from 0 to 255.
        add("bfi." + type,
            "{ .reg .b32 x, y; bfe.u32 x, %c, 0, 8; bfe.u32 y, %c, 8, 8; bfi." + type +
                " %d, %a, %b, x, y; }",
            std::string{t.letter, t.letter, t.letter, 'w'}, [t](auto a, auto b, auto c) {
                const uint64_t place = c & 255, length = c >> 8 & 255;
                uint64_t made = b;
                for (uint64_t i = 0; i < length && place + i < t.bits; ++i) {
                    made &= ~(uint64_t{1} << (place + i));
                    made |= (i < 64 ? a >> i & 1 : 0) << (place + i);
                }
                return made;
            });
    }
    for (const Integer& t : kIntegers) {
        if (t.bits == 16) continue;
        const std::string type = t.name;
        add("bfe." + type,
            "{ .reg .b32 x, y; bfe.u32 x, %b, 0, 8; bfe.u32 y, %b, 8, 8; bfe." + type +
                " %d, %a, x, y; }",
            std::string{t.letter, t.letter, 'w', '-'}, [t](auto a, auto b, auto) -> uint64_t {
                const uint64_t place = b & 255, length = b >> 8 & 255;
                const uint64_t last = std::min<uint64_t>(place + length - 1, t.bits - 1);
                if (length == 0) return 0;
                uint64_t made = 0;
                for (uint64_t i = 0; i < t.bits; ++i) {
                    const bool inside = i < length && place + i < t.bits;
                    const uint64_t from = inside ? place + i : last;
                    if (inside || t.is_signed) made |= (a >> from & 1) << i;
                }
                return made;
            });
        for (const bool shifts : {false, true}) {
            const std::string form = std::string("bfind.") + (shifts ? "shiftamt." : "") + type;
            add(form, form + " %d, %a;", std::string{'w', t.letter, '-', '-'},
                [t, shifts](auto a, auto, auto) -> uint64_t {
                    const Wide v = t.value(a);
                    const uint64_t magnitude = t.made(v < 0 ? ~v : v);
                    if (magnitude == 0) return 0xffffffff;
                    const auto top = static_cast<uint64_t>(std::bit_width(magnitude)) - 1;
                    return shifts ? t.bits - 1 - top : top;
                });
        }
    }
    add("mov.b32.halves", "mov.b32 %d, {%a, %b};", "whh-",
        [](auto a, auto b, auto) { return a | b << 16; });
    add("mov.b64.words", "mov.b64 %d, {%a, %b};", "qww-",
        [](auto a, auto b, auto) { return a | b << 32; });
    add("mov.halves.b64", "{ .reg .b16 x, y, z, u; mov.b64 {x, y, z, u}, %a; mov.b32 %d, {u, y}; }",
        "wq--", [](auto a, auto, auto) { return a >> 48 | (a >> 16 & 0xffff) << 16; });
    add("mov.words.b64", "{ .reg .b32 x, y; mov.b64 {x, y}, %a; mov.b64 %d, {y, x}; }", "qq--",
        [](auto a, auto, auto) { return a >> 32 | a << 32; });
    add("dp4a.u32.u32", "dp4a.u32.u32 %d, %a, %b, %c;", "wwww", [](auto a, auto b, auto c) {
        for (int i = 0; i < 4; ++i) c += (a >> 8 * i & 255) * (b >> 8 * i & 255);
        return c & 0xffffffff;
    });
    add("dp2a.lo.s32.u32", "dp2a.lo.s32.u32 %d, %a, %b, %c;", "wwww", [](auto a, auto b, auto c) {
        for (int i = 0; i < 2; ++i) {
            c += static_cast<uint64_t>(static_cast<int16_t>(a >> 16 * i)) * (b >> 8 * i & 255);
        }
        return c & 0xffffffff;
    });
    // Which bytes of the eight in {b, a} a step of these modes takes.
    const struct {
        const char* mode;
        int (*byte)(int i, int c);
    } modes[] = {{"f4e", [](int i, int c) { return c + i; }},
                 {"b4e", [](int i, int c) { return (c - i) & 7; }},
                 {"rc8", [](int, int c) { return c; }},
                 {"ecl", [](int i, int c) { return std::max(i, c); }},
                 {"ecr", [](int i, int c) { return std::min(i, c); }}};
    for (const auto& [mode, byte] : modes) {
        add(std::string("prmt.") + mode, std::string("prmt.b32.") + mode + " %d, %a, %b, %c;",
            "wwww", [byte = byte](auto a, auto b, auto c) {
                uint64_t made = 0;
                for (int i = 0; i < 4; ++i) {
                    made |= ((b << 32 | a) >> 8 * byte(i, static_cast<int>(c & 3)) & 255) << 8 * i;
                }
                return made;
            });
    }
}

void Table::comparisons() {
    const auto flag = [](const std::string& form) {
        return "{ .reg .pred p; " + form + " p, %a, %b; selp.u32 %d, 1, 0, p; }";
    };
    const auto ordered = [](const std::string& name, auto a, auto b) {
        if (name == "eq") return a == b;
        if (name == "ne") return a != b;
        if (name == "lt" || name == "lo") return a < b;
        if (name == "le" || name == "ls") return a <= b;
        if (name == "gt" || name == "hi") return a > b;
        return a >= b;
    };
    for (const Integer& t : kIntegers) {
        std::vector<std::string> names = {"eq", "ne", "lt", "le", "gt", "ge"};
        if (!t.is_signed) names.insert(names.end(), {"lo", "ls", "hi", "hs"});
        for (const std::string& name : names) {
            const std::string form = "setp." + name + "." + t.name;
            add(form, flag(form), std::string{'w', t.letter, t.letter, '-'},
                [=](auto a, auto b, auto) {
                    return uint64_t{ordered(name, t.value(a), t.value(b))};
                });
        }
    }
    for (const std::string type : {"f32", "f64"}) {
        const char letter = type == "f64" ? 'g' : 'f';
        const auto value = [type](Values v) {
            return type == "f64" ? further_f64(v) : double{further_f32(v)};
        };
        for (const std::string name : {"eq", "ne", "lt", "le", "gt", "ge"}) {
            for (const bool unordered : {false, true}) {
                const std::string form = "setp." + name + (unordered ? "u." : ".") + type;
                add(form, flag(form), std::string{'w', letter, letter, '-'},
                    [=](auto a, auto b, auto) {
                        const double x = value(a), y = value(b);
                        if (std::isnan(x) || std::isnan(y)) return uint64_t{unordered};
                        return uint64_t{ordered(name, x, y)};
                    });
            }
        }
        for (const std::string name : {"num", "nan"}) {
            const std::string form = "setp." + name + "." + type;
            add(form, flag(form), std::string{'w', letter, letter, '-'}, [=](auto a, auto b, auto) {
                return uint64_t{(std::isnan(value(a)) || std::isnan(value(b))) == (name == "nan")};
            });
        }
    }
    // Both destinations, with a predicate that joins in.
    for (const std::string name : {"and", "or", "xor"}) {
        add("setp.lt." + name,
            "{ .reg .pred p, q, r; .reg .b32 x; setp.ge.s32 r, %c, 0; setp.lt." + name +
                ".s32 p|q, %a, %b, r; selp.u32 %d, 1, 0, p; selp.u32 x, 2, 0, q; or.b32 %d, %d, x; "
                "}",
            "wwww", [name](auto a, auto b, auto c) {
                const bool less = static_cast<int32_t>(a) < static_cast<int32_t>(b);
                const bool other = static_cast<int32_t>(c) >= 0;
                const auto joined = [&](bool x) {
                    return name == "and" ? x && other : name == "or" ? x || other : x != other;
                };
                return uint64_t{joined(less)} | uint64_t{joined(!less)} << 1;
            });
    }
}

void Table::conversions() {
    for (const Integer& from : kIntegers) {
        for (const Integer& to : kIntegers) {
            for (const bool saturates : {false, true}) {
                // ptxas takes .sat only where there is something to clamp.
                const bool holds_all =
                    to.lowest() <= from.lowest() && to.highest() >= from.highest();
                if (saturates && holds_all) continue;
                const std::string form =
                    std::string(saturates ? "cvt.sat." : "cvt.") + to.name + "." + from.name;
                add(form, form + " %d, %a;", std::string{to.letter, from.letter, '-', '-'},
                    [=](auto a, auto, auto) {
                        const Wide v = from.value(a);
                        return to.made(saturates ? std::clamp(v, to.lowest(), to.highest()) : v);
                    });
            }
        }
        for (const std::string mode : {"rni", "rzi", "rmi", "rpi"}) {
            const std::string form = "cvt." + mode + "." + from.name + ".f32";
            add(form, form + " %d, %a;", std::string{from.letter, 'f', '-', '-'},
                [from, mode](auto a, auto, auto) -> uint64_t {
                    const double v = further_f32(a);
                    if (std::isnan(v)) return from.bits == 64 ? uint64_t{1} << 63 : 0;
                    const double whole = mode == "rni"   ? std::nearbyint(v)
                                         : mode == "rzi" ? std::trunc(v)
                                         : mode == "rmi" ? std::floor(v)
                                                         : std::ceil(v);
                    if (whole >= 0x1p64) return from.made(from.highest());
                    if (whole <= -0x1p63) return from.made(from.lowest());
                    return from.made(
                        std::clamp(static_cast<Wide>(whole), from.lowest(), from.highest()));
                });
        }
        for (const std::string mode : {"rn", "rz", "rm", "rp"}) {
            const std::string form = "cvt." + mode + ".f32." + from.name;
            add(form, form + " %d, %a;", std::string{'f', from.letter, '-', '-'},
                [from, mode](auto a, auto, auto) {
                    // The nearest, then a step back where it lies on the wrong side.
                    const Wide v = from.value(a);
                    float made = from.is_signed ? static_cast<float>(static_cast<int64_t>(v))
                                                : static_cast<float>(static_cast<uint64_t>(v));
                    const auto exact = static_cast<Wide>(made);
                    const float up = std::numeric_limits<float>::infinity();
                    const bool down = mode == "rm" || (mode == "rz" && v > 0),
                               upward = mode == "rp" || (mode == "rz" && v < 0);
                    if (down && exact > v) made = std::nextafter(made, -up);
                    if (upward && exact < v) made = std::nextafter(made, up);
                    return bits_of(made);
                });
        }
    }
    add("cvt.f64.f32", "cvt.f64.f32 %d, %a;", "gf--", [](auto a, auto, auto) {
        return std::isnan(further_f32(a)) ? 0x7ff8000000000000
                                          : std::bit_cast<uint64_t>(double{further_f32(a)});
    });
    cases_.back().body =
        "{ .reg .pred p; cvt.f64.f32 %d, %a; setp.nan.f32 p, %a, %a; selp.b64 %d, "
        "0x7ff8000000000000, %d, p; }";
    for (const std::string mode : {"rz", "rm", "rp"}) {
        add("cvt." + mode + ".f32.f64", "cvt." + mode + ".f32.f64 %d, %a;", "fg--",
            [mode](auto a, auto, auto) -> uint64_t {
                const double v = further_f64(a);
                if (std::isnan(v))
                    return (a >> 32 & 0x80000000) | 0x7fc00000 | (a >> 29 & 0x3fffff);
                float made = static_cast<float>(v);
                const float up = std::numeric_limits<float>::infinity();
                const bool down = mode == "rm" || (mode == "rz" && v > 0),
                           upward = mode == "rp" || (mode == "rz" && v < 0);
                if (down && double{made} > v) made = std::nextafter(made, -up);
                if (upward && double{made} < v) made = std::nextafter(made, up);
                return bits_of(made);
            });
    }
}

void Table::doubles() {
    const auto plain = [](double v) {
        return std::isnan(v) ? uint64_t{0} : std::bit_cast<uint64_t>(v);
    };
    const auto add_f64 = [&](const std::string& form, size_t sources, auto f) {
        const char* operands[] = {"", " %d, %a;", " %d, %a, %b;", " %d, %a, %b, %c;"};
        add(form,
            "{ .reg .pred p; " + form + operands[sources] +
                " setp.nan.f64 p, %d, %d; selp.b64 %d, 0, %d, p; }",
            repeated('g', sources), [=](auto a, auto b, auto c) {
                return plain(f(further_f64(a), further_f64(b), further_f64(c)));
            });
    };
    add_f64("sub.rn.f64", 2, [](double a, double b, double) { return a - b; });
    add_f64("mul.rn.f64", 2, [](double a, double b, double) { return a * b; });
    add_f64("div.rn.f64", 2, [](double a, double b, double) { return a / b; });
    add_f64("fma.rn.f64", 3, [](double a, double b, double c) { return std::fma(a, b, c); });
    add_f64("sqrt.rn.f64", 1, [](double a, double, double) { return std::sqrt(a); });
    add_f64("rcp.rn.f64", 1, [](double a, double, double) { return 1 / a; });
    add_f64("abs.f64", 1, [](double a, double, double) { return std::fabs(a); });
    add_f64("neg.f64", 1, [](double a, double, double) { return -a; });
    for (const std::string name : {"min", "max"}) {
        add_f64(name + ".f64", 2, [name](double a, double b, double) {
            if (std::isnan(a) || std::isnan(b)) return std::isnan(a) ? b : a;
            if (a == b) return std::signbit(a) == (name == "min") ? a : b;
            return (a < b) == (name == "min") ? a : b;
        });
    }
    add("neg.f32", "neg.f32 %d, %a;", "ff--",
        [](auto a, auto, auto) { return bits_of(-further_f32(a)); });
    add("abs.f32", "abs.f32 %d, %a;", "ff--",
        [](auto a, auto, auto) { return bits_of(std::fabs(further_f32(a))); });
    for (const auto& body : {"neg.f32", "abs.f32"}) {
        // A NaN's sign and payload are its own affair.
        InstructionCase& one = cases_[cases_.size() - (body[0] == 'n' ? 2 : 1)];
        one.body = "{ .reg .pred p; " + one.body +
                   " setp.nan.f32 p, %d, %d; selp.b32 %d, 0x7fffffff, %d, p; }";
    }
    add("copysign.f32", "copysign.f32 %d, %a, %b;", "fff-",
        [](auto a, auto b, auto) -> uint64_t { return (b & 0x7fffffff) | (a & 0x80000000); });
    const struct {
        const char* name;
        bool (*holds)(float);
    } properties[] = {
        {"finite", [](float v) { return std::isfinite(v); }},
        {"infinite", [](float v) { return std::isinf(v); }},
        {"number", [](float v) { return !std::isnan(v); }},
        {"notanumber", [](float v) { return std::isnan(v); }},
        // Zeros are normal.
        {"normal", [](float v) { return std::isnormal(v) || v == 0; }},
        {"subnormal", [](float v) { return v != 0 && std::isfinite(v) && !std::isnormal(v); }}};
    for (const auto& [name, holds] : properties) {
        add(std::string("testp.") + name,
            std::string("{ .reg .pred p; testp.") + name + ".f32 p, %a; selp.u32 %d, 1, 0, p; }",
            "wf--",
            [holds = holds](auto a, auto, auto) { return uint64_t{holds(further_f32(a))}; });
    }
}

}  // namespace

const std::vector<InstructionCase>& further_cases() {
    static const std::vector<InstructionCase> cases = [] {
        Table table;
        table.integers();
        table.bits();
        table.comparisons();
        table.conversions();
        table.doubles();
        return table.take();
    }();
    return cases;
}

}  // namespace fattn::vgpu
