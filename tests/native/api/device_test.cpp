// Devices: opening, describing, measuring, and what each says when it cannot.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>

#include "api/handles.h"

namespace fattn::test {
namespace {

fattn_device_description describe(fattn_device* device) {
    fattn_device_description d{};
    d.struct_size = sizeof(d);
    EXPECT_EQ(fattn_device_info(device, &d), FATTN_STATUS_OK) << fattn_last_error();
    return d;
}

TEST(Device, TheCpuIsOneDeviceForTheWholeProcess) {
    const Device a = cpu_device();
    fattn_device* on_another_thread = nullptr;
    std::thread([&] { on_another_thread = cpu_device().release(); }).join();
    EXPECT_EQ(a.get(), on_another_thread);
    fattn_device_release(on_another_thread);
}

TEST(Device, TheSharedCpuSurvivesItsLastUser) {
    fattn_device* first = cpu_device().get();  // released at once
    EXPECT_EQ(cpu_device().get(), first);
}

TEST(Device, InfoNamesTheProcessorTheTargetAndTheReason) {
    const Device device = cpu_device();
    const fattn_device_description d = describe(device.get());
    EXPECT_EQ(d.struct_size, sizeof(d));
    EXPECT_EQ(d.kind, static_cast<fattn_device_kind>(FATTN_DEVICE_KIND_CPU));
    EXPECT_EQ(d.index, 0);
    EXPECT_NE(d.cpu_target, static_cast<fattn_cpu_target>(FATTN_CPU_TARGET_BEST));
    EXPECT_NE(d.cpu_targets_available & (1u << d.cpu_target), 0u);
    EXPECT_EQ(d.cpu_targets_available & ~d.cpu_targets_built, 0u);
    EXPECT_GE(d.num_threads, 1);
    EXPECT_GT(std::strlen(d.name), 0u);
    EXPECT_GT(std::strlen(d.reason), 0u);
}

TEST(Device, OptionsChooseTargetAndThreads) {
    fattn_device_options options{};
    options.struct_size = sizeof(options);
    options.cpu_target = FATTN_CPU_TARGET_SCALAR;
    options.num_threads = 3;
    fattn_device* raw = nullptr;
    ASSERT_EQ(fattn_device_open(FATTN_DEVICE_KIND_CPU, 0, &options, &raw), FATTN_STATUS_OK)
        << fattn_last_error();
    const Device device(raw);
    const fattn_device_description d = describe(device.get());
    EXPECT_EQ(d.cpu_target, static_cast<fattn_cpu_target>(FATTN_CPU_TARGET_SCALAR));
    EXPECT_EQ(d.num_threads, 3);
    EXPECT_STREQ(d.reason, "scalar was asked for by the device options");
    EXPECT_NE(device.get(), cpu_device().get());
}

TEST(Device, WhatCannotBeOpenedSaysWhy) {
    fattn_device* device = nullptr;
    fattn_device_options options{};
    options.struct_size = sizeof(options);
    const auto open = [&](fattn_device_kind kind, int32_t index) {
        device = reinterpret_cast<fattn_device*>(&options);  // must become null
        const fattn_status status = fattn_device_open(kind, index, &options, &device);
        EXPECT_EQ(device, nullptr);
        return status;
    };
    // With a driver there is no such device, without one there is none at all.
    EXPECT_EQ(open(FATTN_DEVICE_KIND_CUDA, 1000), FATTN_STATUS_DEVICE_UNAVAILABLE);
    EXPECT_NE(std::string(fattn_last_error()).find("driver"), std::string::npos)
        << fattn_last_error();
    EXPECT_FAILS(open(FATTN_DEVICE_KIND_CPU, 2), FATTN_STATUS_DEVICE_UNAVAILABLE,
                 "CPU device 2 was asked for; there is one, with index 0");
    EXPECT_FAILS(open(7, 0), FATTN_STATUS_INVALID_ARGUMENT,
                 "kind is 7; allowed are 0 (CPU) and 1 (CUDA)");
    options.flags = 4;
    EXPECT_FAILS(open(FATTN_DEVICE_KIND_CPU, 0), FATTN_STATUS_UNSUPPORTED,
                 "options.flags is 4; this library knows none");
    options.flags = 0;
    options.cpu_target = 6;
    EXPECT_FAILS(open(FATTN_DEVICE_KIND_CPU, 0), FATTN_STATUS_INVALID_ARGUMENT,
                 "options.cpu_target is 6; allowed are 0 to 5");
    options.cpu_target = 0;
    for (const int32_t threads : {-1, 1025}) {
        options.num_threads = threads;
        EXPECT_FAILS(open(FATTN_DEVICE_KIND_CPU, 0), FATTN_STATUS_INVALID_ARGUMENT,
                     ("options.num_threads is " + std::to_string(threads) +
                      "; allowed are 0 to 1024, 0 for one per processor")
                         .c_str());
    }
    options.num_threads = 0;
    options.struct_size = 3;
    EXPECT_FAILS(open(FATTN_DEVICE_KIND_CPU, 0), FATTN_STATUS_INVALID_ARGUMENT,
                 "options->struct_size is 3; set it to sizeof(fattn_device_options), 16 in this "
                 "library");
    EXPECT_FAILS(fattn_device_open(FATTN_DEVICE_KIND_CPU, 0, nullptr, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT, "device is NULL; a place for the handle is needed");
    EXPECT_FAILS(fattn_device_cpu(nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "device is NULL; a place for the handle is needed");
}

TEST(Device, ATargetTheProcessorLacksIsRefused) {
    const fattn_device_description best = describe(cpu_device().get());
    for (fattn_cpu_target target = FATTN_CPU_TARGET_SCALAR; target <= FATTN_CPU_TARGET_NEON;
         ++target) {
        fattn_device_options options{};
        options.struct_size = sizeof(options);
        options.cpu_target = target;
        fattn_device* raw = nullptr;
        const fattn_status status = fattn_device_open(FATTN_DEVICE_KIND_CPU, 0, &options, &raw);
        if ((best.cpu_targets_available >> target & 1u) != 0) {
            ASSERT_EQ(status, FATTN_STATUS_OK) << fattn_last_error();
            const Device device(raw);
            EXPECT_EQ(describe(device.get()).cpu_target, target);
        } else {
            EXPECT_EQ(status, static_cast<fattn_status>(FATTN_STATUS_UNSUPPORTED));
            EXPECT_NE(std::string(fattn_last_error()).find("; allowed here: scalar"),
                      std::string::npos)
                << fattn_last_error();
        }
    }
}

TEST(Device, NullHandlesAreRefusedAndReleasingNullIsNothing) {
    fattn_device_description d{};
    d.struct_size = sizeof(d);
    double rate = 0;
    EXPECT_FAILS(fattn_device_info(nullptr, &d), FATTN_STATUS_INVALID_ARGUMENT, "device is NULL");
    EXPECT_FAILS(fattn_device_retain(nullptr), FATTN_STATUS_INVALID_ARGUMENT, "device is NULL");
    EXPECT_FAILS(fattn_device_trim(nullptr), FATTN_STATUS_INVALID_ARGUMENT, "device is NULL");
    EXPECT_FAILS(fattn_device_measure(nullptr, FATTN_PEAK_F32, 1, 0.01, &rate),
                 FATTN_STATUS_INVALID_ARGUMENT, "device is NULL");
    const Device device = cpu_device();
    EXPECT_FAILS(fattn_device_info(device.get(), nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "description is NULL; a fattn_device_description is needed");
    fattn_device_release(nullptr);
}

TEST(Device, MeasureChecksItsArguments) {
    const Device device = cpu_device();
    double rate = 0;
    const auto measure = [&](fattn_peak peak, int32_t threads, double seconds) {
        return fattn_device_measure(device.get(), peak, threads, seconds, &rate);
    };
    ASSERT_EQ(measure(FATTN_PEAK_F32, 1, 0.01), FATTN_STATUS_OK) << fattn_last_error();
    EXPECT_GT(rate, 0);
    EXPECT_FAILS(measure(3, 1, 0.01), FATTN_STATUS_INVALID_ARGUMENT,
                 "peak is 3; allowed are 0 to 2");
    EXPECT_FAILS(measure(FATTN_PEAK_F32, -1, 0.01), FATTN_STATUS_INVALID_ARGUMENT,
                 "num_threads is -1; allowed are 0 to 1024");
    EXPECT_FAILS(measure(FATTN_PEAK_F32, 1025, 0.01), FATTN_STATUS_INVALID_ARGUMENT,
                 "num_threads is 1025; allowed are 0 to 1024");
    EXPECT_FAILS(measure(FATTN_PEAK_F32, 1, 0), FATTN_STATUS_INVALID_ARGUMENT,
                 "seconds is 0; allowed are more than 0 and at most 60");
    EXPECT_FAILS(measure(FATTN_PEAK_F32, 1, 61), FATTN_STATUS_INVALID_ARGUMENT,
                 "seconds is 61; allowed are more than 0 and at most 60");
    EXPECT_FAILS(fattn_device_measure(device.get(), FATTN_PEAK_F32, 1, 0.01, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT, "result is NULL; a place for the rate is needed");
}

}  // namespace
}  // namespace fattn::test
