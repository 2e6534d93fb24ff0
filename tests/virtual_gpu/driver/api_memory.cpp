// Allocation of device and pinned memory, pools, questions about pointers. Called by programs
// through the driver API.
#include <algorithm>

#include "driver/context.h"
#include "driver/device.h"
#include "driver/entry.h"
#include "driver/exports.h"
#include "driver/pinned.h"

namespace fattn::vgpu::cuda {
namespace {

using driver::Allocation;
using driver::BlockKind;
using driver::call;
using driver::call_in_context;
using driver::call_outside_capture;
using driver::Context;
using driver::Driver;
using driver::fail;
using driver::format_text;
using driver::require_results;
using driver::Work;

unsigned long long number(uint64_t value) { return value; }

Allocation& allocate(Driver& state, Context& context, uint64_t bytes, const char* function) {
    if (bytes == 0) fail(CUDA_ERROR_INVALID_VALUE, "0 bytes were asked for; 1 or more are allowed");
    const uint64_t accounted = driver::reserve_memory(state, context, bytes);
    try {
        Allocation& made = state.memory.allocate(&context, bytes, BlockKind::kDevice, function);
        made.accounted = accounted;
        return made;
    } catch (...) {
        context.device->used_bytes -= accounted;
        throw;
    }
}

// The live device block that begins at an address.
Allocation& block_at(Driver& state, const Context& context, CUdeviceptr address) {
    Allocation* const allocation = state.memory.find(address);
    if (allocation == nullptr || !allocation->live() || allocation->block.base != address ||
        allocation->kind != BlockKind::kDevice || allocation->context != &context) {
        fail(CUDA_ERROR_INVALID_VALUE,
             "%#llx does not begin a block of device memory of the current context; it is %s",
             address, state.memory.describe(address).c_str());
    }
    return *allocation;
}

void allocate_async(Driver& state, Context& context, CUdeviceptr* address, size_t bytes,
                    CUstream handle, const char* function) {
    require_results(address);
    driver::Stream& stream = driver::stream_in(state, context, handle);
    if (stream.capture) {
        fail(CUDA_ERROR_NOT_SUPPORTED,
             "stream-ordered allocation while capturing would be a memory node of the graph, which "
             "the virtual GPU does not offer");
    }
    Allocation& made = allocate(state, context, bytes, function);
    made.stream_ordered = true;
    made.usable = false;
    driver::MemoryPool& pool = *context.device->pool;
    pool.used += made.accounted;
    pool.used_high = std::max(pool.used_high, pool.used);
    *address = made.block.base;
    driver::enqueue(state, stream,
                    {.what = format_text("%s of %llu bytes", function, number(bytes)),
                     .run = [&state, base = made.block.base] {
                         if (Allocation* const block = state.memory.find(base)) {
                             block->usable = true;
                         }
                         return 1.0;
                     }});
}

void free_host(Driver& state, Context& context, Allocation& allocation) {
    state.queue.force_context(context);
    const std::string overwritten = driver::overwritten_behind(allocation);
    driver::free_block(state, allocation, "cuMemFreeHost");
    if (!overwritten.empty()) {
        state.publish(overwritten);
        fail(CUDA_ERROR_INVALID_VALUE, "%s", overwritten.c_str());
    }
}

Allocation& host_block(Driver& state, void* memory, const char* function) {
    Allocation* const allocation = state.memory.find(reinterpret_cast<uint64_t>(memory));
    if (allocation == nullptr || !allocation->on_host()) {
        fail(CUDA_ERROR_INVALID_VALUE, "%s was given %p, which is %s", function, memory,
             state.memory.describe(reinterpret_cast<uint64_t>(memory)).c_str());
    }
    return *allocation;
}

void pointer_attribute(Driver& state, void* value, CUpointer_attribute attribute,
                       CUdeviceptr address) {
    require_results(value);
    const Allocation* const found = state.memory.find(address);
    if (found == nullptr || !found->live()) {
        fail(CUDA_ERROR_INVALID_VALUE, "%#llx is %s", address,
             state.memory.describe(address).c_str());
    }
    switch (attribute) {
        case CU_POINTER_ATTRIBUTE_CONTEXT:
            *static_cast<CUcontext*>(value) = found->context->handle;
            return;
        case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
            *static_cast<unsigned*>(value) =
                found->on_host() ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
            return;
        case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
            *static_cast<CUdeviceptr*>(value) = address;
            return;
        case CU_POINTER_ATTRIBUTE_HOST_POINTER:
            if (!found->on_host()) {
                fail(CUDA_ERROR_INVALID_VALUE, "%#llx is device memory without a host address",
                     address);
            }
            *static_cast<void**>(value) = reinterpret_cast<void*>(address);
            return;
        case CU_POINTER_ATTRIBUTE_BUFFER_ID:
            *static_cast<unsigned long long*>(value) = found->serial;
            return;
        case CU_POINTER_ATTRIBUTE_IS_MANAGED:
            *static_cast<bool*>(value) = false;
            return;
        case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
            *static_cast<int*>(value) = found->context->device->ordinal;
            return;
        case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
            *static_cast<CUdeviceptr*>(value) = found->block.base;
            return;
        case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
            *static_cast<size_t*>(value) = found->block.size;
            return;
        case CU_POINTER_ATTRIBUTE_MAPPED:
            *static_cast<bool*>(value) = true;
            return;
    }
    fail(CUDA_ERROR_NOT_SUPPORTED, "pointer attribute %d is not known to the virtual GPU",
         static_cast<int>(attribute));
}

// The value that a question about a foreign pointer gets.
void clear_pointer_attribute(void* value, CUpointer_attribute attribute) {
    switch (attribute) {
        case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
            *static_cast<unsigned*>(value) = 0;
            return;
        case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
            *static_cast<int*>(value) = -2;
            return;
        case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        case CU_POINTER_ATTRIBUTE_MAPPED:
            *static_cast<bool*>(value) = false;
            return;
        default:
            *static_cast<uint64_t*>(value) = 0;
    }
}

}  // namespace

extern "C" {

CUresult cuMemGetInfo_v2(size_t* free_bytes, size_t* total_bytes) {
    return call_in_context("cuMemGetInfo_v2", [&](Driver&, Context& context) {
        require_results(free_bytes, total_bytes);
        *free_bytes = context.device->memory_bytes - context.device->used_bytes;
        *total_bytes = context.device->memory_bytes;
    });
}

CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
    return call_outside_capture("cuMemAlloc_v2", [&](Driver& state, Context& context) {
        require_results(address);
        *address = allocate(state, context, bytes, "cuMemAlloc_v2").block.base;
    });
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* address, size_t* pitch, size_t width, size_t height,
                            unsigned element_bytes) {
    return call_outside_capture("cuMemAllocPitch_v2", [&](Driver& state, Context& context) {
        require_results(address, pitch);
        if (element_bytes != 4 && element_bytes != 8 && element_bytes != 16) {
            fail(CUDA_ERROR_INVALID_VALUE, "the element size is %u; it may be 4, 8 or 16",
                 element_bytes);
        }
        const size_t row = (width + 511) / 512 * 512;
        if (height != 0 && row > SIZE_MAX / height) {
            fail(CUDA_ERROR_OUT_OF_MEMORY, "%llu rows of %llu bytes are too much", number(height),
                 number(row));
        }
        *address = allocate(state, context, row * height, "cuMemAllocPitch_v2").block.base;
        *pitch = row;
    });
}

CUresult cuMemFree_v2(CUdeviceptr address) {
    return call_outside_capture("cuMemFree_v2", [&](Driver& state, Context& context) {
        if (address == 0) return;
        Allocation& allocation = block_at(state, context, address);
        if (allocation.free_issued) {
            fail(CUDA_ERROR_INVALID_VALUE, "%s is already being freed by cuMemFreeAsync",
                 allocation.name().c_str());
        }
        // Blocks of cuMemAllocAsync are freed without waiting for anybody.
        if (!allocation.stream_ordered) {
            state.queue.force_context(context);
            driver::current_context(state);
        }
        driver::free_block(state, allocation, "cuMemFree_v2");
    });
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
    return call_in_context("cuMemGetAddressRange_v2", [&](Driver& state, Context&) {
        const Allocation* const found = state.memory.find(address);
        if (found == nullptr || !found->live()) {
            fail(CUDA_ERROR_NOT_FOUND, "%#llx is %s", address,
                 state.memory.describe(address).c_str());
        }
        if (base != nullptr) *base = found->block.base;
        if (bytes != nullptr) *bytes = found->block.size;
    });
}

CUresult cuMemHostAlloc(void** memory, size_t bytes, unsigned flags) {
    return call_outside_capture("cuMemHostAlloc", [&](Driver& state, Context& context) {
        require_results(memory);
        if (bytes == 0 || flags > 7) {
            fail(
                CUDA_ERROR_INVALID_VALUE,
                "%llu bytes with flags %#x were asked for; 1 byte or more with flags of 1, 2 and 4 "
                "are allowed",
                number(bytes), flags);
        }
        *memory = driver::map_pinned(state, context, bytes, flags, "cuMemHostAlloc").block.data;
    });
}

CUresult cuMemAllocHost_v2(void** memory, size_t bytes) { return cuMemHostAlloc(memory, bytes, 0); }

CUresult cuMemFreeHost(void* memory) {
    return call_outside_capture("cuMemFreeHost", [&](Driver& state, Context& context) {
        Allocation& allocation = host_block(state, memory, "cuMemFreeHost");
        if (allocation.kind != BlockKind::kPinned || allocation.block.data != memory) {
            fail(CUDA_ERROR_INVALID_VALUE, "%p does not begin a block of cuMemHostAlloc", memory);
        }
        free_host(state, context, allocation);
    });
}

CUresult cuMemHostRegister_v2(void* memory, size_t bytes, unsigned flags) {
    return call_outside_capture("cuMemHostRegister_v2", [&](Driver& state, Context& context) {
        const uint64_t begin = reinterpret_cast<uint64_t>(memory);
        if (memory == nullptr || bytes == 0 || flags > 3 || begin >= driver::kDeviceBase) {
            fail(
                CUDA_ERROR_INVALID_VALUE,
                "%llu bytes at %p with flags %#x cannot be registered; host memory with flags of 1 "
                "and 2 can",
                number(bytes), memory, flags);
        }
        for (const uint64_t window : {kSharedWindow, kLocalWindow, kParamWindow}) {
            if (begin < window + kWindowBytes && window < begin + bytes) {
                fail(CUDA_ERROR_OPERATING_SYSTEM,
                     "%p lies where the virtual GPU has a window of its generic addresses", memory);
            }
        }
        if (const Allocation* const other = state.memory.find_host_overlap(begin, begin + bytes)) {
            fail(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "the range shares bytes with %s",
                 other->name().c_str());
        }
        state.memory.adopt(&context, memory, bytes, BlockKind::kRegistered, "cuMemHostRegister_v2")
            .host_flags = flags;
    });
}

CUresult cuMemHostUnregister(void* memory) {
    return call_outside_capture("cuMemHostUnregister", [&](Driver& state, Context& context) {
        Allocation* const found = state.memory.find(reinterpret_cast<uint64_t>(memory));
        if (found == nullptr || found->kind != BlockKind::kRegistered ||
            found->block.data != memory) {
            fail(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "%p does not begin a registered range",
                 memory);
        }
        state.queue.force_context(context);
        driver::free_block(state, *found, "cuMemHostUnregister");
    });
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* address, void* memory, unsigned flags) {
    return call_in_context("cuMemHostGetDevicePointer_v2", [&](Driver& state, Context&) {
        require_results(address);
        if (flags != 0) fail(CUDA_ERROR_INVALID_VALUE, "the flags are %u; they must be 0", flags);
        host_block(state, memory, "cuMemHostGetDevicePointer_v2");
        *address = reinterpret_cast<CUdeviceptr>(memory);
    });
}

CUresult cuMemHostGetFlags(unsigned* flags, void* memory) {
    return call_in_context("cuMemHostGetFlags", [&](Driver& state, Context&) {
        require_results(flags);
        *flags = host_block(state, memory, "cuMemHostGetFlags").host_flags;
    });
}

CUresult cuPointerGetAttribute(void* value, CUpointer_attribute attribute, CUdeviceptr address) {
    return call("cuPointerGetAttribute",
                [&](Driver& state) { pointer_attribute(state, value, attribute, address); });
}

CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute* attributes, void** values,
                                CUdeviceptr address) {
    return call("cuPointerGetAttributes", [&](Driver& state) {
        require_results(attributes, values);
        const Allocation* const found = state.memory.find(address);
        for (unsigned at = 0; at < count; ++at) {
            const bool host_question = attributes[at] == CU_POINTER_ATTRIBUTE_HOST_POINTER;
            if (found == nullptr || !found->live() || (host_question && !found->on_host())) {
                require_results(values[at]);
                clear_pointer_attribute(values[at], attributes[at]);
            } else {
                pointer_attribute(state, values[at], attributes[at], address);
            }
        }
    });
}

CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream) {
    return call_in_context("cuMemAllocAsync", [&](Driver& state, Context& context) {
        allocate_async(state, context, address, bytes, stream, "cuMemAllocAsync");
    });
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* address, size_t bytes, CUmemoryPool pool,
                                 CUstream stream) {
    return call_in_context("cuMemAllocFromPoolAsync", [&](Driver& state, Context& context) {
        if (state.pools.require(pool) != context.device->pool) {
            fail(CUDA_ERROR_NOT_SUPPORTED, "the pool is another device's");
        }
        allocate_async(state, context, address, bytes, stream, "cuMemAllocFromPoolAsync");
    });
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
    return call_in_context("cuMemFreeAsync", [&](Driver& state, Context& context) {
        driver::Stream& stream = driver::stream_in(state, context, handle);
        Allocation& allocation = block_at(state, context, address);
        if (stream.capture) {
            fail(CUDA_ERROR_NOT_SUPPORTED,
                 "cuMemFreeAsync while capturing would be a memory node of the graph, which the "
                 "virtual GPU does not offer");
        }
        if (!allocation.stream_ordered || allocation.free_issued) {
            fail(CUDA_ERROR_INVALID_VALUE, "%s is %s", allocation.name().c_str(),
                 allocation.free_issued ? "already being freed" : "not of cuMemAllocAsync");
        }
        allocation.free_issued = true;
        driver::enqueue(
            state, stream,
            {.what = "cuMemFreeAsync of " + allocation.name(), .run = [&state, base = address] {
                 driver::free_block(state, *state.memory.find(base), "cuMemFreeAsync");
                 return 1.0;
             }});
    });
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
    return call("cuMemPoolGetAttribute", [&](Driver& state) {
        require_results(value);
        const auto pool = state.pools.require(handle);
        switch (attribute) {
            case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
            case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
            case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
                *static_cast<int*>(value) = pool->reuse[attribute - 1];
                return;
            case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
                *static_cast<uint64_t*>(value) = pool->release_threshold;
                return;
            case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
            case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
                *static_cast<uint64_t*>(value) = pool->used;
                return;
            case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
            case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
                *static_cast<uint64_t*>(value) = pool->used_high;
                return;
        }
        fail(CUDA_ERROR_INVALID_VALUE, "pool attribute %d is not one of 1 to 8",
             static_cast<int>(attribute));
    });
}

CUresult cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
    return call("cuMemPoolSetAttribute", [&](Driver& state) {
        require_results(value);
        const auto pool = state.pools.require(handle);
        switch (attribute) {
            case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
            case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
            case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
                pool->reuse[attribute - 1] = *static_cast<const int*>(value);
                return;
            case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
                pool->release_threshold = *static_cast<const uint64_t*>(value);
                return;
            default:
                fail(CUDA_ERROR_NOT_SUPPORTED, "pool attribute %d cannot be set; 1 to 4 can",
                     static_cast<int>(attribute));
        }
    });
}

CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t) {
    // Freed blocks are given back at once, so there is never anything to give back here.
    return call("cuMemPoolTrimTo", [&](Driver& state) { state.pools.require(handle); });
}

}  // extern "C"
}  // namespace fattn::vgpu::cuda
