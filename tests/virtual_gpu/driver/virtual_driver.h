// Loads libcuda_virtual.so as a program does and gives each test a fresh context. Included by every
// *_test.cpp here.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "driver/cuda_functions.h"
#include "driver/virtual_gpu.h"

namespace fattn::vgpu::cuda {

// One pointer for each function that the library exports.
struct Api {
#define FATTN_MEMBER(name, since, symbol, parameters) CUresult(*symbol) parameters = nullptr;
    FATTN_CUDA_FUNCTIONS(FATTN_MEMBER)
    FATTN_VIRTUAL_GPU_FUNCTIONS(FATTN_MEMBER)
#undef FATTN_MEMBER
};

// The library's functions, loaded once for the process with the settings that all tests share: two
// devices, sm_90a and sm_80, of 64 MB each.
const Api& api();

// Initialises the driver and gives each test a new context of device 0, the order "late", and no
// reports on standard error.
class DriverTest : public testing::Test {
  protected:
    void SetUp() override;
    void TearDown() override;

    static void configure(const std::string& text);
    static std::string last_error();
    static std::string report();

    CUdeviceptr alloc(size_t bytes);
    CUstream stream(unsigned flags = CU_STREAM_NON_BLOCKING);
    CUevent event(unsigned flags = CU_EVENT_DEFAULT);
    // Page-locked memory for `count` words.
    uint32_t* pinned(size_t count);

    // Ends the test's context, which leaves everything of the test behind.
    void end_context();

    CUcontext context_ = nullptr;
};

}  // namespace fattn::vgpu::cuda

#define EXPECT_OK(call) EXPECT_EQ((call), ::fattn::vgpu::cuda::CUDA_SUCCESS) << last_error()
#define ASSERT_OK(call) ASSERT_EQ((call), ::fattn::vgpu::cuda::CUDA_SUCCESS) << last_error()
// The call fails with this code, and the text that explains it holds these words.
#define EXPECT_FAILS(call, code, words)                                         \
    do {                                                                        \
        EXPECT_EQ((call), ::fattn::vgpu::cuda::code);                           \
        EXPECT_NE(last_error().find(words), std::string::npos) << last_error(); \
    } while (false)
