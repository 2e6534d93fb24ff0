// Runs a dense case on the CPU devices and expects what the reference says.
#include "support/compare.h"
#include "support/dense_truth.h"

namespace fattn::test {

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
    TruthInTwoSteps<DenseTruth> truth([&](Effort effort) { return dense_truth(c, {}, effort); });
    for (const CpuDevice& device : cpu_devices()) {
        const PlanHandle plan = make_plan(device, c);
        if (plan == nullptr) return;
        testing::AssertionResult ran = run_forward(plan.get(), c);
        if (ran && c.spec().backward) ran = run_backward(plan.get(), c);
        EXPECT_TRUE(ran) << device.name;
        if (!ran) return;
        EXPECT_TRUE(truth.check([&](const DenseTruth& of_c) { return is_near(of_c, c); }))
            << device.name;
    }
}

void expect_near_truth(const DenseSpec& spec) {
    DenseCase c(spec);
    expect_near_truth(c);
}

}  // namespace fattn::test
