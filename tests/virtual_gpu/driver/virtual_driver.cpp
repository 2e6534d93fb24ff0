// Loading the library and the frame of its tests. Linked into the test program alone.
#include "driver/virtual_driver.h"

#include <dlfcn.h>

#include <cstdlib>

namespace fattn::vgpu::cuda {

const Api& api() {
    static const Api* const loaded = [] {
        auto* functions = new Api;
        void* const library = dlopen(FATTN_VIRTUAL_DRIVER, RTLD_LAZY | RTLD_LOCAL);
        EXPECT_NE(library, nullptr) << dlerror();
#define FATTN_LOAD(name, since, symbol, parameters)                    \
    functions->symbol = reinterpret_cast<decltype(functions->symbol)>( \
        library ? dlsym(library, #symbol) : nullptr);                  \
    EXPECT_NE(functions->symbol, nullptr) << #symbol;
        FATTN_CUDA_FUNCTIONS(FATTN_LOAD)
        FATTN_VIRTUAL_GPU_FUNCTIONS(FATTN_LOAD)
#undef FATTN_LOAD
        EXPECT_EQ(functions->fattnVirtualGpuConfigure("models=sm_90a,sm_80;memory=64M"),
                  CUDA_SUCCESS);
        return functions;
    }();
    return *loaded;
}

void DriverTest::SetUp() {
    configure("order=late;seed=1;report=none;checks=all");
    ASSERT_EQ(api().cuInit(0), CUDA_SUCCESS) << last_error();
    ASSERT_EQ(api().cuCtxCreate_v2(&context_, 0, 0), CUDA_SUCCESS) << last_error();
}

void DriverTest::TearDown() { end_context(); }

void DriverTest::end_context() {
    if (context_ != nullptr) {
        EXPECT_EQ(api().cuCtxDestroy_v2(context_), CUDA_SUCCESS) << last_error();
    }
    context_ = nullptr;
}

void DriverTest::configure(const std::string& text) {
    ASSERT_EQ(api().fattnVirtualGpuConfigure(text.c_str()), CUDA_SUCCESS) << last_error();
}

namespace {

template <class Get>
std::string text_of(Get&& get) {
    size_t length = 0;
    get(nullptr, 0, &length);
    std::string text(length + 1, '\0');
    get(text.data(), text.size(), &length);
    text.resize(length);
    return text;
}

}  // namespace

std::string DriverTest::last_error() { return text_of(api().fattnVirtualGpuLastError); }

std::string DriverTest::report() { return text_of(api().fattnVirtualGpuReport); }

CUdeviceptr DriverTest::alloc(size_t bytes) {
    CUdeviceptr address = 0;
    EXPECT_EQ(api().cuMemAlloc_v2(&address, bytes), CUDA_SUCCESS) << last_error();
    return address;
}

CUstream DriverTest::stream(unsigned flags) {
    CUstream made = nullptr;
    EXPECT_EQ(api().cuStreamCreate(&made, flags), CUDA_SUCCESS) << last_error();
    return made;
}

CUevent DriverTest::event(unsigned flags) {
    CUevent made = nullptr;
    EXPECT_EQ(api().cuEventCreate(&made, flags), CUDA_SUCCESS) << last_error();
    return made;
}

uint32_t* DriverTest::pinned(size_t count) {
    void* memory = nullptr;
    EXPECT_EQ(api().cuMemHostAlloc(&memory, count * sizeof(uint32_t), 0), CUDA_SUCCESS)
        << last_error();
    return static_cast<uint32_t*>(memory);
}

}  // namespace fattn::vgpu::cuda
