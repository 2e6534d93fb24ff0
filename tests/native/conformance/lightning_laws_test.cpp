// Laws of linear attention on every instruction set: a split sequence, single steps, the plain
// product, and what a value that is not finite may reach.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "support/compare.h"
#include "support/lightning_truth.h"
#include "support/tolerances.h"

namespace fattn::test {
namespace {

LightningSpec some_heads(int64 len, int64 head_dim, int64 head_dim_v) {
    LightningSpec spec;
    spec.batch = 2;
    spec.num_q_heads = 3;
    spec.num_kv_heads = 1;
    spec.len = len;
    spec.head_dim = head_dim;
    spec.head_dim_v = head_dim_v;
    spec.slopes = {0.0F, 0.02F, 1.5F};
    return spec;
}

/// Copies tokens [begin, begin + the part's length) and the state that goes in.
void take_part(const LightningCase& whole, int64 begin, const Tensor& state, LightningCase& part) {
    for (int64 b = 0; b < part.spec().batch; ++b) {
        copy_tokens(whole.q, b, begin, part.q, b);
        copy_tokens(whole.k, b, begin, part.k, b);
        copy_tokens(whole.v, b, begin, part.v, b);
    }
    part.initial_state = state;
    part.slopes = whole.slopes;
}

/// Expects the results of all tokens, one part after another.
void expect_parts(const LightningCase& whole, const std::vector<std::vector<double>>& o_of_tokens,
                  const Tensor& final_state, double allowed, const std::string& context) {
    std::vector<double> o;
    const LightningSpec& s = whole.spec();
    for (int64 bh = 0; bh < s.batch * s.num_q_heads; ++bh)
        for (const std::vector<double>& token : o_of_tokens)
            for (int64 d = 0; d < s.head_dim_v; ++d)
                o.push_back(token[static_cast<std::size_t>(bh * s.head_dim_v + d)]);
    EXPECT_TRUE(near_rms("o", o, whole.o, allowed, context));
    EXPECT_TRUE(near_rms("final_state", final_state.values(), whole.final_state, allowed, context));
}

/// o [B * Hq, Dv] of every token of a case.
void append_tokens(const LightningCase& c, std::vector<std::vector<double>>* tokens) {
    const LightningSpec& s = c.spec();
    for (int64 t = 0; t < s.len; ++t) {
        std::vector<double> token;
        for (int64 b = 0; b < s.batch; ++b)
            for (int64 h = 0; h < s.num_q_heads; ++h)
                for (int64 d = 0; d < s.head_dim_v; ++d) token.push_back(c.o.at(b, h, t, d));
        tokens->push_back(token);
    }
}

TEST(LightningLaws, SplitAnywhereEqualsWhole) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const bool normalize : {false, true}) {
            LightningSpec spec = some_heads(230, 17, 20);
            spec.dtype = dtype;
            spec.f32_output = true;
            spec.initial_state = true;
            spec.normalize = normalize;
            if (normalize) spec.map = FeatureMap::kEluPlusOne;
            for (const CpuDevice& device : cpu_devices()) {
                LightningCase whole(spec);
                const PlanHandle plan = make_plan(device, whole);
                ASSERT_TRUE(run_forward(plan.get(), whole));
                for (const int64 split : {1, 5, 95, 96, 97, 150, 229}) {
                    std::vector<std::vector<double>> tokens;
                    Tensor state = whole.initial_state;
                    for (const int64 begin : {int64{0}, split}) {
                        LightningSpec part_spec = spec;
                        part_spec.len = begin == 0 ? split : spec.len - split;
                        LightningCase part(part_spec);
                        take_part(whole, begin, state, part);
                        const PlanHandle part_plan = make_plan(device, part);
                        ASSERT_TRUE(run_forward(part_plan.get(), part));
                        append_tokens(part, &tokens);
                        state = part.final_state;
                    }
                    expect_parts(whole, tokens, state, linear_tolerance(dtype, DType::kF32),
                                 std::string(device.name) + " split " + std::to_string(split) +
                                     " " + describe(spec));
                }
            }
        }
    }
}

TEST(LightningLaws, StepsEqualPrefill) {
    for (const FeatureMap map :
         {FeatureMap::kIdentity, FeatureMap::kSoftmax, FeatureMap::kTaylor2}) {
        for (const bool normalize : {false, true}) {
            if (normalize && map == FeatureMap::kIdentity) continue;
            LightningSpec spec = some_heads(120, 9, 70);
            spec.map = map;
            spec.normalize = normalize;
            spec.initial_state = true;
            for (const CpuDevice& device : cpu_devices()) {
                LightningCase whole(spec);
                const PlanHandle plan = make_plan(device, whole);
                ASSERT_TRUE(run_forward(plan.get(), whole));
                LightningSpec token_spec = spec;
                token_spec.len = 1;
                token_spec.initial_state = false;
                LightningCase token(token_spec);
                const PlanHandle token_plan = make_plan(device, token);
                Tensor state = whole.initial_state;
                std::vector<std::vector<double>> tokens;
                for (int64 t = 0; t < spec.len; ++t) {
                    take_part(whole, t, Tensor(), token);
                    token.final_state = state;
                    const fattn_lightning_forward_args args = token.c_forward();
                    ASSERT_TRUE(ok(fattn_lightning_step(token_plan.get(), &args, nullptr)));
                    append_tokens(token, &tokens);
                    state = token.final_state;
                }
                expect_parts(whole, tokens, state, linear_tolerance(DType::kF32, DType::kF32),
                             std::string(device.name) + " " + describe(spec));
            }
        }
    }
}

TEST(LightningLaws, StepIsTheForwardOfOneTokenBitForBit) {
    LightningSpec spec = some_heads(1, 33, 70);
    spec.initial_state = true;
    for (const CpuDevice& device : cpu_devices()) {
        LightningCase c(spec);
        const PlanHandle plan = make_plan(device, c);
        ASSERT_TRUE(run_forward(plan.get(), c));
        const Tensor o = c.o;
        const Tensor after = c.final_state;
        c.final_state = c.initial_state;
        fattn_lightning_forward_args args = c.c_forward();
        args.initial_state = nullptr;
        ASSERT_TRUE(ok(fattn_lightning_step(plan.get(), &args, nullptr)));
        EXPECT_TRUE(same_bits("o", o, c.o, device.name));
        EXPECT_TRUE(same_bits("state", after, c.final_state, device.name));
    }
}

/// (Q K^T with zeros above the diagonal) V, in double.
std::vector<double> plain_product(const LightningCase& c) {
    const LightningSpec& s = c.spec();
    std::vector<double> o;
    for (int64 b = 0; b < s.batch; ++b)
        for (int64 h = 0; h < s.num_q_heads; ++h)
            for (int64 t = 0; t < s.len; ++t) {
                std::vector<double> row(static_cast<std::size_t>(s.head_dim_v));
                for (int64 u = 0; u < (s.causal ? t + 1 : s.len); ++u) {
                    double weight = 0;
                    const int64 kv = h * s.num_kv_heads / s.num_q_heads;
                    for (int64 d = 0; d < s.head_dim; ++d)
                        weight += c.q.at(b, h, t, d) * c.k.at(b, kv, u, d);
                    for (int64 d = 0; d < s.head_dim_v; ++d)
                        row[static_cast<std::size_t>(d)] += weight * c.v.at(b, kv, u, d);
                }
                o.insert(o.end(), row.begin(), row.end());
            }
    return o;
}

TEST(LightningLaws, WithoutDecayItIsThePlainProduct) {
    for (const bool causal : {true, false}) {
        LightningSpec spec = some_heads(205, 16, 24);
        spec.slopes = {0.0F, 0.0F, 0.0F};
        spec.causal = causal;
        for (const CpuDevice& device : cpu_devices()) {
            LightningCase c(spec);
            const PlanHandle plan = make_plan(device, c);
            ASSERT_TRUE(run_forward(plan.get(), c));
            EXPECT_TRUE(near_rms("o", plain_product(c), c.o,
                                 linear_tolerance(DType::kF32, DType::kF32), device.name));
        }
    }
}

TEST(LightningLaws, UnderALargeSlopeOnlyTheDiagonalIsLeft) {
    for (const DType dtype : {DType::kF32, DType::kF16}) {
        LightningSpec spec = some_heads(205, 16, 24);
        spec.dtype = dtype;
        spec.f32_output = true;
        spec.slopes = {1e4F, 1e4F, 3e38F};
        spec.initial_state = true;
        for (const CpuDevice& device : cpu_devices()) {
            LightningCase c(spec);
            const PlanHandle plan = make_plan(device, c);
            ASSERT_TRUE(run_forward(plan.get(), c));
            std::vector<double> diagonal;
            for (int64 b = 0; b < spec.batch; ++b)
                for (int64 h = 0; h < spec.num_q_heads; ++h)
                    for (int64 t = 0; t < spec.len; ++t) {
                        double weight = 0;
                        for (int64 d = 0; d < spec.head_dim; ++d)
                            weight += c.q.at(b, h, t, d) * c.k.at(b, 0, t, d);
                        for (int64 d = 0; d < spec.head_dim_v; ++d)
                            diagonal.push_back(weight * c.v.at(b, 0, t, d));
                    }
            EXPECT_TRUE(near_rms("o", diagonal, c.o, linear_tolerance(DType::kF32, DType::kF32),
                                 device.name));
        }
    }
}

/// Tokens of o that hold a value that is not finite.
std::vector<bool> touched(const Tensor& o, int64 b, int64 h) {
    std::vector<bool> result;
    for (int64 t = 0; t < o.layout().shape[2]; ++t) {
        bool any = false;
        for (int64 d = 0; d < o.layout().shape[3]; ++d)
            any = any || !std::isfinite(o.at(b, h, t, d));
        result.push_back(any);
    }
    return result;
}

TEST(LightningLaws, ValuesThatAreNotFiniteReachOnlyTheRowsThatSeeThem) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const int64 at : {0, 1, 40, 95, 96, 130, 203}) {
            LightningSpec spec = some_heads(204, 16, 33);
            spec.dtype = dtype;
            for (const CpuDevice& device : cpu_devices()) {
                for (int which = 0; which < 3; ++which) {
                    LightningCase c(spec);
                    Tensor& tensor = which == 0 ? c.q : which == 1 ? c.k : c.v;
                    tensor.set(0, 0, at, 5, which == 1 ? NAN : INFINITY);
                    const PlanHandle plan = make_plan(device, c);
                    ASSERT_TRUE(run_forward(plan.get(), c));
                    for (int64 b = 0; b < spec.batch; ++b)
                        for (int64 h = 0; h < spec.num_q_heads; ++h) {
                            const std::vector<bool> rows = touched(c.o, b, h);
                            for (int64 t = 0; t < spec.len; ++t) {
                                const bool sees =
                                    b == 0 && (which == 0 ? h == 0 && t == at : t >= at);
                                if (sees && (which == 0 || t == at)) {
                                    EXPECT_TRUE(rows[static_cast<std::size_t>(t)]);
                                }
                                if (!sees) {
                                    EXPECT_FALSE(rows[static_cast<std::size_t>(t)])
                                        << device.name << " which " << which << " at " << at
                                        << " reaches " << b << "," << h << "," << t;
                                }
                            }
                        }
                }
            }
        }
    }
}

TEST(LightningLaws, GradientsThatAreNotFiniteReachOnlyTheRowsThatSeeThem) {
    constexpr int64 kAt = 100;
    LightningSpec spec = some_heads(204, 16, 33);
    spec.backward = true;
    for (const CpuDevice& device : cpu_devices()) {
        LightningCase c(spec);
        c.d_o.set(0, 0, kAt, 5, INFINITY);
        const PlanHandle plan = make_plan(device, c);
        ASSERT_TRUE(run_backward(plan.get(), c));
        for (int64 t = 0; t < spec.len; ++t) {
            const auto at = static_cast<std::size_t>(t);
            EXPECT_EQ(touched(c.d_q, 0, 0)[at], t == kAt) << device.name << t;
            if (t > kAt) {
                EXPECT_FALSE(touched(c.d_k, 0, 0)[at]) << device.name << t;
                EXPECT_FALSE(touched(c.d_v, 0, 0)[at]) << device.name << t;
            }
            EXPECT_FALSE(touched(c.d_k, 1, 0)[at]) << device.name << t;
        }
    }
}

TEST(LightningLaws, UnwantedGradientsChangeNoOthers) {
    LightningSpec spec = some_heads(150, 16, 20);
    spec.backward = true;
    spec.initial_state = true;
    spec.d_final_state = true;
    for (const CpuDevice& device : cpu_devices()) {
        LightningCase all(spec);
        const PlanHandle plan = make_plan(device, all);
        ASSERT_TRUE(run_backward(plan.get(), all));
        for (int wanted = 0; wanted < 16; ++wanted) {
            LightningCase some(spec);
            fattn_lightning_backward_args args = some.c_backward();
            if ((wanted & 1) == 0) args.d_q = nullptr;
            if ((wanted & 2) == 0) args.d_k = nullptr;
            if ((wanted & 4) == 0) args.d_v = nullptr;
            if ((wanted & 8) == 0) args.d_initial_state = nullptr;
            ASSERT_TRUE(ok(fattn_lightning_backward(plan.get(), &args, nullptr)));
            const auto expect = [&](int bit, const char* name, const Tensor& got,
                                    const Tensor& expected) {
                EXPECT_TRUE(same_bits(name,
                                      (wanted & bit) != 0 ? expected : Tensor(expected.layout()),
                                      got, device.name));
            };
            expect(1, "d_q", some.d_q, all.d_q);
            expect(2, "d_k", some.d_k, all.d_k);
            expect(4, "d_v", some.d_v, all.d_v);
            expect(8, "d_initial_state", some.d_initial_state, all.d_initial_state);
        }
    }
}

}  // namespace
}  // namespace fattn::test
