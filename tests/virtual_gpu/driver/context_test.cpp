// Contexts: the stack of each thread, primary contexts, what their end leaves behind.
#include <thread>

#include "driver/virtual_driver.h"

namespace fattn::vgpu::cuda {
namespace {

using Contexts = DriverTest;

CUcontext current() {
    CUcontext context = nullptr;
    EXPECT_EQ(api().cuCtxGetCurrent(&context), CUDA_SUCCESS);
    return context;
}

TEST_F(Contexts, TheStackIsOfTheThread) {
    EXPECT_EQ(current(), context_);
    std::thread([&] {
        EXPECT_EQ(current(), nullptr);
        CUdeviceptr address = 0;
        EXPECT_FAILS(api().cuMemAlloc_v2(&address, 16), CUDA_ERROR_INVALID_CONTEXT, "no current");
        EXPECT_OK(api().cuCtxPushCurrent_v2(context_));
        EXPECT_OK(api().cuMemAlloc_v2(&address, 16));
        EXPECT_OK(api().cuMemFree_v2(address));
        CUcontext popped = nullptr;
        EXPECT_OK(api().cuCtxPopCurrent_v2(&popped));
        EXPECT_EQ(popped, context_);
        EXPECT_FAILS(api().cuCtxPopCurrent_v2(&popped), CUDA_ERROR_INVALID_CONTEXT, "empty");
    }).join();
    EXPECT_OK(api().cuCtxSetCurrent(nullptr));
    EXPECT_EQ(current(), nullptr);
    EXPECT_OK(api().cuCtxSetCurrent(context_));
    EXPECT_EQ(current(), context_);
}

TEST_F(Contexts, PrimaryContextsAreCounted) {
    CUcontext first = nullptr, second = nullptr;
    unsigned flags = 0;
    int active = 1;
    ASSERT_OK(api().cuDevicePrimaryCtxGetState(1, &flags, &active));
    EXPECT_EQ(active, 0);
    ASSERT_OK(api().cuDevicePrimaryCtxRetain(&first, 1));
    ASSERT_OK(api().cuDevicePrimaryCtxRetain(&second, 1));
    EXPECT_EQ(first, second);
    EXPECT_FAILS(api().cuCtxDestroy_v2(first), CUDA_ERROR_INVALID_CONTEXT, "primary");
    ASSERT_OK(api().cuDevicePrimaryCtxRelease_v2(1));
    ASSERT_OK(api().cuDevicePrimaryCtxGetState(1, &flags, &active));
    EXPECT_EQ(active, 1);
    ASSERT_OK(api().cuDevicePrimaryCtxRelease_v2(1));
    ASSERT_OK(api().cuDevicePrimaryCtxGetState(1, &flags, &active));
    EXPECT_EQ(active, 0);
    EXPECT_FAILS(api().cuDevicePrimaryCtxRelease_v2(1), CUDA_ERROR_INVALID_CONTEXT, "not retained");
    EXPECT_FAILS(api().cuCtxPushCurrent_v2(first), CUDA_ERROR_INVALID_CONTEXT, "destroyed");
}

TEST_F(Contexts, ResetEndsThePrimaryContextForAll) {
    CUcontext primary = nullptr;
    ASSERT_OK(api().cuDevicePrimaryCtxRetain(&primary, 1));
    ASSERT_OK(api().cuCtxPushCurrent_v2(primary));
    ASSERT_OK(api().cuDevicePrimaryCtxReset_v2(1));
    CUdeviceptr address = 0;
    EXPECT_FAILS(api().cuMemAlloc_v2(&address, 16), CUDA_ERROR_CONTEXT_IS_DESTROYED, "destroyed");
    EXPECT_OK(api().cuCtxPopCurrent_v2(nullptr));
}

TEST_F(Contexts, WhatIsLeftBehindIsReported) {
    CUcontext leaky = nullptr;
    ASSERT_OK(api().cuCtxCreate_v2(&leaky, 0, 0));
    size_t before = 0, total = 0, after = 0;
    ASSERT_OK(api().cuMemGetInfo_v2(&before, &total));
    alloc(1000);
    alloc(24);
    stream();
    event();
    ASSERT_OK(api().cuCtxDestroy_v2(leaky));
    EXPECT_NE(report().find("2 blocks of memory (1024 bytes), 1 streams and 1 events"),
              std::string::npos)
        << report();
    EXPECT_NE(report().find("the 1000-byte block of cuMemAlloc_v2 #"), std::string::npos);
    ASSERT_OK(api().cuMemGetInfo_v2(&after, &total));
    EXPECT_EQ(after, before);
}

TEST_F(Contexts, HandlesEndWithTheirContext) {
    CUcontext other = nullptr;
    ASSERT_OK(api().cuCtxCreate_v2(&other, 0, 0));
    const CUstream of_other = stream();
    const CUevent event_of_other = event();
    ASSERT_OK(api().cuCtxDestroy_v2(other));
    EXPECT_FAILS(api().cuStreamSynchronize(of_other), CUDA_ERROR_INVALID_HANDLE, "no stream");
    EXPECT_FAILS(api().cuEventSynchronize(event_of_other), CUDA_ERROR_INVALID_HANDLE, "no event");
    EXPECT_FAILS(api().cuCtxDestroy_v2(other), CUDA_ERROR_INVALID_CONTEXT, "destroyed");
}

TEST_F(Contexts, FlagsLimitsAndQuestions) {
    CUdevice device = -1;
    ASSERT_OK(api().cuCtxGetDevice(&device));
    EXPECT_EQ(device, 0);
    size_t value = 0;
    ASSERT_OK(api().cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 4096));
    ASSERT_OK(api().cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE));
    EXPECT_EQ(value, 4096u);
    EXPECT_FAILS(api().cuCtxGetLimit(&value, static_cast<CUlimit>(5)), CUDA_ERROR_UNSUPPORTED_LIMIT,
                 "limit 5");
    CUcontext wrong = nullptr;
    EXPECT_FAILS(api().cuCtxCreate_v2(&wrong, 0x1000, 0), CUDA_ERROR_INVALID_VALUE, "0x1000");
    int least = 1, greatest = 1;
    ASSERT_OK(api().cuCtxGetStreamPriorityRange(&least, &greatest));
    EXPECT_EQ(least, 0);
    EXPECT_LT(greatest, 0);
    unsigned long long id = 0, other_id = 0;
    ASSERT_OK(api().cuCtxGetId(nullptr, &id));
    ASSERT_OK(api().cuCtxGetId(context_, &other_id));
    EXPECT_EQ(id, other_id);
}

TEST_F(Contexts, ManyThreadsAtOnce) {
    configure("order=seeded;seed=11");
    std::vector<std::thread> threads;
    for (uint32_t number = 0; number < 8; ++number) {
        threads.emplace_back([this, number] {
            EXPECT_OK(api().cuCtxPushCurrent_v2(context_));
            const CUstream own = stream();
            const CUdeviceptr block = alloc(4096);
            uint32_t* const host = pinned(1024);
            for (uint32_t round = 0; round < 20; ++round) {
                EXPECT_OK(api().cuMemsetD32Async(block, number * 100 + round, 1024, own));
                EXPECT_OK(api().cuMemcpyDtoHAsync_v2(host, block, 4096, own));
                EXPECT_OK(api().cuStreamSynchronize(own));
                EXPECT_EQ(host[0], number * 100 + round);
                EXPECT_EQ(host[1023], number * 100 + round);
            }
            EXPECT_OK(api().cuMemFree_v2(block));
            EXPECT_OK(api().cuMemFreeHost(host));
            EXPECT_OK(api().cuStreamDestroy_v2(own));
        });
    }
    for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace fattn::vgpu::cuda
