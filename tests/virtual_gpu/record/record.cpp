// Runs the instruction cases on a GPU and prints what it gave, for tests/virtual_gpu/recordings.
// Usage: record > FILE Needs libcuda.so.1 alone, which it loads itself.
#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cases/cases.h"

namespace {

using Pointer = unsigned long long;

struct Driver {
    int (*init)(unsigned);
    int (*device_get)(int*, int);
    int (*device_name)(char*, int, int);
    int (*retain)(void**, int);
    int (*set_current)(void*);
    int (*load)(void**, const void*, unsigned, int*, void**);
    int (*unload)(void*);
    int (*get_function)(void**, void*, const char*);
    int (*allocate)(Pointer*, size_t);
    int (*to_device)(Pointer, const void*, size_t);
    int (*to_host)(void*, Pointer, size_t);
    int (*fill)(Pointer, unsigned char, size_t);
    int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                  void*, void**, void**);
    int (*synchronize)();
};

template <class T>
void find(void* library, const char* name, T& to) {
    void* symbol = dlsym(library, name);
    if (!symbol) {
        std::fprintf(stderr, "libcuda.so.1 has no %s\n", name);
        std::exit(1);
    }
    to = std::bit_cast<T>(symbol);
}

void check(int result, const std::string& what) {
    if (result == 0) return;
    std::fprintf(stderr, "%s: CUDA error %d\n", what.c_str(), result);
    std::exit(1);
}

// Loads the text and runs its entry `run`; 0, or the error of loading.
int run(const Driver& cuda, const std::string& text, Pointer in, Pointer out, unsigned blocks,
        unsigned threads) {
    void* module = nullptr;
    void* function = nullptr;
    char log[2048] = {};
    int options[] = {5, 6};  // CU_JIT_ERROR_LOG_BUFFER, its size
    void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
    if (const int error = cuda.load(&module, text.c_str(), 2, options, values)) {
        std::fprintf(stderr, "%s\n%s\n", text.c_str(), log);
        return error;
    }
    check(cuda.get_function(&function, module, "run"), "cuModuleGetFunction");
    void* parameters[] = {&in, &out};
    check(cuda.launch(function, blocks, 1, 1, threads, 1, 1, 0, nullptr, parameters, nullptr),
          "cuLaunchKernel");
    check(cuda.synchronize(), "cuCtxSynchronize");
    cuda.unload(module);
    return 0;
}

}  // namespace

int main() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        std::fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    Driver cuda{};
    find(library, "cuInit", cuda.init);
    find(library, "cuDeviceGet", cuda.device_get);
    find(library, "cuDeviceGetName", cuda.device_name);
    find(library, "cuDevicePrimaryCtxRetain", cuda.retain);
    find(library, "cuCtxSetCurrent", cuda.set_current);
    find(library, "cuModuleLoadDataEx", cuda.load);
    find(library, "cuModuleUnload", cuda.unload);
    find(library, "cuModuleGetFunction", cuda.get_function);
    find(library, "cuMemAlloc_v2", cuda.allocate);
    find(library, "cuMemcpyHtoD_v2", cuda.to_device);
    find(library, "cuMemcpyDtoH_v2", cuda.to_host);
    find(library, "cuMemsetD8_v2", cuda.fill);
    find(library, "cuLaunchKernel", cuda.launch);
    find(library, "cuCtxSynchronize", cuda.synchronize);
    int device = 0;
    void* context = nullptr;
    char name[256] = {};
    check(cuda.init(0), "cuInit");
    check(cuda.device_get(&device, 0), "cuDeviceGet");
    check(cuda.device_name(name, sizeof name, device), "cuDeviceGetName");
    check(cuda.retain(&context, device), "cuDevicePrimaryCtxRetain");
    check(cuda.set_current(context), "cuCtxSetCurrent");
    std::printf("device %s\n", name);

    constexpr uint32_t n = fattn::vgpu::kCaseInputs;
    Pointer in = 0, out = 0;
    check(cuda.allocate(&in, 3 * n * 8), "cuMemAlloc");
    check(cuda.allocate(&out, n * 8), "cuMemAlloc");
    std::vector<fattn::vgpu::InstructionCase> cases = fattn::vgpu::instruction_cases();
    const auto& further = fattn::vgpu::further_cases();
    cases.insert(cases.end(), further.begin(), further.end());
    for (const fattn::vgpu::InstructionCase& one : cases) {
        const std::vector<uint64_t> inputs = fattn::vgpu::case_inputs(one);
        check(cuda.to_device(in, inputs.data(), inputs.size() * 8), "cuMemcpyHtoD");
        check(cuda.fill(out, 0, n * 8), "cuMemsetD8");
        if (const int error = run(cuda, fattn::vgpu::case_ptx(one), in, out, n / 128, 128)) {
            std::printf("refused %s %d\n", one.name.c_str(), error);
            continue;
        }
        std::vector<uint64_t> outputs(n);
        check(cuda.to_host(outputs.data(), out, n * 8), "cuMemcpyDtoH");
        if (one.real) {
            double worst = 0;
            for (uint32_t i = 16; i < n; ++i) {
                const double exact =
                    one.real(std::bit_cast<float>(static_cast<uint32_t>(inputs[i])));
                worst = std::max(
                    worst, fattn::vgpu::ulp_error(
                               std::bit_cast<float>(static_cast<uint32_t>(outputs[i])), exact));
            }
            std::printf("approx %s %.3f", one.name.c_str(), worst);
        } else {
            std::printf("exact %s %016llx", one.name.c_str(),
                        static_cast<unsigned long long>(fattn::vgpu::case_hash(outputs)));
        }
        for (uint32_t i = 0; i < 16; ++i)
            std::printf(" %llx", static_cast<unsigned long long>(outputs[i]));
        // Where an exact case differs from what is expected, the first few inputs and results tell
        // how.
        int shown = 0;
        for (uint32_t i = 0; one.expected && i < n && shown < 6; ++i) {
            if (one.expected(inputs[i], inputs[n + i], inputs[2 * n + i]) == outputs[i]) continue;
            std::printf("%s %u:%llx", shown++ == 0 ? " differs" : "", i,
                        static_cast<unsigned long long>(outputs[i]));
        }
        std::printf("\n");
    }
    for (const fattn::vgpu::MmaCase& one : fattn::vgpu::mma_cases()) {
        for (uint32_t probe = 0; probe < fattn::vgpu::kMmaProbes; ++probe) {
            const std::vector<uint32_t> inputs = fattn::vgpu::mma_inputs(one, probe);
            check(cuda.to_device(in, inputs.data(), inputs.size() * 4), "cuMemcpyHtoD");
            if (const int error = run(cuda, fattn::vgpu::mma_ptx(one), in, out, 1, 32)) {
                std::printf("refused mma.%s %d\n", one.name.c_str(), error);
                break;
            }
            std::vector<uint32_t> outputs(128);
            check(cuda.to_host(outputs.data(), out, 512), "cuMemcpyDtoH");
            std::printf("mma %s %u", one.name.c_str(), probe);
            for (const uint32_t value : outputs) std::printf(" %x", value);
            std::printf("\n");
        }
    }
    return 0;
}
