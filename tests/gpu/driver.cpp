// Loads libcuda and wraps the calls that device programs make.
#include "driver.h"

#include <dlfcn.h>

#include <fstream>
#include <iterator>
#include <stdexcept>

namespace fattn::gpu {
namespace {

using Result = int;

/// The driver's functions, under the names that its headers give the current versions.
struct Driver {
    Result (*cuInit)(unsigned) = nullptr;
    Result (*cuGetErrorString)(Result, const char**) = nullptr;
    Result (*cuDeviceGet)(int*, int) = nullptr;
    Result (*cuDeviceGetName)(char*, int, int) = nullptr;
    Result (*cuDeviceGetAttribute)(int*, int, int) = nullptr;
    Result (*cuDevicePrimaryCtxRetain)(void**, int) = nullptr;
    Result (*cuDevicePrimaryCtxRelease)(int) = nullptr;
    Result (*cuCtxSetCurrent)(void*) = nullptr;
    Result (*cuCtxSynchronize)() = nullptr;
    Result (*cuMemAlloc)(DevicePointer*, std::size_t) = nullptr;
    Result (*cuMemFree)(DevicePointer) = nullptr;
    Result (*cuMemcpyHtoD)(DevicePointer, const void*, std::size_t) = nullptr;
    Result (*cuMemcpyDtoH)(void*, DevicePointer, std::size_t) = nullptr;
    Result (*cuMemsetD8)(DevicePointer, unsigned char, std::size_t) = nullptr;
    Result (*cuModuleLoadData)(void**, const void*) = nullptr;
    Result (*cuModuleGetFunction)(void**, void*, const char*) = nullptr;
    Result (*cuFuncSetAttribute)(void*, int, int) = nullptr;
    Result (*cuLaunchKernel)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                             unsigned, void*, void**, void**) = nullptr;
    Result (*cuEventCreate)(void**, unsigned) = nullptr;
    Result (*cuEventDestroy)(void*) = nullptr;
    Result (*cuEventRecord)(void*, void*) = nullptr;
    Result (*cuEventSynchronize)(void*) = nullptr;
    Result (*cuEventElapsedTime)(float*, void*, void*) = nullptr;

    Driver() {
        void* library = dlopen("libcuda.so.1", RTLD_NOW);
        if (library == nullptr) throw std::runtime_error(dlerror());
        const auto load = [&](const char* name, auto& function) {
            void* symbol = dlsym(library, name);
            if (symbol == nullptr) {
                throw std::runtime_error(std::string("the driver has no ") + name);
            }
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
        };
        load("cuInit", cuInit);
        load("cuGetErrorString", cuGetErrorString);
        load("cuDeviceGet", cuDeviceGet);
        load("cuDeviceGetName", cuDeviceGetName);
        load("cuDeviceGetAttribute", cuDeviceGetAttribute);
        load("cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRetain);
        load("cuDevicePrimaryCtxRelease_v2", cuDevicePrimaryCtxRelease);
        load("cuCtxSetCurrent", cuCtxSetCurrent);
        load("cuCtxSynchronize", cuCtxSynchronize);
        load("cuMemAlloc_v2", cuMemAlloc);
        load("cuMemFree_v2", cuMemFree);
        load("cuMemcpyHtoD_v2", cuMemcpyHtoD);
        load("cuMemcpyDtoH_v2", cuMemcpyDtoH);
        load("cuMemsetD8_v2", cuMemsetD8);
        load("cuModuleLoadData", cuModuleLoadData);
        load("cuModuleGetFunction", cuModuleGetFunction);
        load("cuFuncSetAttribute", cuFuncSetAttribute);
        load("cuLaunchKernel", cuLaunchKernel);
        load("cuEventCreate", cuEventCreate);
        load("cuEventDestroy_v2", cuEventDestroy);
        load("cuEventRecord", cuEventRecord);
        load("cuEventSynchronize", cuEventSynchronize);
        load("cuEventElapsedTime", cuEventElapsedTime);
    }
};

const Driver& driver() {
    static const Driver loaded;
    return loaded;
}

void check(Result result, const std::string& what) {
    if (result == 0) return;
    const char* text = nullptr;
    driver().cuGetErrorString(result, &text);
    throw std::runtime_error(what + ": " + (text != nullptr ? text : "an unknown error") + " (" +
                             std::to_string(result) + ")");
}

constexpr int kMultiprocessorCount = 16;
constexpr int kMajor = 75;
constexpr int kMinor = 76;
constexpr int kMaxDynamicSharedBytes = 8;

int attribute(int device, int which) {
    int value = 0;
    check(driver().cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute");
    return value;
}

}  // namespace

Device::Device(int ordinal) {
    check(driver().cuInit(0), "cuInit");
    check(driver().cuDeviceGet(&device_, ordinal), "cuDeviceGet");
    char name[256] = {};
    check(driver().cuDeviceGetName(name, sizeof(name), device_), "cuDeviceGetName");
    name_ = name;
    architecture_ = 10 * attribute(device_, kMajor) + attribute(device_, kMinor);
    num_multiprocessors_ = attribute(device_, kMultiprocessorCount);
    void* context = nullptr;
    check(driver().cuDevicePrimaryCtxRetain(&context, device_), "cuDevicePrimaryCtxRetain");
    check(driver().cuCtxSetCurrent(context), "cuCtxSetCurrent");
}

Device::~Device() { driver().cuDevicePrimaryCtxRelease(device_); }

Buffer::Buffer(std::size_t num_bytes) : num_bytes_(num_bytes) {
    // The driver refuses an allocation of nothing.
    check(driver().cuMemAlloc(&address_, num_bytes > 0 ? num_bytes : 1), "cuMemAlloc");
}

Buffer::~Buffer() { driver().cuMemFree(address_); }

void* Buffer::pointer() const { return reinterpret_cast<void*>(address_); }

void Buffer::write(const void* from) {
    if (num_bytes_ > 0) check(driver().cuMemcpyHtoD(address_, from, num_bytes_), "cuMemcpyHtoD");
}

void Buffer::read(void* to) const {
    if (num_bytes_ > 0) check(driver().cuMemcpyDtoH(to, address_, num_bytes_), "cuMemcpyDtoH");
}

void Buffer::fill(unsigned char byte) {
    if (num_bytes_ > 0) check(driver().cuMemsetD8(address_, byte, num_bytes_), "cuMemsetD8");
}

Module::Module(const std::string& cubin_path) {
    std::ifstream file(cubin_path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + cubin_path);
    const std::vector<char> image((std::istreambuf_iterator<char>(file)), {});
    check(driver().cuModuleLoadData(&module_, image.data()), "cuModuleLoadData " + cubin_path);
}

void* Module::function(const std::string& name, unsigned shared_bytes) const {
    void* result = nullptr;
    check(driver().cuModuleGetFunction(&result, module_, name.c_str()),
          "cuModuleGetFunction " + name);
    check(
        driver().cuFuncSetAttribute(result, kMaxDynamicSharedBytes, static_cast<int>(shared_bytes)),
        "cuFuncSetAttribute " + name);
    return result;
}

void launch(void* function, const Grid& grid, const void* params, std::size_t params_bytes) {
    // CU_LAUNCH_PARAM_BUFFER_POINTER, _SIZE and _END.
    void* extra[] = {reinterpret_cast<void*>(1), const_cast<void*>(params),
                     reinterpret_cast<void*>(2), &params_bytes, nullptr};
    check(driver().cuLaunchKernel(function, grid.num_blocks, 1, 1, grid.num_threads, 1, 1,
                                  grid.shared_bytes, nullptr, nullptr, extra),
          "cuLaunchKernel");
}

void synchronize() { check(driver().cuCtxSynchronize(), "cuCtxSynchronize"); }

Timer::Timer() {
    check(driver().cuEventCreate(&begin_, 0), "cuEventCreate");
    check(driver().cuEventCreate(&end_, 0), "cuEventCreate");
}

Timer::~Timer() {
    driver().cuEventDestroy(begin_);
    driver().cuEventDestroy(end_);
}

void Timer::start() { check(driver().cuEventRecord(begin_, nullptr), "cuEventRecord"); }

float Timer::stop() {
    check(driver().cuEventRecord(end_, nullptr), "cuEventRecord");
    check(driver().cuEventSynchronize(end_), "cuEventSynchronize");
    float milliseconds = 0;
    check(driver().cuEventElapsedTime(&milliseconds, begin_, end_), "cuEventElapsedTime");
    return milliseconds;
}

}  // namespace fattn::gpu
