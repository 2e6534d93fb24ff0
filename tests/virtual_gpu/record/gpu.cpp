// Calls of the driver API for probes.
#include "record/gpu.h"

#include <dlfcn.h>

#include <bit>
#include <cstdio>
#include <cstdlib>

namespace fattn::vgpu {
namespace {

constexpr int kMaxDynamicShared = 8;             // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
constexpr int kErrorLog = 5, kErrorLogSize = 6;  // CU_JIT_ERROR_LOG_BUFFER and its size

struct alignas(64) TensorMapBytes {
    uint8_t bytes[128];
};

template <class T>
void find_call(void* library, const char* name, T& to) {
    void* symbol = dlsym(library, name);
    if (!symbol) {
        std::fprintf(stderr, "libcuda.so.1 has no %s\n", name);
        std::exit(1);
    }
    to = std::bit_cast<T>(symbol);
}

void* driver_library() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        std::fprintf(stderr, "%s\n", dlerror());
        std::exit(1);
    }
    return library;
}

void need(int result, const char* what) {
    if (result == 0) return;
    std::fprintf(stderr, "%s: CUDA error %d\n", what, result);
    std::exit(1);
}

}  // namespace

std::string device_name() {
    void* library = driver_library();
    int (*init)(unsigned) = nullptr;
    int (*device_get)(int*, int) = nullptr;
    int (*get_name)(char*, int, int) = nullptr;
    find_call(library, "cuInit", init);
    find_call(library, "cuDeviceGet", device_get);
    find_call(library, "cuDeviceGetName", get_name);
    int device = 0;
    char name[256] = {};
    need(init(0), "cuInit");
    need(device_get(&device, 0), "cuDeviceGet");
    need(get_name(name, sizeof name, device), "cuDeviceGetName");
    return name;
}

Gpu::Gpu() {
    void* library = driver_library();
    find_call(library, "cuInit", cuda_.init);
    find_call(library, "cuDeviceGet", cuda_.device_get);
    find_call(library, "cuDevicePrimaryCtxRetain", cuda_.retain);
    find_call(library, "cuCtxSetCurrent", cuda_.set_current);
    find_call(library, "cuModuleLoadDataEx", cuda_.load);
    find_call(library, "cuModuleGetFunction", cuda_.get_function);
    find_call(library, "cuFuncSetAttribute", cuda_.set_attribute);
    find_call(library, "cuMemAlloc_v2", cuda_.allocate);
    find_call(library, "cuMemFree_v2", cuda_.release);
    find_call(library, "cuMemcpyHtoD_v2", cuda_.to_device);
    find_call(library, "cuMemcpyDtoH_v2", cuda_.to_host);
    find_call(library, "cuLaunchKernel", cuda_.launch);
    find_call(library, "cuCtxSynchronize", cuda_.synchronize);
    find_call(library, "cuTensorMapEncodeTiled", cuda_.encode);
    int device = 0;
    void* context = nullptr;
    need(cuda_.init(0), "cuInit");
    need(cuda_.device_get(&device, 0), "cuDeviceGet");
    need(cuda_.retain(&context, device), "cuDevicePrimaryCtxRetain");
    need(cuda_.set_current(context), "cuCtxSetCurrent");
}

int Gpu::load(const std::string& text, void** module) {
    const auto found = modules_.find(text);
    if (found != modules_.end()) {
        *module = found->second;
        return 0;
    }
    char log[2048] = {};
    int options[] = {kErrorLog, kErrorLogSize};
    void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
    const int error = cuda_.load(module, text.c_str(), 2, options, values);
    if (error != 0)
        std::fprintf(stderr, "%s\n%s\n", text.c_str(), log);
    else
        modules_[text] = *module;
    return error;
}

bool Gpu::launch(const Probe& probe, const std::vector<Pointer>& places, Answer& made) {
    const auto fails = [&](int error, const char* call) {
        made.error = error;
        if (error != 0) made.call = call;
        return error != 0;
    };
    for (size_t i = 0; i < places.size(); ++i) {
        if (fails(cuda_.to_device(places[i], probe.buffers[i].data(), 4 * probe.buffers[i].size()),
                  "cuMemcpyHtoD"))
            return false;
    }
    std::vector<TensorMapBytes> maps(probe.maps.size());
    for (size_t i = 0; i < maps.size(); ++i) {
        const ProbeMap& map = probe.maps[i];
        if (fails(cuda_.encode(&maps[i], static_cast<int>(map.type),
                               static_cast<unsigned>(map.dims.size()),
                               reinterpret_cast<void*>(places[map.buffer]), map.dims.data(),
                               map.strides.data(), map.box.data(), map.steps.data(), 0,
                               static_cast<int>(map.swizzle), 0, map.nan ? 1 : 0),
                  "cuTensorMapEncodeTiled"))
            return false;
    }
    void* module = nullptr;
    void* function = nullptr;
    if (fails(load(probe.text, &module), "cuModuleLoadDataEx")) return false;
    if (fails(cuda_.get_function(&function, module, probe.entry.c_str()), "cuModuleGetFunction"))
        return false;
    if (probe.shared_bytes > 0 && fails(cuda_.set_attribute(function, kMaxDynamicShared,
                                                            static_cast<int>(probe.shared_bytes)),
                                        "cuFuncSetAttribute"))
        return false;
    std::vector<uint64_t> values(probe.parameters.size());
    std::vector<void*> parameters(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
        const ProbeParameter& one = probe.parameters[i];
        const bool is_buffer = one.kind == ProbeParameter::Kind::kBuffer;
        values[i] = is_buffer ? places[one.value] : one.value;
        parameters[i] = one.kind == ProbeParameter::Kind::kMap
                            ? static_cast<void*>(&maps[one.value])
                            : static_cast<void*>(&values[i]);
    }
    made.context_lost = true;
    if (fails(cuda_.launch(function, probe.grid[0], probe.grid[1], probe.grid[2], probe.block[0],
                           probe.block[1], probe.block[2], probe.shared_bytes, nullptr,
                           parameters.data(), nullptr),
              "cuLaunchKernel") ||
        fails(cuda_.synchronize(), "cuCtxSynchronize"))
        return false;
    made.context_lost = false;
    made.words.resize(probe.buffers.back().size());
    return !fails(cuda_.to_host(made.words.data(), places.back(), 4 * made.words.size()),
                  "cuMemcpyDtoH");
}

Answer Gpu::run(const Probe& probe) {
    Answer made;
    std::vector<Pointer> places;
    for (const std::vector<uint32_t>& buffer : probe.buffers) {
        Pointer place = 0;
        made.error = cuda_.allocate(&place, 4 * buffer.size());
        if (made.error != 0) {
            made.call = "cuMemAlloc";
            break;
        }
        places.push_back(place);
    }
    if (made.call.empty()) launch(probe, places, made);
    if (!made.context_lost) {
        for (const Pointer place : places) cuda_.release(place);
    }
    return made;
}

}  // namespace fattn::vgpu
