// Launches and the attributes of functions. Called by programs through the driver API.
#include "driver/entry.h"
#include "driver/exports.h"
#include "driver/launch.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call;
using driver::call_in_context;
using driver::Context;
using driver::Driver;
using driver::fail;
using driver::Function;
using driver::LaunchRequest;
using driver::require_results;

CUresult launch(const char* name, CUfunction handle, CUstream stream,
                const LaunchRequest& request) {
    return call_in_context(name, [&](Driver& state, Context& context) {
        const auto function = driver::launchable(state, context, handle);
        driver::enqueue(state, driver::stream_in(state, context, stream),
                        driver::launch_work(state, context, function, request));
    });
}

}  // namespace

extern "C" {

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        CUstream stream, void** parameters, void** extra) {
    LaunchRequest request;
    request.grid = {grid_x, grid_y, grid_z};
    request.block = {block_x, block_y, block_z};
    request.dynamic_shared_bytes = shared_bytes;
    request.parameters = parameters;
    request.extra = extra;
    return launch("cuLaunchKernel", function, stream, request);
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                   unsigned grid_z, unsigned block_x, unsigned block_y,
                                   unsigned block_z, unsigned shared_bytes, CUstream stream,
                                   void** parameters) {
    LaunchRequest request;
    request.grid = {grid_x, grid_y, grid_z};
    request.block = {block_x, block_y, block_z};
    request.dynamic_shared_bytes = shared_bytes;
    request.parameters = parameters;
    request.cooperative = true;
    return launch("cuLaunchCooperativeKernel", function, stream, request);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction handle, void** parameters,
                          void** extra) {
    return call_in_context("cuLaunchKernelEx", [&](Driver& state, Context& context) {
        require_results(config);
        LaunchRequest request = driver::request_of(*config);
        request.parameters = parameters;
        request.extra = extra;
        const auto function = driver::launchable(state, context, handle);
        driver::enqueue(state, driver::stream_in(state, context, config->hStream),
                        driver::launch_work(state, context, function, request));
    });
}

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction handle) {
    return call_in_context("cuFuncGetAttribute", [&](Driver& state, Context& context) {
        require_results(value);
        *value = driver::function_attribute(*driver::launchable(state, context, handle), attribute);
    });
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
    return call_in_context("cuFuncSetAttribute", [&](Driver& state, Context& context) {
        driver::set_function_attribute(*driver::launchable(state, context, handle), attribute,
                                       value);
    });
}

CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config) {
    return call_in_context("cuFuncSetCacheConfig", [&](Driver& state, Context& context) {
        // A hint about the size of a cache, which the virtual GPU has not.
        driver::launchable(state, context, handle);
        if (config < CU_FUNC_CACHE_PREFER_NONE || config > CU_FUNC_CACHE_PREFER_EQUAL) {
            fail(CUDA_ERROR_INVALID_VALUE, "the cache preference is %d; 0 to 3 are allowed",
                 static_cast<int>(config));
        }
    });
}

CUresult cuFuncGetModule(CUmodule* module, CUfunction handle) {
    return call("cuFuncGetModule", [&](Driver& state) {
        require_results(module);
        *module = state.functions.require(handle)->module->handle;
    });
}

CUresult cuFuncGetName(const char** name, CUfunction handle) {
    return call("cuFuncGetName", [&](Driver& state) {
        require_results(name);
        *name = state.functions.require(handle)->entry->name.c_str();
    });
}

CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t* offset, size_t* size) {
    return call("cuFuncGetParamInfo", [&](Driver& state) {
        require_results(offset);
        const EntryInfo& entry = *state.functions.require(handle)->entry;
        if (index >= entry.parameters.size()) {
            fail(CUDA_ERROR_INVALID_VALUE, "%s has %zu parameters; number %zu was asked for",
                 entry.name.c_str(), entry.parameters.size(), index);
        }
        *offset = entry.parameters[index].offset;
        if (size != nullptr) *size = entry.parameters[index].size;
    });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
