// Texts and inputs of the cases, and how results are compared.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "cases/cases.h"

namespace fattn::vgpu {
namespace {

uint64_t mix(uint64_t z) {
    z += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

constexpr uint32_t kSpecialF32[] = {
    0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001,
    0x00000001, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x3f7fffff, 0x4f000000};
constexpr uint64_t kSpecialF64[] = {0,
                                    uint64_t{1} << 63,
                                    0x3ff0000000000000,
                                    0xbff0000000000000,
                                    0x7ff0000000000000,
                                    0xfff0000000000000,
                                    0x7fefffffffffffff,
                                    1,
                                    0x0010000000000000,
                                    0x41e0000000000000,
                                    0x43e0000000000000,
                                    0x47efffffffffffff};
constexpr uint16_t kSpecialF16[] = {0,      0x8000, 0x3c00, 0xbc00, 0x7c00, 0xfc00, 0x7e00,
                                    0x7c01, 1,      0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff};
constexpr uint16_t kSpecialBf16[] = {0,      0x8000, 0x3f80, 0xbf80, 0x7f80, 0xff80, 0x7fc0,
                                     0x7f81, 1,      0x8001, 0x007f, 0x0080, 0x7f7f, 0xff7f};

template <class T, size_t n>
T pick(const T (&values)[n], uint64_t random) {
    return values[random % n];
}

uint64_t value_of(char type, uint32_t i, uint64_t random) {
    const bool special = i % 4 == 0, moderate = i % 4 == 1;
    switch (type) {
        case 'f':
            if (special) return pick(kSpecialF32, random);
            if (moderate)
                return std::bit_cast<uint32_t>(
                    static_cast<float>(static_cast<int64_t>(random) >> 40) / 1024.0f);
            return static_cast<uint32_t>(random);
        case 'g':
            if (special) return pick(kSpecialF64, random);
            if (moderate)
                return std::bit_cast<uint64_t>(
                    static_cast<double>(static_cast<int64_t>(random) >> 20) / 1024.0);
            return random;
        case 'e':
            return special ? pick(kSpecialF16, random) : random & 0xffff;
        case 'r':
            return special ? pick(kSpecialBf16, random) : random & 0xffff;
        case 'h':
            return special ? (random & 1 ? 0x7fff + (random >> 1 & 1) : random >> 1 & 3)
                           : random & 0xffff;
        case 'w':
            return special ? (random & 1 ? 0x7fffffff + (random >> 1 & 1) : random >> 1 & 63)
                           : static_cast<uint32_t>(random);
        default:
            return special
                       ? (random & 1 ? 0x7fffffffffffffff + (random >> 1 & 1) : random >> 1 & 63)
                       : random;
    }
}

}  // namespace

uint32_t case_bytes(char type) {
    switch (type) {
        case 'h':
        case 'e':
        case 'r':
            return 2;
        case 'q':
        case 'g':
            return 8;
        case '-':
            return 0;
        default:
            return 4;
    }
}

std::string case_ptx(const InstructionCase& one) {
    std::string text =
        ".version 8.4\n.target sm_90\n.address_size 64\n.visible .entry run(.param .u64 in, .param "
        ".u64 out) {\n"
        "    .reg .b32 %i, %j; .reg .b64 %p, %q, %o;\n";
    const char* names[] = {"%d", "%a", "%b", "%c"};
    for (int k = 0; k < 4; ++k) {
        if (one.types[k] != '-')
            text += std::string("    .reg .b") + std::to_string(8 * case_bytes(one.types[k])) +
                    " " + names[k] + ";\n";
    }
    text +=
        "    ld.param.u64 %p, [in];\n    ld.param.u64 %q, [out];\n    mov.u32 %i, %ctaid.x;\n    "
        "mov.u32 %j, %ntid.x;\n"
        "    mul.lo.u32 %i, %i, %j;\n    mov.u32 %j, %tid.x;\n    add.u32 %i, %i, %j;\n    "
        "mul.wide.u32 %o, %i, 8;\n"
        "    add.u64 %p, %p, %o;\n    add.u64 %q, %q, %o;\n";
    for (int k = 1; k < 4; ++k) {
        if (one.types[k] == '-') continue;
        text += "    ld.global.b" + std::to_string(8 * case_bytes(one.types[k])) + " " + names[k] +
                ", [%p+" + std::to_string(8 * kCaseInputs * static_cast<uint32_t>(k - 1)) + "];\n";
    }
    text += "    " + one.body + "\n    st.global.b" + std::to_string(8 * case_bytes(one.types[0])) +
            " [%q], %d;\n    ret;\n}\n";
    return text;
}

std::vector<uint64_t> case_inputs(const InstructionCase& one) {
    uint64_t seed = 0;
    for (const char c : one.name) seed = mix(seed + static_cast<uint64_t>(c));
    std::vector<uint64_t> made(3 * kCaseInputs, 0);
    for (uint32_t i = 0; i < kCaseInputs; ++i) {
        if (one.real) {
            // The specials, then the range evenly, its ends among it.
            const double share = static_cast<double>(i) / (kCaseInputs - 1);
            made[i] = i < 16 ? kSpecialF32[i]
                             : std::bit_cast<uint32_t>(
                                   static_cast<float>(one.low + (one.high - one.low) * share));
            continue;
        }
        for (uint32_t k = 0; k < 3; ++k) {
            seed = mix(seed + 1);
            if (one.types[k + 1] != '-')
                made[k * kCaseInputs + i] = value_of(one.types[k + 1],
                                                     i / (k == 0   ? 1
                                                          : k == 1 ? 4
                                                                   : 16),
                                                     seed);
        }
    }
    return made;
}

uint64_t case_hash(const std::vector<uint64_t>& outputs) {
    uint64_t hash = 0xcbf29ce484222325;
    for (const uint64_t value : outputs) hash = mix(hash ^ value);
    return hash;
}

double ulp_error(float got, double exact) {
    if (std::isnan(got) || std::isnan(exact))
        return std::isnan(got) == std::isnan(exact) ? 0 : std::numeric_limits<double>::infinity();
    if (std::fabs(exact) > 3.4028235677973366e38)
        return std::isinf(got) && std::signbit(got) == std::signbit(exact)
                   ? 0
                   : std::numeric_limits<double>::infinity();
    int exponent = 0;
    std::frexp(exact, &exponent);
    const double unit = std::ldexp(1, std::max(exponent - 24, -149));
    return std::fabs(static_cast<double>(got) - exact) / unit;
}

std::string mma_ptx(const MmaCase& one) {
    const auto list = [](const char* name, uint32_t count) {
        std::string made = "{";
        for (uint32_t i = 0; i < count; ++i)
            made += (i ? "," : "") + std::string(name) + std::to_string(i);
        return made + "}";
    };
    std::string text =
        ".version 8.4\n.target sm_90\n.address_size 64\n.visible .entry run(.param .u64 in, .param "
        ".u64 out) {\n"
        "    .reg .b32 %i, %a<4>, %b<2>, %c<4>, %d<4>; .reg .b64 %p, %q, %o;\n"
        "    ld.param.u64 %p, [in];\n    ld.param.u64 %q, [out];\n    mov.u32 %i, %tid.x;\n"
        "    mul.wide.u32 %o, %i, 40;\n    add.u64 %p, %p, %o;\n    mul.wide.u32 %o, %i, 16;\n    "
        "add.u64 %q, %q, %o;\n";
    for (uint32_t i = 0; i < 4; ++i)
        text +=
            "    ld.global.b32 %a" + std::to_string(i) + ", [%p+" + std::to_string(4 * i) + "];\n";
    for (uint32_t i = 0; i < 2; ++i)
        text += "    ld.global.b32 %b" + std::to_string(i) + ", [%p+" + std::to_string(16 + 4 * i) +
                "];\n";
    for (uint32_t i = 0; i < 4; ++i)
        text += "    ld.global.b32 %c" + std::to_string(i) + ", [%p+" + std::to_string(24 + 4 * i) +
                "];\n";
    for (uint32_t i = 0; i < 4; ++i) text += "    mov.b32 %d" + std::to_string(i) + ", 0;\n";
    text += "    mma.sync.aligned." + one.shape + ".row.col." + one.types + " " +
            list("%d", one.d_words) + ", " + list("%a", one.a_words) + ", " +
            list("%b", one.b_words) + ", " + list("%c", one.c_words) + ";\n";
    for (uint32_t i = 0; i < 4; ++i)
        text +=
            "    st.global.b32 [%q+" + std::to_string(4 * i) + "], %d" + std::to_string(i) + ";\n";
    return text + "    ret;\n}\n";
}

// Probe 0: values near one; 1 and 2: exponents spread wider and wider; 3: large cancelling; 4: with
// a large accumulator; 5: tiny values.
std::vector<uint32_t> mma_inputs(const MmaCase& one, uint32_t probe) {
    uint64_t seed = mix(probe + 1);
    for (const char c : one.name) seed = mix(seed + static_cast<uint64_t>(c));
    const auto random = [&] { return seed = mix(seed + 1); };
    const auto spread = [&](int widest) {
        const int widths[] = {1, 6, 12, 4, 3, 5};
        const int exponent =
            static_cast<int>(random() %
                             static_cast<uint64_t>(2 * std::min(widths[probe], widest) + 1)) -
            std::min(widths[probe], widest) - (probe == 5 ? 6 : 0);
        const double mantissa = 1 + static_cast<double>(random() >> 12) * 0x1p-52;
        return (random() & 1 ? -mantissa : mantissa) * std::ldexp(1, exponent);
    };
    const auto element = [&]() -> uint32_t {
        switch (one.element) {
            case 'e': {
                const auto bits = std::bit_cast<uint32_t>(static_cast<float>(spread(12)));
                return (bits >> 16 & 0x8000) | (((bits >> 13) - (112u << 10)) & 0x7fff);
            }
            case 'r':
                return std::bit_cast<uint32_t>(static_cast<float>(spread(12))) >> 16;
            case 't':
                return std::bit_cast<uint32_t>(static_cast<float>(spread(12))) & 0xffffe000;
            case '3':
                return static_cast<uint32_t>((random() & 1) << 7 | (2 + random() % 12) << 3 |
                                             (random() & 7));
            case '5':
                return static_cast<uint32_t>((random() & 1) << 7 | (10 + random() % 10) << 2 |
                                             (random() & 3));
            default:
                return random() & 255;
        }
    };
    const uint32_t per = one.element == 't' ? 1 : one.element == 'e' || one.element == 'r' ? 2 : 4;
    const uint32_t bits = 32 / per;
    std::vector<uint32_t> made(320, 0);
    for (uint32_t lane = 0; lane < 32; ++lane) {
        for (uint32_t word = 0; word < 6; ++word) {
            for (uint32_t i = 0; i < per; ++i) made[lane * 10 + word] |= element() << (bits * i);
        }
        for (uint32_t word = 6; word < 10; ++word) {
            const bool integer = one.element == 'u' || one.element == 's';
            const double scale = probe == 4 ? 1024 : probe == 3 ? 0 : 1;
            if (integer) {
                made[lane * 10 + word] = static_cast<uint32_t>(random()) >> (probe == 4 ? 0 : 8);
            } else if (one.c_words == 2) {
                const auto half = [&] {
                    const auto value =
                        static_cast<float>(1 + static_cast<double>(random() >> 40) * 0x1p-24);
                    return ((std::bit_cast<uint32_t>(value) >> 13) - (112u << 10)) & 0x7fff;
                };
                const uint32_t low = half();
                made[lane * 10 + word] = low | half() << 16;
            } else {
                made[lane * 10 + word] =
                    std::bit_cast<uint32_t>(static_cast<float>(spread(12) * scale));
            }
        }
    }
    return made;
}

const std::vector<MmaCase>& mma_cases() {
    static const std::vector<MmaCase> cases = {
        {"f16.k16", "f32.f16.f16.f32", "m16n8k16", 4, 2, 4, 4, 'e'},
        {"f16.k8", "f32.f16.f16.f32", "m16n8k8", 2, 1, 4, 4, 'e'},
        {"f16.k16.f16", "f16.f16.f16.f16", "m16n8k16", 4, 2, 2, 2, 'e'},
        {"bf16.k16", "f32.bf16.bf16.f32", "m16n8k16", 4, 2, 4, 4, 'r'},
        {"bf16.k8", "f32.bf16.bf16.f32", "m16n8k8", 2, 1, 4, 4, 'r'},
        {"tf32.k8", "f32.tf32.tf32.f32", "m16n8k8", 4, 2, 4, 4, 't'},
        {"tf32.k4", "f32.tf32.tf32.f32", "m16n8k4", 2, 1, 4, 4, 't'},
        {"e4m3.k32", "f32.e4m3.e4m3.f32", "m16n8k32", 4, 2, 4, 4, '3'},
        {"e5m2.k32", "f32.e5m2.e5m2.f32", "m16n8k32", 4, 2, 4, 4, '5'},
        {"u8.k32", "s32.u8.u8.s32", "m16n8k32", 4, 2, 4, 4, 'u'},
        {"s8.k32", "s32.s8.s8.s32", "m16n8k32", 4, 2, 4, 4, 's'},
        {"s8.k16", "s32.s8.s8.s32", "m16n8k16", 2, 1, 4, 4, 's'},
    };
    return cases;
}

}  // namespace fattn::vgpu
