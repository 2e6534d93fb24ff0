// Opens CPU devices and runs dense cases on them.
#include "support/device.h"

#include "support/sampling.h"

namespace fattn::test {
namespace {

constexpr std::pair<const char*, fattn_cpu_target> kTargets[] = {
    {"scalar", FATTN_CPU_TARGET_SCALAR}, {"avx2", FATTN_CPU_TARGET_AVX2},
    {"avx512", FATTN_CPU_TARGET_AVX512}, {"avx512_bf16", FATTN_CPU_TARGET_AVX512_BF16},
    {"neon", FATTN_CPU_TARGET_NEON},
};

std::vector<CpuDevice> open_all() {
    std::vector<CpuDevice> devices;
    fattn_device* first = nullptr;
    EXPECT_TRUE(ok(fattn_device_open(FATTN_DEVICE_KIND_CPU, 0, nullptr, &first)));
    const DeviceHandle any(first);
    fattn_device_description info{};
    info.struct_size = sizeof info;
    EXPECT_TRUE(ok(fattn_device_info(any.get(), &info)));
    for (const auto& [name, target] : kTargets) {
        if (!runs_target(target, info.cpu_targets_available)) continue;
        fattn_device_options options{};
        options.struct_size = sizeof options;
        options.cpu_target = target;
        fattn_device* device = nullptr;
        EXPECT_TRUE(ok(fattn_device_open(FATTN_DEVICE_KIND_CPU, 0, &options, &device)));
        devices.push_back({name, target, DeviceHandle(device)});
    }
    return devices;
}

}  // namespace

const std::vector<CpuDevice>& cpu_devices() {
    static const std::vector<CpuDevice> devices = open_all();
    EXPECT_FALSE(devices.empty()) << "no CPU device could be opened";
    return devices;
}

testing::AssertionResult ok(fattn_status status) {
    if (status == FATTN_STATUS_OK) return testing::AssertionSuccess();
    return testing::AssertionFailure() << fattn_status_name(status) << ": " << fattn_last_error();
}

fattn_run with_threads(int threads) {
    fattn_run run{};
    run.struct_size = sizeof run;
    run.max_threads = threads;
    return run;
}

testing::AssertionResult gaps_untouched(NamedTensors tensors, const std::string& problem) {
    for (const auto& [name, tensor] : tensors)
        if (!tensor->gaps_untouched())
            return testing::AssertionFailure()
                   << name << ": memory that is no element was written; " << problem;
    return testing::AssertionSuccess();
}

PlanHandle make_plan(const CpuDevice& device, const DenseCase& c) {
    const fattn_dense_problem problem = c.c_problem();
    fattn_plan* plan = nullptr;
    EXPECT_TRUE(ok(fattn_dense_plan(device.handle.get(), &problem, &plan)))
        << device.name << "; " << describe(c.spec());
    return PlanHandle(plan);
}

testing::AssertionResult run_forward(fattn_plan* plan, DenseCase& c, int threads) {
    c.reset_outputs();
    const fattn_dense_forward_args args = c.c_forward();
    const fattn_run run = with_threads(threads);
    if (const testing::AssertionResult result = ok(fattn_dense_forward(plan, &args, &run)); !result)
        return testing::AssertionFailure() << result.message() << "; " << describe(c.spec());
    return gaps_untouched({{"o", &c.o}, {"lse", &c.lse}}, describe(c.spec()));
}

testing::AssertionResult run_backward(fattn_plan* plan, DenseCase& c, int threads) {
    c.reset_gradients();
    const fattn_dense_backward_args args = c.c_backward();
    const fattn_run run = with_threads(threads);
    if (const testing::AssertionResult result = ok(fattn_dense_backward(plan, &args, &run));
        !result)
        return testing::AssertionFailure() << result.message() << "; " << describe(c.spec());
    return gaps_untouched({{"d_q", &c.d_q},
                           {"d_k", &c.d_k},
                           {"d_v", &c.d_v},
                           {"d_bias", &c.d_bias},
                           {"d_sink_logits", &c.d_sink_logits}},
                          describe(c.spec()));
}

}  // namespace fattn::test
