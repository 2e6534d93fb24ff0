// Start, versions, error names, devices and what is not offered, as a program sees them.
#include <dlfcn.h>

#include <set>

#include "driver/refused_functions.h"
#include "driver/virtual_driver.h"

namespace fattn::vgpu::cuda {
namespace {

using General = DriverTest;

// A symbol of the library that is already loaded.
void* symbol(const char* name) {
    return dlsym(dlopen(FATTN_VIRTUAL_DRIVER, RTLD_LAZY | RTLD_NOLOAD), name);
}

TEST_F(General, SaysItsVersionAndDevices) {
    int version = 0, count = 0;
    ASSERT_OK(api().cuDriverGetVersion(&version));
    EXPECT_EQ(version, 12040);
    ASSERT_OK(api().cuDeviceGetCount(&count));
    EXPECT_EQ(count, 2);
    char name[64];
    ASSERT_OK(api().cuDeviceGetName(name, sizeof(name), 0));
    EXPECT_STREQ(name, "Virtual GPU sm_90a");
    size_t bytes = 0;
    ASSERT_OK(api().cuDeviceTotalMem_v2(&bytes, 1));
    EXPECT_EQ(bytes, size_t{64} << 20);
    CUuuid first, second;
    ASSERT_OK(api().cuDeviceGetUuid_v2(&first, 0));
    ASSERT_OK(api().cuDeviceGetUuid_v2(&second, 1));
    EXPECT_NE(std::memcmp(&first, &second, sizeof(first)), 0);
}

TEST_F(General, ModelsHaveTheLimitsOfTheirArchitecture) {
    const auto attribute = [](CUdevice_attribute which, CUdevice device) {
        int value = -1;
        EXPECT_EQ(api().cuDeviceGetAttribute(&value, which, device), CUDA_SUCCESS);
        return value;
    };
    EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 0), 227 * 1024);
    EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 1), 163 * 1024);
    EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 1), 48 * 1024);
    EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0), 9);
    EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 1), 8);
    EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, 0), 1);
    EXPECT_EQ(attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, 1), 0);
    int value = 0;
    EXPECT_FAILS(api().cuDeviceGetAttribute(&value, static_cast<CUdevice_attribute>(9999), 0),
                 CUDA_ERROR_NOT_SUPPORTED, "9999");
}

TEST_F(General, RefusesDevicesThatAreNotThere) {
    CUdevice device = 0;
    EXPECT_FAILS(api().cuDeviceGet(&device, 2), CUDA_ERROR_INVALID_DEVICE, "there are 2");
    EXPECT_FAILS(api().cuDeviceGet(&device, -1), CUDA_ERROR_INVALID_DEVICE, "device -1");
}

TEST_F(General, EveryCodeHasANameAndASentence) {
    const char* text = nullptr;
#define FATTN_EXPECT_NAMED(name, value, sentence)                                       \
    EXPECT_EQ(api().cuGetErrorName(static_cast<CUresult>(value), &text), CUDA_SUCCESS); \
    EXPECT_STREQ(text, #name);                                                          \
    EXPECT_EQ(api().cuGetErrorString(name, &text), CUDA_SUCCESS);                       \
    EXPECT_STREQ(text, sentence);
    FATTN_CUDA_RESULTS(FATTN_EXPECT_NAMED)
#undef FATTN_EXPECT_NAMED
    EXPECT_EQ(api().cuGetErrorName(static_cast<CUresult>(12345), &text), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(text, nullptr);
}

TEST_F(General, FindsFunctionsAsOfAVersion) {
    void* function = nullptr;
    CUdriverProcAddressQueryResult status{};
    ASSERT_OK(api().cuGetProcAddress_v2("cuMemAlloc", &function, 12040, 0, &status));
    EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS);
    EXPECT_EQ(function, symbol("cuMemAlloc_v2"));
    ASSERT_OK(api().cuGetProcAddress_v2("cuDeviceGetUuid", &function, 11030, 0, &status));
    EXPECT_EQ(function, symbol("cuDeviceGetUuid"));
    ASSERT_OK(api().cuGetProcAddress_v2("cuDeviceGetUuid", &function, 12000, 0, &status));
    EXPECT_EQ(function, symbol("cuDeviceGetUuid_v2"));
    ASSERT_OK(api().cuGetProcAddress_v2("cuGraphInstantiate", &function, 12000, 0, &status));
    EXPECT_EQ(function, symbol("cuGraphInstantiateWithFlags"));

    ASSERT_OK(api().cuGetProcAddress_v2("cuLibraryLoadData", &function, 11080, 0, &status));
    EXPECT_EQ(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    EXPECT_EQ(function, nullptr);
    ASSERT_OK(api().cuGetProcAddress_v2("cuNoSuchThing", &function, 12040, 0, &status));
    EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    EXPECT_FAILS(api().cuGetProcAddress("cuNoSuchThing", &function, 12040, 0), CUDA_ERROR_NOT_FOUND,
                 "cuNoSuchThing");
    EXPECT_FAILS(api().cuGetProcAddress("cuInit", &function, 12040, 2), CUDA_ERROR_NOT_SUPPORTED,
                 "per-thread");
}

TEST_F(General, EveryListedFunctionIsFound){
#define FATTN_EXPECT_FOUND(name, since, symbol_name, parameters)                              \
    {                                                                                         \
        void* function = nullptr;                                                             \
        EXPECT_EQ(api().cuGetProcAddress(#name, &function, since, 0), CUDA_SUCCESS) << #name; \
        EXPECT_EQ(function, symbol(#symbol_name));                                            \
    }
    FATTN_CUDA_FUNCTIONS(FATTN_EXPECT_FOUND) FATTN_CUDA_ALIASES(FATTN_EXPECT_FOUND)
#undef FATTN_EXPECT_FOUND
}

TEST_F(General, WhatIsNotOfferedSaysSoByName){
#define FATTN_EXPECT_REFUSED(name)                                                         \
    {                                                                                      \
        const auto function = reinterpret_cast<CUresult (*)(void*, void*)>(symbol(#name)); \
        ASSERT_NE(function, nullptr) << #name;                                             \
        EXPECT_EQ(function(nullptr, nullptr), CUDA_ERROR_NOT_SUPPORTED);                   \
        EXPECT_EQ(last_error().find(#name ":"), 0u) << last_error();                       \
    }
    FATTN_REFUSED_CUDA_FUNCTIONS(FATTN_EXPECT_REFUSED)
#undef FATTN_EXPECT_REFUSED
}

TEST_F(General, ReportsWhatIsNotOfferedOnStandardError) {
    configure("report=faults");
    testing::internal::CaptureStderr();
    reinterpret_cast<CUresult (*)(void*)>(symbol("cuMemAllocManaged"))(nullptr);
    void* function = nullptr;
    api().cuGetProcAddress("cuNoSuchThing", &function, 12040, 0);
    const std::string faults = testing::internal::GetCapturedStderr();
    EXPECT_NE(faults.find("cuMemAllocManaged"), std::string::npos) << faults;
    EXPECT_EQ(faults.find("cuNoSuchThing"), std::string::npos) << faults;

    configure("report=all");
    testing::internal::CaptureStderr();
    api().cuGetProcAddress("cuNoSuchThing", &function, 12040, 0);
    EXPECT_NE(testing::internal::GetCapturedStderr().find("cuNoSuchThing"), std::string::npos);
}

TEST_F(General, RefusesSettingsThatItDoesNotKnow) {
    const auto configure_to = api().fattnVirtualGpuConfigure;
    EXPECT_FAILS(configure_to("colour=red"), CUDA_ERROR_INVALID_VALUE, "no setting colour");
    EXPECT_FAILS(configure_to("order=never"), CUDA_ERROR_INVALID_VALUE, "seeded, early or late");
    EXPECT_FAILS(configure_to("seed=-1"), CUDA_ERROR_INVALID_VALUE, "whole number");
    EXPECT_FAILS(configure_to("order"), CUDA_ERROR_INVALID_VALUE, "key=value");
    EXPECT_FAILS(configure_to("memory=1G"), CUDA_ERROR_INVALID_VALUE, "after cuInit");
    EXPECT_FAILS(configure_to("models=sm_80"), CUDA_ERROR_INVALID_VALUE, "after cuInit");
    EXPECT_FAILS(configure_to("mma=up"), CUDA_ERROR_INVALID_VALUE, "cut or nearest");
    EXPECT_FAILS(configure_to("report=some"), CUDA_ERROR_INVALID_VALUE, "none, faults or all");
}

TEST_F(General, InitTakesNoFlags) {
    EXPECT_FAILS(api().cuInit(1), CUDA_ERROR_INVALID_VALUE, "must be 0");
}

TEST_F(General, NoResultPlaceIsAnError) {
    EXPECT_FAILS(api().cuDeviceGetCount(nullptr), CUDA_ERROR_INVALID_VALUE, "null");
}

}  // namespace
}  // namespace fattn::vgpu::cuda
