// Start, version, names of errors, and the search for functions. Called by programs through the
// driver API.
#include <cstring>
#include <string>

#include "driver/entry.h"
#include "driver/exports.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call_anytime;
using driver::Driver;
using driver::fail;

struct Symbol {
    const char* name;
    int since;
    void* address;
};

const Symbol kSymbols[] = {
#define FATTN_SYMBOL(name, since, symbol, parameters) \
    {#name, since, reinterpret_cast<void*>(&symbol)},
    FATTN_CUDA_FUNCTIONS(FATTN_SYMBOL) FATTN_CUDA_ALIASES(FATTN_SYMBOL)
        FATTN_VIRTUAL_GPU_FUNCTIONS(FATTN_SYMBOL)
#undef FATTN_SYMBOL
};

std::shared_ptr<driver::MemoryPool> make_pool(Driver& state) {
    auto pool = std::make_shared<driver::MemoryPool>();
    pool->handle = state.pools.add(pool);
    return pool;
}

// The newest form of a function that a program written for `version` expects and this driver has.
CUdriverProcAddressQueryResult look_up(const Driver& state, const std::string& name, int version,
                                       void** address) {
    bool known = false;
    const Symbol* best = nullptr;
    for (const Symbol& symbol : kSymbols) {
        if (name != symbol.name) continue;
        known = true;
        if (symbol.since <= version && symbol.since <= state.settings.driver_version &&
            (best == nullptr || symbol.since > best->since)) {
            best = &symbol;
        }
    }
    *address = best == nullptr ? nullptr : best->address;
    if (best != nullptr) return CU_GET_PROC_ADDRESS_SUCCESS;
    return known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                 : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
}

}  // namespace

extern "C" {

CUresult cuInit(unsigned flags) {
    return call_anytime("cuInit", [&](Driver& state) {
        if (flags != 0) fail(CUDA_ERROR_INVALID_VALUE, "the flags are %u; they must be 0", flags);
        if (state.initialised) return;
        driver::configure_from_environment(state.settings);
        for (const DeviceModel* model : state.settings.models) {
            auto device = std::make_unique<driver::Device>();
            device->ordinal = static_cast<int>(state.devices.size());
            device->model = model;
            device->memory_bytes = state.settings.memory;
            device->pool = make_pool(state);
            state.devices.push_back(std::move(device));
        }
        state.queue.reseed(state.settings.seed);
        state.initialised = true;
    });
}

CUresult cuDriverGetVersion(int* version) {
    return call_anytime("cuDriverGetVersion", [&](Driver& state) {
        driver::require_results(version);
        if (!state.initialised) driver::configure_from_environment(state.settings);
        *version = state.settings.driver_version;
    });
}

CUresult cuGetProcAddress_v2(const char* name, void** address, int version, uint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
    return call_anytime("cuGetProcAddress_v2", [&](Driver& state) {
        driver::require_results(name, address);
        if (flags > 1) {
            fail(
                CUDA_ERROR_NOT_SUPPORTED,
                "cuGetProcAddress was asked with flags %llu; the virtual GPU has no functions of "
                "the per-thread default stream, which are flag 2: name the stream by its handle, 2",
                static_cast<unsigned long long>(flags));
        }
        const CUdriverProcAddressQueryResult found = look_up(state, name, version, address);
        if (status != nullptr) {
            *status = found;
        } else if (found != CU_GET_PROC_ADDRESS_SUCCESS) {
            fail(CUDA_ERROR_NOT_FOUND, "%s of version %d is not offered by the virtual GPU", name,
                 version);
        }
    });
}

CUresult cuGetProcAddress(const char* name, void** address, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, address, version, flags, nullptr);
}

CUresult cuGetErrorName(CUresult code, const char** text) {
    if (text == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *text = driver::result_name(code);
    return *text == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult code, const char** text) {
    if (text == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *text = driver::result_sentence(code);
    return *text == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
