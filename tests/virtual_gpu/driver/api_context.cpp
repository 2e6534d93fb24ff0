// The context functions. Called by programs through the driver API.
#include "driver/capture.h"
#include "driver/context.h"
#include "driver/device.h"
#include "driver/entry.h"
#include "driver/exports.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::call;
using driver::call_in_context;
using driver::Context;
using driver::Device;
using driver::Driver;
using driver::fail;
using driver::require_device;
using driver::require_results;
using driver::this_thread;

void check_flags(unsigned flags) {
    const unsigned known = CU_CTX_SCHED_MASK | CU_CTX_MAP_HOST | CU_CTX_LMEM_RESIZE_TO_MAX;
    const unsigned schedule = flags & CU_CTX_SCHED_MASK;
    if ((flags & ~known) != 0 || schedule == 3 || schedule > 4) {
        fail(CUDA_ERROR_INVALID_VALUE,
             "the context flags are %#x; allowed are one of 0, 1, 2, 4 for waiting, 8 and 0x10",
             flags);
    }
}

std::shared_ptr<Context> context_of(Driver& state, CUcontext handle) {
    std::shared_ptr<Context> context = state.contexts.find(handle);
    if (!context) {
        fail(CUDA_ERROR_INVALID_CONTEXT, "%p is no context, or one that was destroyed",
             static_cast<void*>(handle));
    }
    return context;
}

// The current context, which a fault may have ended.
Context& context_at_top() {
    if (this_thread().current.empty() || this_thread().current.back() == nullptr) {
        fail(CUDA_ERROR_INVALID_CONTEXT, "this thread has no current context");
    }
    return *this_thread().current.back();
}

}  // namespace

extern "C" {

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice ordinal) {
    return call("cuDevicePrimaryCtxRetain", [&](Driver& state) {
        require_results(context);
        Device& device = require_device(state, ordinal);
        if (!device.primary) {
            device.primary = driver::make_context(state, device, device.primary_flags, true);
        }
        ++device.primary_retained;
        *context = device.primary->handle;
    });
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice ordinal) {
    return call("cuDevicePrimaryCtxRelease_v2", [&](Driver& state) {
        Device& device = require_device(state, ordinal);
        if (device.primary_retained == 0) {
            fail(CUDA_ERROR_INVALID_CONTEXT, "the primary context of device %d is not retained",
                 ordinal);
        }
        if (--device.primary_retained > 0) return;
        const std::shared_ptr<Context> context = std::move(device.primary);
        device.primary = nullptr;
        if (context) driver::destroy_context(state, context);
    });
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice ordinal) {
    return call("cuDevicePrimaryCtxReset_v2", [&](Driver& state) {
        Device& device = require_device(state, ordinal);
        const std::shared_ptr<Context> context = std::move(device.primary);
        device.primary = nullptr;
        device.primary_retained = 0;
        if (context) driver::destroy_context(state, context);
    });
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal, unsigned flags) {
    return call("cuDevicePrimaryCtxSetFlags_v2", [&](Driver& state) {
        check_flags(flags);
        Device& device = require_device(state, ordinal);
        device.primary_flags = flags;
        if (device.primary) device.primary->flags = flags;
    });
}

CUresult cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned* flags, int* active) {
    return call("cuDevicePrimaryCtxGetState", [&](Driver& state) {
        require_results(flags, active);
        const Device& device = require_device(state, ordinal);
        *flags = device.primary_flags;
        *active = device.primary ? 1 : 0;
    });
}

CUresult cuCtxCreate_v2(CUcontext* context, unsigned flags, CUdevice ordinal) {
    return call("cuCtxCreate_v2", [&](Driver& state) {
        require_results(context);
        check_flags(flags);
        const auto made = driver::make_context(state, require_device(state, ordinal), flags, false);
        this_thread().current.push_back(made);
        *context = made->handle;
    });
}

CUresult cuCtxDestroy_v2(CUcontext handle) {
    return call("cuCtxDestroy_v2", [&](Driver& state) {
        const std::shared_ptr<Context> context = context_of(state, handle);
        if (context->primary) {
            fail(CUDA_ERROR_INVALID_CONTEXT,
                 "a primary context ends by cuDevicePrimaryCtxRelease or Reset, not by "
                 "cuCtxDestroy");
        }
        driver::destroy_context(state, context);
        auto& current = this_thread().current;
        if (!current.empty() && current.back() == context) current.pop_back();
    });
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
    return call("cuCtxPushCurrent_v2", [&](Driver& state) {
        this_thread().current.push_back(context_of(state, context));
    });
}

CUresult cuCtxPopCurrent_v2(CUcontext* context) {
    return call("cuCtxPopCurrent_v2", [&](Driver&) {
        auto& current = this_thread().current;
        if (current.empty()) {
            fail(CUDA_ERROR_INVALID_CONTEXT, "this thread's stack of contexts is empty");
        }
        if (context != nullptr) *context = current.back() ? current.back()->handle : nullptr;
        current.pop_back();
    });
}

CUresult cuCtxSetCurrent(CUcontext handle) {
    return call("cuCtxSetCurrent", [&](Driver& state) {
        auto& current = this_thread().current;
        const std::shared_ptr<Context> context =
            handle == nullptr ? nullptr : context_of(state, handle);
        if (!current.empty()) current.pop_back();
        if (context) current.push_back(context);
    });
}

CUresult cuCtxGetCurrent(CUcontext* context) {
    return call("cuCtxGetCurrent", [&](Driver&) {
        require_results(context);
        const auto& current = this_thread().current;
        *context = current.empty() || !current.back() ? nullptr : current.back()->handle;
    });
}

CUresult cuCtxGetDevice(CUdevice* device) {
    return call("cuCtxGetDevice", [&](Driver&) {
        require_results(device);
        *device = context_at_top().device->ordinal;
    });
}

CUresult cuCtxGetFlags(unsigned* flags) {
    return call("cuCtxGetFlags", [&](Driver&) {
        require_results(flags);
        *flags = context_at_top().flags;
    });
}

CUresult cuCtxGetId(CUcontext handle, unsigned long long* id) {
    return call("cuCtxGetId", [&](Driver& state) {
        require_results(id);
        *id = handle == nullptr ? context_at_top().id : context_of(state, handle)->id;
    });
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned* version) {
    return call("cuCtxGetApiVersion", [&](Driver& state) {
        require_results(version);
        if (handle != nullptr) context_of(state, handle);
        *version = 3020;
    });
}

CUresult cuCtxSynchronize() {
    return call_in_context("cuCtxSynchronize", [](Driver& state, Context& context) {
        driver::check_no_capture_in(state, context);
        state.queue.force_context(context);
        driver::current_context(state);
    });
}

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    return call_in_context("cuCtxGetStreamPriorityRange", [&](Driver&, Context&) {
        if (least != nullptr) *least = 0;
        if (greatest != nullptr) *greatest = -5;
    });
}

CUresult cuCtxGetLimit(size_t* value, CUlimit limit) {
    return call_in_context("cuCtxGetLimit", [&](Driver&, Context& context) {
        require_results(value);
        if (limit < CU_LIMIT_STACK_SIZE || limit > CU_LIMIT_MALLOC_HEAP_SIZE) {
            fail(CUDA_ERROR_UNSUPPORTED_LIMIT, "limit %d is not one of 0, 1, 2",
                 static_cast<int>(limit));
        }
        *value = context.limits[limit];
    });
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
    return call_in_context("cuCtxSetLimit", [&](Driver&, Context& context) {
        if (limit < CU_LIMIT_STACK_SIZE || limit > CU_LIMIT_MALLOC_HEAP_SIZE) {
            fail(CUDA_ERROR_UNSUPPORTED_LIMIT, "limit %d is not one of 0, 1, 2",
                 static_cast<int>(limit));
        }
        context.limits[limit] = value;
    });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
