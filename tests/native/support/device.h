// CPU devices of every instruction set that this machine runs, and dense runs on them through the
// public C interface; used by conformance and law tests.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fused_attention/fused_attention.h"
#include "support/dense_case.h"

namespace fattn::test {

struct ReleaseDevice {
    void operator()(fattn_device* device) const { fattn_device_release(device); }
};
struct ReleasePlan {
    void operator()(fattn_plan* plan) const { fattn_plan_release(plan); }
};
using DeviceHandle = std::unique_ptr<fattn_device, ReleaseDevice>;
using PlanHandle = std::unique_ptr<fattn_plan, ReleasePlan>;

struct CpuDevice {
    const char* name;
    fattn_cpu_target target;
    DeviceHandle handle;
};

/// One device per instruction set that is built in, runs here and is tested (runs_target), opened
/// once. Fails the running test when there is none.
const std::vector<CpuDevice>& cpu_devices();

/// Success when the status is ok; otherwise the library's text.
testing::AssertionResult ok(fattn_status status);

/// A run on at most that many threads; 0: the device's own number.
fattn_run with_threads(int threads);

using NamedTensors = std::initializer_list<std::pair<const char*, const Tensor*>>;
/// Failure when memory between the elements of a tensor was written, with its name and the problem
/// in words.
testing::AssertionResult gaps_untouched(NamedTensors tensors, const std::string& problem);

/// Null with a failed expectation when the plan cannot be made.
PlanHandle make_plan(const CpuDevice& device, const DenseCase& c);

/// Poisons the outputs, runs, and checks that nothing but the outputs' elements was written. 0
/// threads: the default.
testing::AssertionResult run_forward(fattn_plan* plan, DenseCase& c, int threads = 0);
/// Uses o and lse as they are in the case; poisons the gradients only.
testing::AssertionResult run_backward(fattn_plan* plan, DenseCase& c, int threads = 0);

}  // namespace fattn::test
