// Runs neighborhood cases and compares their results with the reference.
#include "support/neighborhood_truth.h"

#include <algorithm>

#include "support/compare.h"

namespace fattn::test {
namespace {

using reference::Arithmetic;
using reference::neighborhood_backward;
using reference::neighborhood_forward;

/// The errors of a row's results hang together through its sum, so many results of few rows show
/// too little.
constexpr int64 kEnoughRows = 64;
constexpr int kMostReplicas = 200;
/// Multiply-adds that the replicas of one case may cost, and while rows are missing.
constexpr double kReplicaWork = 4e7;
constexpr double kReplicaWorkForRows = 5e7;

void evaluate(const NeighborhoodCase& c, reference::DenseOutput& output,
              reference::NeighborhoodGradients& gradients) {
    output = neighborhood_forward(c.problem(), c.forward_args());
    if (c.spec().backward)
        gradients =
            neighborhood_backward(c.problem(), c.backward_args(), Arithmetic::kExact, &output);
}

void add_errors(const NeighborhoodCase& c, const reference::DenseOutput& output,
                const reference::NeighborhoodGradients& gradients, NeighborhoodTruth& truth) {
    const reference::DenseOutput plain =
        neighborhood_forward(c.problem(), c.forward_args(), Arithmetic::kPlain);
    truth.o.add(output.o, plain.o);
    truth.lse.add(output.lse, plain.lse);
    truth.num_rows += static_cast<int64>(output.lse.size());
    if (!c.spec().backward) return;
    const reference::NeighborhoodGradients p =
        neighborhood_backward(c.problem(), c.backward_args(), Arithmetic::kPlain, &plain);
    truth.d_q.add(gradients.d_q, p.d_q);
    truth.d_k.add(gradients.d_k, p.d_k);
    truth.d_v.add(gradients.d_v, p.d_v);
    truth.d_additional_k.add(gradients.d_additional_k, p.d_additional_k);
    truth.d_additional_v.add(gradients.d_additional_v, p.d_additional_v);
}

bool rests_on_enough(const NeighborhoodTruth& truth) {
    if (truth.num_rows < kEnoughRows) return false;
    for (const PlainError* error : {&truth.o, &truth.lse, &truth.d_q, &truth.d_k, &truth.d_v,
                                    &truth.d_additional_k, &truth.d_additional_v})
        if (error->count() > 0 && error->count() < PlainError::kEnough) return false;
    return true;
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

NeighborhoodTruth neighborhood_truth(const NeighborhoodCase& c) {
    NeighborhoodTruth truth;
    evaluate(c, truth.output, truth.gradients);
    add_errors(c, truth.output, truth.gradients, truth);
    NeighborhoodSpec replica = c.spec();
    const double work = std::max(replica.work() * (replica.backward ? 5 : 1), 1.0);
    double spent = 0;
    for (int n = 0; n < kMostReplicas && !rests_on_enough(truth); ++n, spent += work) {
        if (spent + work > (truth.num_rows < kEnoughRows ? kReplicaWorkForRows : kReplicaWork))
            break;
        replica.seed += 0x100000000;
        const NeighborhoodCase other(replica);
        reference::DenseOutput output;
        reference::NeighborhoodGradients gradients;
        evaluate(other, output, gradients);
        add_errors(other, output, gradients, truth);
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

void expect_near_truth(NeighborhoodCase& c) {
    const NeighborhoodTruth truth = neighborhood_truth(c);
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        if (plan == nullptr) continue;
        const testing::AssertionResult ran = run_forward(plan.get(), c);
        EXPECT_TRUE(ran) << device.name;
        if (!ran) continue;
        EXPECT_TRUE(forward_is_near(truth, c)) << device.name;
        if (!c.spec().backward) continue;
        const testing::AssertionResult ran_back = run_backward(plan.get(), c);
        EXPECT_TRUE(ran_back) << device.name;
        if (!ran_back) continue;
        EXPECT_TRUE(backward_is_near(truth, c)) << device.name;
    }
}

void expect_near_truth(const NeighborhoodSpec& spec) {
    NeighborhoodCase c(spec);
    expect_near_truth(c);
}

}  // namespace fattn::test
