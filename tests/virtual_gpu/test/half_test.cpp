// Arithmetic of 16-bit floats against tables of all their values, and hints that change nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "test/device.h"

namespace fattn::vgpu::test::halves {
namespace {

constexpr uint32_t kThreads = 256;

// A format by what its bits mean; results are found among all of its values.
class Table {
  public:
    Table(int exponent_bits, int mantissa_bits)
        : exponent_bits_(exponent_bits), mantissa_bits_(mantissa_bits) {
        for (uint32_t bits = 0; value(static_cast<uint16_t>(bits)) < HUGE_VAL; ++bits)
            finite_.push_back(value(static_cast<uint16_t>(bits)));
    }

    double value(uint16_t bits) const {
        const int bias = (1 << (exponent_bits_ - 1)) - 1;
        const int exponent = (bits & 0x7fff) >> mantissa_bits_;
        const int mantissa = bits & ((1 << mantissa_bits_) - 1);
        double made = exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits_)
                                    : std::ldexp(mantissa + (1 << mantissa_bits_),
                                                 exponent - bias - mantissa_bits_);
        if (exponent == (1 << exponent_bits_) - 1) made = mantissa ? NAN : HUGE_VAL;
        return bits & 0x8000 ? -made : made;
    }

    // Nearest, ties to even; 0x7fff for a NaN.
    uint16_t bits(double of) const {
        if (std::isnan(of)) return 0x7fff;
        const uint16_t sign = std::signbit(of) ? 0x8000 : 0;
        const double size = std::fabs(of);
        const auto above = std::lower_bound(finite_.begin(), finite_.end(), size);
        auto at = static_cast<size_t>(above - finite_.begin());
        if (at == finite_.size()) {
            // Half a step past the largest is infinite.
            const double last = finite_.back(), step = last - finite_[finite_.size() - 2];
            return static_cast<uint16_t>(sign | (size - last < step / 2 ? at - 1 : at));
        }
        if (at > 0) {
            const double down = size - finite_[at - 1], up = finite_[at] - size;
            if (down < up || (down == up && (at & 1))) --at;
        }
        return static_cast<uint16_t>(sign | at);
    }

  private:
    int exponent_bits_, mantissa_bits_;
    std::vector<double> finite_;
};

const Table kF16(5, 10), kBf16(8, 7);

using Definition = std::function<double(double, double, double)>;

struct Case {
    const char* opcode;
    uint32_t sources;
    Definition of;
};

double lesser(double a, double b) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) ? b : a;
    if (a == b) return std::signbit(a) ? a : b;
    return std::min(a, b);
}

std::vector<Case> cases() {
    return {
        {"add.rn", 2, [](double a, double b, double) { return a + b; }},
        {"sub.rn", 2, [](double a, double b, double) { return a - b; }},
        {"mul.rn", 2, [](double a, double b, double) { return a * b; }},
        {"fma.rn", 3, [](double a, double b, double c) { return a * b + c; }},
        {"fma.rn.relu", 3,
         [](double a, double b, double c) {
             const double made = a * b + c;
             return made < 0 ? 0.0 : made;
         }},
        {"min", 2, [](double a, double b, double) { return lesser(a, b); }},
        {"max", 2, [](double a, double b, double) { return -lesser(-a, -b); }},
        {"min.NaN", 2,
         [](double a, double b, double) {
             return std::isnan(a) || std::isnan(b) ? NAN : lesser(a, b);
         }},
        {"neg", 1, [](double a, double, double) { return -a; }},
        {"abs", 1, [](double a, double, double) { return std::fabs(a); }},
    };
}

std::vector<uint32_t> run(const std::string& instruction, bool wide,
                          const std::vector<uint32_t>& inputs) {
    const std::string text = R"(.version 8.4
.target sm_90
.address_size 64
.visible .entry run(.param .u64 in, .param .u64 out) {
    .reg .b32 %t, %a, %b, %c, %d; .reg .b16 %x, %y, %z, %w; .reg .b64 %i, %q, %o;
    ld.param.u64 %i, [in]; ld.param.u64 %q, [out]; mov.u32 %t, %tid.x;
    mul.wide.u32 %o, %t, 4; add.u64 %q, %q, %o; mul.wide.u32 %o, %t, 12; add.u64 %i, %i, %o;
    ld.global.b32 %a, [%i]; ld.global.b32 %b, [%i+4]; ld.global.b32 %c, [%i+8];
    cvt.u16.u32 %x, %a; cvt.u16.u32 %y, %b; cvt.u16.u32 %z, %c;
    )" + instruction + (wide ? "" : " cvt.u32.u16 %d, %w;") +
                             R"(
    st.global.b32 [%q], %d;
    ret;
}
)";
    Memory memory;
    Kernel kernel(memory, text);
    const uint64_t out = memory.allocate(kThreads * 4);
    const LaunchResult result =
        kernel.run(memory, {1}, {kThreads}, Arguments().add(memory.upload(inputs)).add(out));
    EXPECT_FALSE(result.fault) << result.fault->text();
    return memory.download<uint32_t>(out);
}

// Of both formats values near 1 of every size that a sum of three can tell apart in f64; of f16
// everything.
std::vector<uint32_t> random_inputs(bool brain, uint32_t seed) {
    std::mt19937 random(seed);
    const auto half = [&] {
        const auto bits = static_cast<uint16_t>(random());
        if (!brain) return bits;
        if (random() % 16 == 0) return static_cast<uint16_t>(bits | 0x7f80);  // infinite or a NaN
        return static_cast<uint16_t>((bits & 0x807f) | (119 + random() % 16) << 7);
    };
    std::vector<uint32_t> made(3 * kThreads);
    for (uint32_t& word : made) word = half() | uint32_t{half()} << 16;
    return made;
}

TEST(Half, ArithmeticIsRoundedOnce) {
    uint32_t seed = 1;
    for (const Case& one : cases()) {
        for (const std::string type : {"f16", "f16x2", "bf16", "bf16x2"}) {
            const bool brain = type[0] == 'b', wide = type.ends_with("x2");
            const Table& table = brain ? kBf16 : kF16;
            const std::vector<uint32_t> inputs = random_inputs(brain, seed++);
            std::string operands = wide ? " %d, %a" : " %w, %x";
            if (one.sources > 1) operands += wide ? ", %b" : ", %y";
            if (one.sources > 2) operands += wide ? ", %c" : ", %z";
            const std::string instruction = std::string(one.opcode) + "." + type + operands + ";";
            const std::vector<uint32_t> made = run(instruction, wide, inputs);
            for (uint32_t i = 0; i < kThreads; ++i) {
                for (uint32_t shift = 0; shift < (wide ? 32u : 16u); shift += 16) {
                    double of[3];
                    for (uint32_t k = 0; k < 3; ++k)
                        of[k] = table.value(static_cast<uint16_t>(inputs[3 * i + k] >> shift));
                    const auto got = static_cast<uint16_t>(made[i] >> shift);
                    const double expected = one.of(of[0], of[1], of[2]);
                    if (std::isnan(expected)) {
                        EXPECT_TRUE(std::isnan(table.value(got))) << instruction;
                        continue;
                    }
                    EXPECT_EQ(got, table.bits(expected))
                        << instruction << " of " << of[0] << ", " << of[1] << ", " << of[2];
                }
            }
        }
    }
}

TEST(Half, ApproximationsAreNearTheFunctions) {
    for (const std::string type : {"f16", "f16x2", "bf16", "bf16x2"}) {
        const bool brain = type[0] == 'b', wide = type.ends_with("x2");
        const Table& table = brain ? kBf16 : kF16;
        const std::vector<uint32_t> inputs = random_inputs(brain, 99);
        for (const std::string opcode : {"ex2.approx", "tanh.approx"}) {
            const bool exponential = opcode[0] == 'e';
            const std::string full = opcode + (brain && exponential ? ".ftz." : ".") + type +
                                     (wide ? " %d, %a;" : " %w, %x;");
            const std::vector<uint32_t> made = run(full, wide, inputs);
            for (uint32_t i = 0; i < kThreads; ++i) {
                const double of = table.value(static_cast<uint16_t>(inputs[3 * i]));
                const double got = table.value(static_cast<uint16_t>(made[i]));
                const double largest = table.value(brain ? 0x7f7f : 0x7bff);
                const double exact = exponential ? std::exp2(of) : std::tanh(of);
                if (std::isnan(exact)) {
                    EXPECT_TRUE(std::isnan(got)) << full;
                } else if (exact > largest) {
                    EXPECT_GE(got, largest) << full;
                } else {
                    // The documentation's bounds, and what a subnormal result may lose.
                    EXPECT_NEAR(got, exact, std::fabs(exact) * 0x1p-7 + 0x1p-14) << full << of;
                }
            }
        }
    }
}

TEST(Hints, ChangeNothing) {
    const std::vector<uint32_t> inputs = random_inputs(false, 3);
    const char* const hints =
        ".reg .b64 %policy; createpolicy.fractional.L2::evict_first.b64 %policy, 1.0; "
        "createpolicy.fractional.L2::evict_last.L2::evict_unchanged.b64 %policy, 0.5; "
        "createpolicy.range.global.L2::evict_last.b64 %policy, [%i], 64, 128; "
        "prefetch.global.L1 [%i]; prefetch.global.L2 [%i+4]; prefetchu.L1 [%i]; "
        "prefetch.global.L2::evict_last [%i]; nanosleep.u32 10; "
        "ld.global.L2::cache_hint.b32 %d, [%i+8], %policy; "
        "st.global.L2::cache_hint.b32 [%q], %d, %policy;";
    const std::vector<uint32_t> made = run(hints, true, inputs);
    for (uint32_t i = 0; i < kThreads; ++i) EXPECT_EQ(made[i], inputs[3 * i + 2]);
}

// discard leaves 128 bytes that nobody may use before they are written.
TEST(Hints, DiscardTakesWhatMemoryHeld) {
    for (const bool writes : {true, false}) {
        const std::string text = std::string(R"(.version 8.4
.target sm_80
.address_size 64
.visible .entry run(.param .u64 in, .param .u64 out) {
    .reg .b32 %a; .reg .b64 %i, %q;
    ld.param.u64 %i, [in]; ld.param.u64 %q, [out];
    discard.global.L2 [%i+128], 128;
    )") + (writes ? "st.global.b32 [%i+128], 5;" : "") +
                                 R"(
    ld.global.b32 %a, [%i+128]; st.global.b32 [%q], %a;
    ld.global.b32 %a, [%i+124]; st.global.b32 [%q+4], %a;
    ret;
}
)";
        Memory memory;
        Kernel kernel(memory, text);
        const uint64_t out = memory.allocate(8);
        const LaunchResult result =
            kernel.run(memory, {1}, {1},
                       Arguments().add(memory.upload(std::vector<uint32_t>(64, 7))).add(out));
        ASSERT_EQ(result.fault.has_value(), !writes);
        if (writes) {
            EXPECT_EQ(memory.download<uint32_t>(out), (std::vector<uint32_t>{5, 7}));
        } else {
            EXPECT_EQ(result.fault->kind, FaultKind::kUninitialised) << result.fault->text();
            EXPECT_NE(result.fault->earlier.find("ld.global"), std::string::npos);
        }
    }
}

}  // namespace
}  // namespace fattn::vgpu::test::halves
