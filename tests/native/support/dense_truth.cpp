// Evaluates the reference for a dense case and compares kernel results with it.
#include "support/dense_truth.h"

#include <algorithm>

#include "support/compare.h"

namespace fattn::test {
using reference::Arithmetic;
using reference::dense_backward;
using reference::dense_forward;

namespace {

/// The errors of a row's results hang together through its sum, so many results of few rows show
/// too little. Where scores are large nearly all rows see one key alone, without an error: the few
/// others count.
constexpr int64 kEnoughRows = 256;
constexpr int64 kEnoughRowsOfLargeScores = 4096;
constexpr double kLargeScores = 8;  // times ordinary ones
/// Sums over all rows of a head, of which a case has few.
constexpr int64 kEnoughSums = 64;
constexpr int kMostReplicas = 200;
/// Multiply-adds that the replicas of one case may cost, and while rows or sums are missing.
constexpr double kReplicaWork = 5e6;
constexpr double kReplicaWorkForRows = 2e7;
/// How many times more of both a thorough estimate may take.
constexpr int kThoroughness = 100;

void add_errors(const DenseCase& c, const reference::DenseOutput& output,
                const reference::DenseGradients& gradients, DenseTruth& truth) {
    const reference::DenseOutput plain =
        dense_forward(c.problem(), c.forward_args(), Arithmetic::kPlain);
    truth.o.add(output.o, plain.o);
    truth.lse.add(output.lse, plain.lse);
    truth.num_rows += static_cast<int64>(c.lse.values().size());
    if (!c.spec().backward) return;
    const reference::DenseGradients plain_gradients =
        dense_backward(c.problem(), c.backward_args(), Arithmetic::kPlain, &plain);
    truth.d_q.add(gradients.d_q, plain_gradients.d_q);
    truth.d_k.add(gradients.d_k, plain_gradients.d_k);
    truth.d_v.add(gradients.d_v, plain_gradients.d_v);
    truth.d_bias.add(gradients.d_bias, plain_gradients.d_bias);
    truth.d_sink_logits.add(gradients.d_sink_logits, plain_gradients.d_sink_logits);
    if (c.spec().dtype == DType::kF32 || !c.spec().f32_output) return;
    const reference::DenseGradients wide_gradients =
        dense_backward(c.problem(), c.backward_args(), Arithmetic::kPlainWide, &plain);
    truth.d_q.add_other(gradients.d_q, wide_gradients.d_q);
    truth.d_k.add_other(gradients.d_k, wide_gradients.d_k);
    truth.d_v.add_other(gradients.d_v, wide_gradients.d_v);
}

bool lacks_rows(const DenseTruth& truth, const DenseSpec& spec, Effort effort) {
    const int64 sums = truth.d_sink_logits.count();
    const bool few_rows_do = spec.magnitude < kLargeScores && effort == Effort::kQuick;
    return truth.num_rows < (few_rows_do ? kEnoughRows : kEnoughRowsOfLargeScores) ||
           (sums > 0 && sums < (effort == Effort::kQuick ? kEnoughSums : PlainError::kEnough));
}

bool rests_on_enough(const DenseTruth& truth, const DenseSpec& spec, Effort effort) {
    if (lacks_rows(truth, spec, effort)) return false;
    for (const PlainError* error : {&truth.o, &truth.lse, &truth.d_q, &truth.d_k, &truth.d_v,
                                    &truth.d_bias, &truth.d_sink_logits})
        if (error->count() > 0 && error->count() < PlainError::kEnough) return false;
    return true;
}

testing::AssertionResult all_of(std::initializer_list<testing::AssertionResult> results) {
    for (const testing::AssertionResult& result : results)
        if (!result) return result;
    return testing::AssertionSuccess();
}

}  // namespace

DenseTruth dense_truth(const DenseCase& c, const std::function<void(DenseCase&)>& prepare,
                       Effort effort) {
    DenseTruth truth;
    auto evaluate = [](const DenseCase& of, reference::DenseOutput& output,
                       reference::DenseGradients& gradients) {
        output = dense_forward(of.problem(), of.forward_args());
        if (of.spec().backward)
            gradients =
                dense_backward(of.problem(), of.backward_args(), Arithmetic::kExact, &output);
    };
    evaluate(c, truth.output, truth.gradients);
    add_errors(c, truth.output, truth.gradients, truth);
    DenseSpec replica = c.spec();
    const double work = std::max(replica.work() * (replica.backward ? 5 : 1), 1.0);
    const int factor = effort == Effort::kQuick ? 1 : kThoroughness;
    double spent = 0;
    for (int n = 0; n < factor * kMostReplicas && !rests_on_enough(truth, replica, effort);
         ++n, spent += work) {
        const bool lacks = lacks_rows(truth, replica, effort);
        if (spent + work > factor * (lacks ? kReplicaWorkForRows : kReplicaWork)) break;
        replica.seed += 0x100000000;
        DenseCase other(replica);
        if (prepare) prepare(other);
        reference::DenseOutput output;
        reference::DenseGradients gradients;
        evaluate(other, output, gradients);
        add_errors(other, output, gradients, truth);
    }
    return truth;
}

testing::AssertionResult forward_is_near(const DenseTruth& truth, const DenseCase& c) {
    const std::string context = describe(c.spec());
    const DType dtype = c.spec().dtype;
    const testing::AssertionResult o =
        near("o", truth.output.o, c.o,
             tolerance(Quantity::kOutput, dtype, c.o.layout().dtype, truth.o), context);
    if (!o || c.spec().sigmoid) return o;
    return near("lse", truth.output.lse, c.lse,
                tolerance(Quantity::kLse, dtype, DType::kF32, truth.lse), context);
}

testing::AssertionResult backward_is_near(const DenseTruth& truth, const DenseCase& c) {
    const std::string context = describe(c.spec());
    const DType dtype = c.spec().dtype;
    auto gradient = [&](const char* name, const std::vector<double>& expected, const Tensor& actual,
                        const PlainError& plain) {
        return near(name, expected, actual,
                    tolerance(Quantity::kGradient, dtype, actual.layout().dtype, plain), context);
    };
    auto sum = [&](const char* name, const std::vector<double>& expected, const Tensor& actual,
                   const PlainError& plain, Quantity quantity) {
        if (!actual.present()) return testing::AssertionSuccess();
        return near(name, expected, actual, tolerance(quantity, dtype, DType::kF32, plain),
                    context);
    };
    return all_of(
        {gradient("d_q", truth.gradients.d_q, c.d_q, truth.d_q),
         gradient("d_k", truth.gradients.d_k, c.d_k, truth.d_k),
         gradient("d_v", truth.gradients.d_v, c.d_v, truth.d_v),
         sum("d_bias", truth.gradients.d_bias, c.d_bias, truth.d_bias, Quantity::kBiasGradient),
         sum("d_sink_logits", truth.gradients.d_sink_logits, c.d_sink_logits, truth.d_sink_logits,
             Quantity::kSinkGradient)});
}

namespace {

testing::AssertionResult is_near(const DenseTruth& truth, const DenseCase& c) {
    return all_of({forward_is_near(truth, c),
                   c.spec().backward ? backward_is_near(truth, c) : testing::AssertionSuccess()});
}

}  // namespace

void expect_near_truth(const CpuDevice& device, const DenseTruth& truth, DenseCase& c) {
    const PlanHandle plan = make_plan(device, c);
    if (plan == nullptr) return;
    const testing::AssertionResult ran = run_forward(plan.get(), c);
    EXPECT_TRUE(ran) << device.name;
    if (!ran) return;
    EXPECT_TRUE(forward_is_near(truth, c)) << device.name;
    if (!c.spec().backward) return;
    const testing::AssertionResult ran_back = run_backward(plan.get(), c);
    EXPECT_TRUE(ran_back) << device.name;
    if (!ran_back) return;
    EXPECT_TRUE(backward_is_near(truth, c)) << device.name;
}

void expect_near_truth(DenseCase& c) {
    DenseTruth truth = dense_truth(c);
    bool quick = true;
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        if (plan == nullptr) return;
        testing::AssertionResult ran = run_forward(plan.get(), c);
        if (ran && c.spec().backward) ran = run_backward(plan.get(), c);
        EXPECT_TRUE(ran) << device.name;
        if (!ran) return;
        if (quick && !is_near(truth, c)) {
            truth = dense_truth(c, {}, Effort::kThorough);
            quick = false;
        }
        EXPECT_TRUE(is_near(truth, c)) << device.name;
    }
}

void expect_near_truth(const DenseSpec& spec) {
    DenseCase c(spec);
    expect_near_truth(c);
}

}  // namespace fattn::test
