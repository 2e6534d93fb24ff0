// What becomes of NaNs, infinities, zeros and subnormal numbers, bit by bit.
#include "cases/cases.h"
#include "cases/probes.h"

namespace fattn::vgpu {
namespace {

constexpr uint32_t kTellingF32[] = {0x7fc00000, 0xffc00000, 0x7fc12345, 0xffd23456, 0x7f800001,
                                    0xff812345, 0x7fbfffff, 0x7fffffff, 0xffffffff, 0x7f800000,
                                    0xff800000, 0x00000000, 0x80000000, 0x3f800000, 0xc0800000,
                                    0x00000200, 0x80000200, 0x41800000};
constexpr uint64_t kTellingF64[] = {
    0x7ff8000000000000, 0xfff8000000000000, 0x7ff8000000000001, 0xfff812345678abcd,
    0x7ff0000000000001, 0xfff0000000000001, 0x7ff0000020000000, 0x7ff000001fffffff,
    0x7ff00000e0000000, 0x7ff7ffffffffffff, 0xffffffffffffffff, 0x7fffffffffffffff,
    0x7ff123456789abcd, 0xfff923456789abcd, 0x7ff0000000000000, 0xfff0000000000000,
    0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xc010000000000000,
    0x0000000000000001, 0x8000000000000001, 0x3810000000000001, 0x47efffffffffffff,
    0x36a0000000000000, 0x3690000000000001};
constexpr uint16_t kTellingF16[] = {0x7e00, 0xfe00, 0x7e12, 0xff34, 0x7c01, 0xfc02, 0x7dff, 0x7fff,
                                    0xffff, 0x7c00, 0xfc00, 0x0000, 0x8000, 0x3c00, 0xc400, 0x0040};
constexpr uint16_t kTellingBf16[] = {0x7fc0, 0xffc0, 0x7fd2, 0xffe3, 0x7f81, 0xff82,
                                     0x7fbf, 0x7fff, 0xffff, 0x7f80, 0xff80, 0x0000,
                                     0x8000, 0x3f80, 0xc080, 0x0008};

template <class T, size_t n>
T telling(const T (&values)[n], Draw& draw) {
    return values[draw.below(n)];
}

// Letters as in InstructionCase, besides F and B for pairs of f16 and bf16, x for any word.
uint64_t telling_value(char type, Draw& draw) {
    switch (type) {
        case 'f':
            return telling(kTellingF32, draw);
        case 'g':
            return telling(kTellingF64, draw);
        case 'e':
            return telling(kTellingF16, draw);
        case 'r':
            return telling(kTellingBf16, draw);
        case 'F': {
            const uint64_t low = telling(kTellingF16, draw);
            return low | uint64_t{telling(kTellingF16, draw)} << 16;
        }
        case 'B': {
            const uint64_t low = telling(kTellingBf16, draw);
            return low | uint64_t{telling(kTellingBf16, draw)} << 16;
        }
        default:
            return draw.word();
    }
}

void add_nan(std::vector<Probe>& probes, const std::string& form, const std::string& types,
             const std::string& body = "") {
    InstructionCase one;
    one.name = form;
    for (size_t k = 0; k < 4; ++k) one.types[k] = k < types.size() ? types[k] : '-';
    one.body = body;
    if (body.empty()) {
        const char* operands[] = {"", " %d, %a;", " %d, %a, %b;", " %d, %a, %b, %c;"};
        one.body = form + operands[types.size() - 1];
    }
    Probe made;
    made.name = "nan." + form;
    made.text = case_ptx(one);
    made.grid[0] = kCaseInputs / 128;
    made.block[0] = 128;
    Draw draw(made.name);
    std::vector<uint32_t> in(6 * kCaseInputs, 0);
    for (size_t i = 0; i < kCaseInputs; ++i) {
        for (size_t k = 0; k < 3; ++k) {
            if (one.types[k + 1] == '-') continue;
            const uint64_t value = telling_value(one.types[k + 1], draw);
            in[2 * (k * kCaseInputs + i)] = static_cast<uint32_t>(value);
            in[2 * (k * kCaseInputs + i) + 1] = static_cast<uint32_t>(value >> 32);
        }
    }
    made.buffers = {in, std::vector<uint32_t>(2 * kCaseInputs, 0)};
    made.take_buffer(0);
    made.take_buffer(1);
    probes.push_back(made);
}

void add_f32_nans(std::vector<Probe>& probes) {
    for (const std::string form : {"add.f32",
                                   "sub.f32",
                                   "mul.f32",
                                   "add.ftz.f32",
                                   "mul.ftz.f32",
                                   "add.sat.f32",
                                   "mul.rz.f32",
                                   "div.rn.f32",
                                   "min.f32",
                                   "max.f32",
                                   "min.NaN.f32",
                                   "max.NaN.f32",
                                   "min.ftz.f32",
                                   "max.ftz.NaN.f32",
                                   "min.xorsign.abs.f32",
                                   "max.NaN.xorsign.abs.f32",
                                   "copysign.f32",
                                   "div.approx.f32",
                                   "div.full.f32",
                                   "div.approx.ftz.f32"})
        add_nan(probes, form, "fff");
    for (const std::string form : {"fma.rn.f32", "fma.rn.ftz.f32", "fma.rn.sat.f32", "fma.rz.f32"})
        add_nan(probes, form, "ffff");
    for (const std::string form : {"neg.f32",          "abs.f32",
                                   "neg.ftz.f32",      "abs.ftz.f32",
                                   "rcp.rn.f32",       "sqrt.rn.f32",
                                   "rcp.rn.ftz.f32",   "sqrt.rn.ftz.f32",
                                   "ex2.approx.f32",   "ex2.approx.ftz.f32",
                                   "lg2.approx.f32",   "lg2.approx.ftz.f32",
                                   "rcp.approx.f32",   "rcp.approx.ftz.f32",
                                   "rsqrt.approx.f32", "rsqrt.approx.ftz.f32",
                                   "sqrt.approx.f32",  "sqrt.approx.ftz.f32",
                                   "cvt.rni.f32.f32",  "cvt.rzi.ftz.f32.f32",
                                   "cvt.sat.f32.f32",  "cvt.ftz.f32.f32"})
        add_nan(probes, form, "ff");
    for (const std::string form : {"cvt.rna.tf32.f32", "cvt.rn.tf32.f32", "cvt.rz.tf32.f32",
                                   "cvt.rn.relu.tf32.f32", "cvt.rzi.s32.f32", "cvt.rni.u32.f32"})
        add_nan(probes, form, "xf");
    for (const std::string form : {"cvt.rzi.s64.f32", "cvt.rpi.u64.f32", "cvt.f64.f32"})
        add_nan(probes, form, "gf");
    for (const std::string form : {"cvt.rn.f16.f32", "cvt.rz.f16.f32", "cvt.rn.ftz.f16.f32",
                                   "cvt.rn.sat.f16.f32", "cvt.rn.relu.f16.f32"})
        add_nan(probes, form, "ef");
    for (const std::string form : {"cvt.rn.bf16.f32", "cvt.rz.bf16.f32", "cvt.rn.relu.bf16.f32"})
        add_nan(probes, form, "rf");
    for (const std::string form : {"cvt.rn.f16x2.f32", "cvt.rn.bf16x2.f32", "cvt.rz.f16x2.f32",
                                   "cvt.rn.relu.f16x2.f32", "cvt.rn.relu.bf16x2.f32"})
        add_nan(probes, form, "xff");
    for (const std::string form :
         {"cvt.rn.satfinite.e4m3x2.f32", "cvt.rn.satfinite.e5m2x2.f32",
          "cvt.rn.satfinite.relu.e4m3x2.f32", "cvt.rn.satfinite.relu.e5m2x2.f32"})
        add_nan(probes, form, "eff");
}

void add_f64_nans(std::vector<Probe>& probes) {
    for (const std::string form :
         {"add.f64", "sub.f64", "mul.f64", "div.rn.f64", "min.f64", "max.f64"})
        add_nan(probes, form, "ggg");
    add_nan(probes, "fma.rn.f64", "gggg");
    for (const std::string form :
         {"neg.f64", "abs.f64", "sqrt.rn.f64", "rcp.rn.f64", "cvt.rni.f64.f64", "cvt.rzi.f64.f64"})
        add_nan(probes, form, "gg");
    for (const std::string form : {"cvt.rn.f32.f64", "cvt.rz.f32.f64", "cvt.rm.f32.f64",
                                   "cvt.rp.f32.f64", "cvt.rn.ftz.f32.f64", "cvt.rn.sat.f32.f64"})
        add_nan(probes, form, "fg");
    add_nan(probes, "cvt.rn.f16.f64", "eg");
    for (const std::string form : {"cvt.rzi.s32.f64", "cvt.rni.u32.f64"})
        add_nan(probes, form, "xg");
    for (const std::string form : {"cvt.rzi.s64.f64", "cvt.rni.u64.f64"})
        add_nan(probes, form, "gg");
}

void add_half_nans(std::vector<Probe>& probes) {
    const struct {
        const char* type;
        char letter;
        bool is_pair, is_f16;
    } types[] = {{"f16", 'e', false, true},
                 {"bf16", 'r', false, false},
                 {"f16x2", 'F', true, true},
                 {"bf16x2", 'B', true, false}};
    for (const auto& [type, letter, is_pair, is_f16] : types) {
        const auto add = [&](const std::string& form, size_t sources) {
            add_nan(probes, form + "." + type, std::string(1 + sources, letter));
        };
        for (const std::string form : {"add", "sub", "mul", "min", "max", "min.NaN", "max.NaN",
                                       "min.NaN.xorsign.abs", "max.xorsign.abs"})
            add(form, 2);
        for (const std::string form : {"fma.rn", "fma.rn.relu"}) add(form, 3);
        for (const std::string form : {"neg", "abs"}) add(form, 1);
        add("tanh.approx", 1);
        add(is_f16 ? "ex2.approx" : "ex2.approx.ftz", 1);
        if (!is_f16) continue;
        for (const std::string form : {"add.ftz", "mul.sat", "min.ftz", "max.ftz.NaN"})
            add(form, 2);
        for (const std::string form : {"fma.rn.ftz", "fma.rn.sat", "fma.rn.ftz.relu"}) add(form, 3);
    }
    for (const std::string form : {"cvt.f32.f16", "cvt.ftz.f32.f16", "cvt.sat.f32.f16"})
        add_nan(probes, form, "fe");
    add_nan(probes, "cvt.f32.bf16", "fr");
    add_nan(probes, "cvt.f64.f16", "ge");
    for (const std::string form : {"cvt.rzi.s32.f16", "cvt.rni.u32.f16"})
        add_nan(probes, form, "xe");
    add_nan(probes, "cvt.rni.f16.f16", "ee");
    for (const std::string form :
         {"cvt.rn.satfinite.e4m3x2.f16x2", "cvt.rn.satfinite.e5m2x2.f16x2"})
        add_nan(probes, form, "eF");
    for (const std::string type : {"e4m3x2", "e5m2x2"}) {
        for (const std::string relu : {"", ".relu"})
            add_nan(
                probes, "cvt.rn" + relu + ".f16x2." + type, "xx",
                "{ .reg .b16 h; cvt.u16.u32 h, %a; cvt.rn" + relu + ".f16x2." + type + " %d, h; }");
    }
}

}  // namespace

void add_nans(std::vector<Probe>& probes) {
    add_f32_nans(probes);
    add_f64_nans(probes);
    add_half_nans(probes);
}

}  // namespace fattn::vgpu
