// What depends on the state of a whole process: calls before cuInit, settings from the environment.
// Each runs in a child that loads the library anew.
#include <dlfcn.h>

#include <unistd.h>

#include <cstdlib>

#include "driver/virtual_driver.h"

namespace fattn::vgpu::cuda {
namespace {

// Exits with 0 when `check` holds for a copy of the library in which nothing has been called.
template <class Check>
[[noreturn]] void exit_after(const std::vector<std::pair<const char*, const char*>>& environment,
                             Check&& check) {
    for (const auto& [name, value] : environment) setenv(name, value, 1);
    void* const library = dlmopen(LM_ID_NEWLM, FATTN_VIRTUAL_DRIVER, RTLD_LAZY);
    Api fresh;
#define FATTN_LOAD(name, since, symbol, parameters) \
    fresh.symbol = reinterpret_cast<decltype(fresh.symbol)>(dlsym(library, #symbol));
    FATTN_CUDA_FUNCTIONS(FATTN_LOAD)
    FATTN_VIRTUAL_GPU_FUNCTIONS(FATTN_LOAD)
#undef FATTN_LOAD
    _exit(check(fresh) ? 0 : 1);
}

std::string error_of(const Api& fresh) {
    char text[512];
    fresh.fattnVirtualGpuLastError(text, sizeof(text), nullptr);
    return text;
}

TEST(ProcessDeathTest, CallsBeforeInitFail) {
    EXPECT_EXIT(exit_after({},
                           [](const Api& fresh) {
                               int count = 0;
                               return fresh.cuDeviceGetCount(&count) ==
                                          CUDA_ERROR_NOT_INITIALIZED &&
                                      error_of(fresh).find("cuInit") != std::string::npos;
                           }),
                testing::ExitedWithCode(0), "");
}

TEST(ProcessDeathTest, TheDefaultIsOneSm80) {
    EXPECT_EXIT(
        exit_after({},
                   [](const Api& fresh) {
                       int count = 0, major = 0, minor = 0;
                       size_t bytes = 0;
                       return fresh.cuInit(0) == CUDA_SUCCESS &&
                              fresh.cuDeviceGetCount(&count) == CUDA_SUCCESS && count == 1 &&
                              fresh.cuDeviceComputeCapability(&major, &minor, 0) == CUDA_SUCCESS &&
                              major == 8 && minor == 0 &&
                              fresh.cuDeviceTotalMem_v2(&bytes, 0) == CUDA_SUCCESS &&
                              bytes == size_t{4} << 30;
                   }),
        testing::ExitedWithCode(0), "");
}

TEST(ProcessDeathTest, TheEnvironmentChoosesModelsMemoryAndVersion) {
    EXPECT_EXIT(exit_after({{"FATTN_VIRTUAL_GPU_MODELS", "sm_89,sm_90a"},
                            {"FATTN_VIRTUAL_GPU_MEMORY", "3M"},
                            {"FATTN_VIRTUAL_GPU_DRIVER", "11040"}},
                           [](const Api& fresh) {
                               int version = 0, shared = 0;
                               size_t bytes = 0;
                               void* function = nullptr;
                               return fresh.cuInit(0) == CUDA_SUCCESS &&
                                      fresh.cuDriverGetVersion(&version) == CUDA_SUCCESS &&
                                      version == 11040 &&
                                      fresh.cuDeviceTotalMem_v2(&bytes, 1) == CUDA_SUCCESS &&
                                      bytes == 3 << 20 &&
                                      fresh.cuDeviceGetAttribute(
                                          &shared,
                                          CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
                                          0) == CUDA_SUCCESS &&
                                      shared == 99 * 1024 &&
                                      fresh.cuGetProcAddress("cuLibraryLoadData", &function, 12000,
                                                             0) == CUDA_ERROR_NOT_FOUND;
                           }),
                testing::ExitedWithCode(0), "");
}

TEST(ProcessDeathTest, AWrongEnvironmentFailsInit) {
    EXPECT_EXIT(exit_after({{"FATTN_VIRTUAL_GPU_MODELS", "sm_75"}},
                           [](const Api& fresh) {
                               return fresh.cuInit(0) == CUDA_ERROR_INVALID_VALUE &&
                                      error_of(fresh).find("\"sm_75\"") != std::string::npos;
                           }),
                testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace fattn::vgpu::cuda
