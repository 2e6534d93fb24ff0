// Approximate functions over further ranges: the ends of f32's exponents, near zeros of the
// function, 16-bit forms.
#include <cmath>

#include "cases/cases.h"

namespace fattn::vgpu {
namespace {

// To so many significant bits; f16 and bf16 where they are normal.
double rounded_to(double x, int bits) {
    int exponent = 0;
    const double fraction = std::frexp(x, &exponent);
    return std::ldexp(std::nearbyint(std::ldexp(fraction, bits)), exponent - bits);
}

}  // namespace

const std::vector<InstructionCase>& further_approximations() {
    static const std::vector<InstructionCase> cases = [] {
        std::vector<InstructionCase> made;
        const auto add = [&](const std::string& name, const std::string& body, double low,
                             double high, std::function<double(double)> real) {
            made.push_back({name, body, {'f', 'f', '-', '-'}, {}, std::move(real), low, high});
        };
        const auto ex2 = [](double x) { return std::exp2(x); };
        const auto lg2 = [](double x) { return std::log2(x); };
        const auto inverse = [](double x) { return 1 / x; };
        const auto root = [](double x) { return std::sqrt(x); };
        const auto inverse_root = [](double x) { return 1 / std::sqrt(x); };
        const auto tanh = [](double x) { return std::tanh(x); };
        add("ex2.approx.subnormal", "ex2.approx.f32 %d, %a;", -151, -125, ex2);
        add("ex2.approx.zero", "ex2.approx.ftz.f32 %d, %a;", -0.01, 0.01, ex2);
        add("lg2.approx.one", "lg2.approx.f32 %d, %a;", 0.5, 2, lg2);
        add("lg2.approx.subnormal", "lg2.approx.f32 %d, %a;", 1e-44, 2e-38, lg2);
        add("lg2.approx.large", "lg2.approx.ftz.f32 %d, %a;", 1e30, 3.4e38, lg2);
        add("rcp.approx.subnormal", "rcp.approx.f32 %d, %a;", 3e-39, 2e-38, inverse);
        add("rcp.approx.large", "rcp.approx.f32 %d, %a;", 4e37, 3.4e38, inverse);
        add("rsqrt.approx.subnormal", "rsqrt.approx.f32 %d, %a;", 1e-44, 2e-38, inverse_root);
        add("rsqrt.approx.large", "rsqrt.approx.ftz.f32 %d, %a;", 1e37, 3.4e38, inverse_root);
        add("sqrt.approx.subnormal", "sqrt.approx.f32 %d, %a;", 1e-44, 2e-38, root);
        add("sqrt.approx.large", "sqrt.approx.ftz.f32 %d, %a;", 1e37, 3.4e38, root);
        add("tanh.approx.small", "tanh.approx.f32 %d, %a;", -0.1, 0.1, tanh);
        add("sin.approx.large", "sin.approx.f32 %d, %a;", -100, 100,
            [](double x) { return std::sin(x); });
        add("cos.approx.large", "cos.approx.f32 %d, %a;", -100, 100,
            [](double x) { return std::cos(x); });
        add("div.approx", "div.approx.f32 %d, 0f40400000, %a;", 0.001, 1000,
            [](double x) { return 3 / x; });
        add("div.full", "div.full.f32 %d, 0f40400000, %a;", 1e-37, 1e37,
            [](double x) { return 3 / x; });
        const struct {
            const char* type;
            const char* ex2;
            int bits;
        } halves[] = {{"f16", "ex2.approx.f16", 11}, {"bf16", "ex2.approx.ftz.bf16", 8}};
        for (const auto& [type, form, bits] : halves) {
            const auto around = [type = std::string(type)](const std::string& inner) {
                return "{ .reg .b16 h; cvt.rn." + type + ".f32 h, %a; " + inner +
                       " h, h; cvt.f32." + type + " %d, h; }";
            };
            add(form, around(form), -13, 13,
                [bits = bits](double x) { return std::exp2(rounded_to(x, bits)); });
            const std::string of_tanh = std::string("tanh.approx.") + type;
            add(of_tanh, around(of_tanh), -4, 4,
                [bits = bits](double x) { return std::tanh(rounded_to(x, bits)); });
        }
        return made;
    }();
    return cases;
}

}  // namespace fattn::vgpu
