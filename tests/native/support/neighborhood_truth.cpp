// Runs neighborhood cases and compares their results with the reference.
#include "support/neighborhood_truth.h"

#include "support/compare.h"
#include "support/unwatched.h"

namespace fattn::test {
namespace {

using reference::Arithmetic;
using reference::neighborhood_backward;
using reference::neighborhood_forward;

void evaluate(const NeighborhoodCase& c, reference::DenseOutput& output,
              reference::NeighborhoodGradients& gradients) {
    const Unwatched unwatched;
    output = neighborhood_forward(c.problem(), c.forward_args());
    if (c.spec().backward)
        gradients =
            neighborhood_backward(c.problem(), c.backward_args(), Arithmetic::kExact, &output);
}

/// The plain evaluation; the wide one adds its errors to those of the same results.
void add_errors(const NeighborhoodCase& c, const reference::DenseOutput& output,
                const reference::NeighborhoodGradients& gradients, Arithmetic arithmetic,
                NeighborhoodTruth& truth) {
    const Unwatched unwatched;
    const auto add = arithmetic == Arithmetic::kPlain ? &PlainError::add : &PlainError::add_other;
    const reference::DenseOutput plain =
        neighborhood_forward(c.problem(), c.forward_args(), arithmetic);
    (truth.o.*add)(output.o, plain.o);
    (truth.lse.*add)(output.lse, plain.lse);
    if (!c.spec().backward) return;
    const reference::NeighborhoodGradients g =
        neighborhood_backward(c.problem(), c.backward_args(), arithmetic, &plain);
    (truth.d_q.*add)(gradients.d_q, g.d_q);
    (truth.d_k.*add)(gradients.d_k, g.d_k);
    (truth.d_v.*add)(gradients.d_v, g.d_v);
    (truth.d_additional_k.*add)(gradients.d_additional_k, g.d_additional_k);
    (truth.d_additional_v.*add)(gradients.d_additional_v, g.d_additional_v);
}

void add_errors(const NeighborhoodCase& c, const reference::DenseOutput& output,
                const reference::NeighborhoodGradients& gradients, Effort effort,
                NeighborhoodTruth& truth) {
    add_errors(c, output, gradients, Arithmetic::kPlain, truth);
    truth.num_rows += static_cast<int64>(output.lse.size());
    if (wide_counts(effort, c.spec().dtype, c.spec().f32_output))
        add_errors(c, output, gradients, Arithmetic::kPlainWide, truth);
}

}  // namespace

PlanHandle make_plan(const CpuDevice& device, const NeighborhoodCase& c) {
    const fattn_neighborhood_problem problem = c.c_problem();
    fattn_plan* plan = nullptr;
    EXPECT_TRUE(ok(fattn_neighborhood_plan(device.handle.get(), &problem, &plan)))
        << device.name << "; " << describe(c.spec());
    return PlanHandle(plan);
}

testing::AssertionResult run_forward(fattn_plan* plan, NeighborhoodCase& c, int threads) {
    c.reset_outputs();
    const fattn_neighborhood_forward_args args = c.c_forward();
    const fattn_run run = with_threads(threads);
    if (const testing::AssertionResult result = ok(fattn_neighborhood_forward(plan, &args, &run));
        !result)
        return testing::AssertionFailure() << result.message() << "; " << describe(c.spec());
    return gaps_untouched({{"o", &c.o}, {"lse", &c.lse}}, describe(c.spec()));
}

testing::AssertionResult run_backward(fattn_plan* plan, NeighborhoodCase& c, int threads) {
    c.reset_gradients();
    const fattn_neighborhood_backward_args args = c.c_backward();
    const fattn_run run = with_threads(threads);
    if (const testing::AssertionResult result = ok(fattn_neighborhood_backward(plan, &args, &run));
        !result)
        return testing::AssertionFailure() << result.message() << "; " << describe(c.spec());
    return gaps_untouched({{"d_q", &c.d_q},
                           {"d_k", &c.d_k},
                           {"d_v", &c.d_v},
                           {"d_additional_k", &c.d_additional_k},
                           {"d_additional_v", &c.d_additional_v}},
                          describe(c.spec()));
}

NeighborhoodTruth neighborhood_truth(const NeighborhoodCase& c, Effort effort) {
    NeighborhoodTruth truth;
    evaluate(c, truth.output, truth.gradients);
    add_errors(c, truth.output, truth.gradients, effort, truth);
    NeighborhoodSpec replica = c.spec();
    PlainSearch search(effort, replica.magnitude, replica.work() * (replica.backward ? 5 : 1));
    while (search.wants_another(truth.num_rows,
                                {&truth.o, &truth.lse, &truth.d_q, &truth.d_k, &truth.d_v,
                                 &truth.d_additional_k, &truth.d_additional_v})) {
        replica.seed += 0x100000000;
        const NeighborhoodCase other(replica);
        reference::DenseOutput output;
        reference::NeighborhoodGradients gradients;
        evaluate(other, output, gradients);
        add_errors(other, output, gradients, effort, truth);
    }
    return truth;
}

testing::AssertionResult forward_is_near(const NeighborhoodTruth& truth,
                                         const NeighborhoodCase& c) {
    const std::string context = describe(c.spec());
    const DType dtype = c.spec().dtype;
    const testing::AssertionResult o =
        near("o", truth.output.o, c.o,
             tolerance(Quantity::kOutput, dtype, c.o.layout().dtype, truth.o), context);
    if (!o) return o;
    return near("lse", truth.output.lse, c.lse,
                tolerance(Quantity::kLse, dtype, DType::kF32, truth.lse), context);
}

testing::AssertionResult backward_is_near(const NeighborhoodTruth& truth,
                                          const NeighborhoodCase& c) {
    struct Gradient {
        const char* name;
        const std::vector<double>& expected;
        const Tensor& actual;
        const PlainError& plain;
    };
    const reference::NeighborhoodGradients& g = truth.gradients;
    for (const Gradient& x :
         {Gradient{"d_q", g.d_q, c.d_q, truth.d_q}, Gradient{"d_k", g.d_k, c.d_k, truth.d_k},
          Gradient{"d_v", g.d_v, c.d_v, truth.d_v},
          Gradient{"d_additional_k", g.d_additional_k, c.d_additional_k, truth.d_additional_k},
          Gradient{"d_additional_v", g.d_additional_v, c.d_additional_v, truth.d_additional_v}}) {
        if (!x.actual.present()) continue;
        const double allowed =
            tolerance(Quantity::kGradient, c.spec().dtype, x.actual.layout().dtype, x.plain);
        const testing::AssertionResult result =
            near(x.name, x.expected, x.actual, allowed, describe(c.spec()));
        if (!result) return result;
    }
    return testing::AssertionSuccess();
}

testing::AssertionResult is_near(const NeighborhoodTruth& truth, const NeighborhoodCase& c) {
    const testing::AssertionResult forward = forward_is_near(truth, c);
    return forward && c.spec().backward ? backward_is_near(truth, c) : forward;
}

void expect_near_truth(NeighborhoodCase& c) {
    TruthInTwoSteps<NeighborhoodTruth> truth(
        [&](Effort effort) { return neighborhood_truth(c, effort); });
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        if (plan == nullptr) continue;
        testing::AssertionResult ran = run_forward(plan.get(), c);
        if (ran && c.spec().backward) ran = run_backward(plan.get(), c);
        EXPECT_TRUE(ran) << device.name;
        if (!ran) continue;
        EXPECT_TRUE(truth.check([&](const NeighborhoodTruth& of_c) { return is_near(of_c, c); }))
            << device.name;
    }
}

void expect_near_truth(const NeighborhoodSpec& spec) {
    NeighborhoodCase c(spec);
    expect_near_truth(c);
}

}  // namespace fattn::test
