// Memory, streams, events and programs where there is no CUDA device: every function says so, and
// NULL is refused by name.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "api/handles.h"

namespace fattn::test {
namespace {

TEST(Work, TheCpuHasNoneAndSaysSo) {
    const Device cpu = cpu_device();
    fattn_stream* stream = nullptr;
    fattn_event* event = nullptr;
    fattn_memory* memory = nullptr;
    fattn_module* module = nullptr;
    void* context = nullptr;
    fattn_compile_args args{};
    args.struct_size = sizeof(args);
    const auto refusal = [](const char* what) {
        return std::string("device is the CPU, where calls return when the work is done; ") + what +
               " are of CUDA devices (fattn_device_open)";
    };
    EXPECT_FAILS(fattn_stream_create(cpu.get(), 0, &stream), FATTN_STATUS_UNSUPPORTED,
                 refusal("streams").c_str());
    EXPECT_FAILS(fattn_stream_borrow(cpu.get(), nullptr, &stream), FATTN_STATUS_UNSUPPORTED,
                 refusal("streams").c_str());
    EXPECT_FAILS(fattn_event_create(cpu.get(), 0, &event), FATTN_STATUS_UNSUPPORTED,
                 refusal("events").c_str());
    EXPECT_FAILS(fattn_memory_allocate(cpu.get(), FATTN_MEMORY_DEVICE, 8, &memory),
                 FATTN_STATUS_UNSUPPORTED, refusal("blocks of memory").c_str());
    EXPECT_FAILS(fattn_memory_check(cpu.get(), &args, 8), FATTN_STATUS_UNSUPPORTED,
                 refusal("addresses of device memory").c_str());
    EXPECT_FAILS(fattn_module_compile(cpu.get(), &args, &module), FATTN_STATUS_UNSUPPORTED,
                 refusal("programs").c_str());
    EXPECT_FAILS(fattn_device_context(cpu.get(), &context), FATTN_STATUS_UNSUPPORTED,
                 refusal("contexts").c_str());
    EXPECT_FAILS(fattn_device_memory(cpu.get(), nullptr, nullptr), FATTN_STATUS_UNSUPPORTED,
                 refusal("figures of device memory").c_str());
    EXPECT_FAILS(fattn_device_synchronize(cpu.get()), FATTN_STATUS_UNSUPPORTED,
                 refusal("waits for a device").c_str());
}

TEST(Work, NullIsRefusedByNameAndReleasingItIsNothing) {
    const Device cpu = cpu_device();
    fattn_stream* stream = nullptr;
    void* native = nullptr;
    int32_t done = 0;
    float milliseconds = 0;
    EXPECT_FAILS(fattn_stream_create(nullptr, 0, &stream), FATTN_STATUS_INVALID_ARGUMENT,
                 "device is NULL");
    EXPECT_FAILS(fattn_stream_create(cpu.get(), 0, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "stream is NULL; a place for the handle is needed");
    EXPECT_FAILS(fattn_event_create(cpu.get(), 0, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "event is NULL; a place for the handle is needed");
    EXPECT_FAILS(fattn_memory_allocate(cpu.get(), 0, 8, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "memory is NULL; a place for the handle is needed");
    EXPECT_FAILS(fattn_module_compile(cpu.get(), nullptr, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "module is NULL; a place for the handle is needed");
    EXPECT_FAILS(fattn_device_attach(nullptr, nullptr), FATTN_STATUS_INVALID_ARGUMENT,
                 "device is NULL; a place for the handle is needed");
    for (const fattn_status status :
         {fattn_stream_retain(nullptr),
          fattn_stream_native(nullptr, &native),
          fattn_stream_query(nullptr, &done),
          fattn_stream_synchronize(nullptr),
          fattn_stream_copy(nullptr, FATTN_COPY_TO_DEVICE, nullptr, nullptr, 0),
          fattn_stream_fill(nullptr, nullptr, 0, 0),
          fattn_event_retain(nullptr),
          fattn_event_native(nullptr, &native),
          fattn_event_query(nullptr, &done),
          fattn_event_synchronize(nullptr),
          fattn_event_record(nullptr, nullptr),
          fattn_stream_wait(nullptr, nullptr),
          fattn_event_elapsed(nullptr, nullptr, &milliseconds),
          fattn_memory_retain(nullptr),
          fattn_memory_address(nullptr, &native, nullptr),
          fattn_module_retain(nullptr),
          fattn_module_info(nullptr, nullptr),
          fattn_module_kernel(nullptr, "k", nullptr),
          fattn_kernel_retain(nullptr),
          fattn_kernel_info(nullptr, nullptr),
          fattn_kernel_launch(nullptr, nullptr, nullptr),
          fattn_cuda_info(nullptr)}) {
        EXPECT_EQ(status, static_cast<fattn_status>(FATTN_STATUS_INVALID_ARGUMENT));
    }
    fattn_stream_release(nullptr);
    fattn_event_release(nullptr);
    fattn_memory_release(nullptr);
    fattn_module_release(nullptr);
    fattn_kernel_release(nullptr);
}

TEST(Work, PreparingAPlanOnTheCpuIsNothingToDo) {
    const Plan plan = make_plan(cpu_device().get(), small_problem());
    EXPECT_EQ(fattn_plan_prepare(plan.get(), FATTN_PASS_FORWARD, nullptr), FATTN_STATUS_OK);
    EXPECT_FAILS(fattn_plan_prepare(plan.get(), FATTN_PASS_BACKWARD, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "pass is 1 (backward); the plan was made without FATTN_DENSE_BACKWARD");
    int stream = 0;
    EXPECT_FAILS(fattn_plan_prepare(plan.get(), FATTN_PASS_FORWARD, &stream),
                 FATTN_STATUS_INVALID_ARGUMENT,
                 "stream is given; on the CPU it must be NULL, runs are synchronous");
    EXPECT_FAILS(fattn_plan_prepare(nullptr, FATTN_PASS_FORWARD, nullptr),
                 FATTN_STATUS_INVALID_ARGUMENT, "plan is NULL");
}

TEST(Work, WhatTheProcessHasOfCudaIsDescribedOrExplained) {
    fattn_cuda_description d{};
    d.struct_size = sizeof(d);
    ASSERT_EQ(fattn_cuda_info(&d), FATTN_STATUS_OK) << fattn_last_error();
    EXPECT_EQ(d.struct_size, sizeof(d));
    EXPECT_GT(std::strlen(d.driver), 0U);
    EXPECT_GT(std::strlen(d.nvrtc), 0U);
    EXPECT_GT(std::strlen(d.cache), 0U);
    EXPECT_GT(std::strlen(d.image_targets), 0U);
    if (d.driver_version == 0) {
        EXPECT_EQ(d.num_devices, 0);
        EXPECT_NE(std::strchr(d.driver, ' '), nullptr) << "a sentence, not a path: " << d.driver;
    }
    d.struct_size = 12;
    d.num_devices = -5;
    ASSERT_EQ(fattn_cuda_info(&d), FATTN_STATUS_OK);
    EXPECT_EQ(d.struct_size, 12U);
    EXPECT_EQ(d.num_devices, -5) << "an older caller's struct ends before";
}

}  // namespace
}  // namespace fattn::test
