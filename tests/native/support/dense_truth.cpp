// Evaluates the reference for a dense case and compares kernel results with it.
#include "support/dense_truth.h"

#include "support/compare.h"
#include "support/unwatched.h"

namespace fattn::test {
using reference::Arithmetic;
using reference::dense_backward;
using reference::dense_forward;

namespace {

void evaluate(const DenseCase& c, reference::DenseOutput& output,
              reference::DenseGradients& gradients) {
    const Unwatched unwatched;
    output = dense_forward(c.problem(), c.forward_args());
    if (c.spec().backward)
        gradients = dense_backward(c.problem(), c.backward_args(), Arithmetic::kExact, &output);
}

/// The plain evaluation; the wide one adds its errors to those of the same results.
void add_errors(const DenseCase& c, const reference::DenseOutput& output,
                const reference::DenseGradients& gradients, Arithmetic arithmetic,
                DenseTruth& truth) {
    const Unwatched unwatched;
    const auto add = arithmetic == Arithmetic::kPlain ? &PlainError::add : &PlainError::add_other;
    const reference::DenseOutput plain = dense_forward(c.problem(), c.forward_args(), arithmetic);
    (truth.o.*add)(output.o, plain.o);
    (truth.lse.*add)(output.lse, plain.lse);
    if (!c.spec().backward) return;
    const reference::DenseGradients g =
        dense_backward(c.problem(), c.backward_args(), arithmetic, &plain);
    (truth.d_q.*add)(gradients.d_q, g.d_q);
    (truth.d_k.*add)(gradients.d_k, g.d_k);
    (truth.d_v.*add)(gradients.d_v, g.d_v);
    (truth.d_bias.*add)(gradients.d_bias, g.d_bias);
    (truth.d_sink_logits.*add)(gradients.d_sink_logits, g.d_sink_logits);
}

void add_errors(const DenseCase& c, const reference::DenseOutput& output,
                const reference::DenseGradients& gradients, Effort effort, DenseTruth& truth) {
    add_errors(c, output, gradients, Arithmetic::kPlain, truth);
    truth.num_rows += static_cast<int64>(c.lse.values().size());
    if (wide_counts(effort, c.spec().dtype, c.spec().f32_output))
        add_errors(c, output, gradients, Arithmetic::kPlainWide, truth);
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
    evaluate(c, truth.output, truth.gradients);
    add_errors(c, truth.output, truth.gradients, effort, truth);
    DenseSpec replica = c.spec();
    PlainSearch search(effort, replica.magnitude, replica.work() * (replica.backward ? 5 : 1));
    while (search.wants_another(truth.num_rows,
                                {&truth.o, &truth.lse, &truth.d_q, &truth.d_k, &truth.d_v,
                                 &truth.d_bias, &truth.d_sink_logits},
                                truth.d_sink_logits.count())) {
        replica.seed += 0x100000000;
        DenseCase other(replica);
        if (prepare) prepare(other);
        reference::DenseOutput output;
        reference::DenseGradients gradients;
        evaluate(other, output, gradients);
        add_errors(other, output, gradients, effort, truth);
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

testing::AssertionResult is_near(const DenseTruth& truth, const DenseCase& c) {
    return all_of({forward_is_near(truth, c),
                   c.spec().backward ? backward_is_near(truth, c) : testing::AssertionSuccess()});
}

}  // namespace fattn::test
