// The functions of the CUDA driver that the library uses, as a table that driver.cpp loads and that
// tests compare with cuda.h.
#pragma once

#include "cuda/runtime/driver_types.h"

// X(member, name, suffix, version, need, parameters); every function returns a Result
//   name, suffix   the driver exports name + suffix; cuGetProcAddress is asked for name
//   version        CUDA version in which this signature appeared, as 1000 * major + 10 * minor
//   need           kRequired, or kOptional where the caller can do without
#define FATTN_CUDA_DRIVER_FUNCTIONS(X)                                                           \
    X(get_error_name, "cuGetErrorName", "", 6000, kRequired, (Result, const char**))             \
    X(get_error_string, "cuGetErrorString", "", 6000, kRequired, (Result, const char**))         \
    X(init, "cuInit", "", 2000, kRequired, (unsigned))                                           \
    X(driver_get_version, "cuDriverGetVersion", "", 2020, kRequired, (int*))                     \
    X(device_get, "cuDeviceGet", "", 2000, kRequired, (DeviceId*, int))                          \
    X(device_get_count, "cuDeviceGetCount", "", 2000, kRequired, (int*))                         \
    X(device_get_name, "cuDeviceGetName", "", 2000, kRequired, (char*, int, DeviceId))           \
    X(device_get_uuid, "cuDeviceGetUuid", "_v2", 11040, kOptional, (Uuid*, DeviceId))            \
    X(device_total_mem, "cuDeviceTotalMem", "_v2", 3020, kRequired, (std::size_t*, DeviceId))    \
    X(device_get_attribute, "cuDeviceGetAttribute", "", 2000, kRequired,                         \
      (int*, DeviceAttribute, DeviceId))                                                         \
    X(primary_context_retain, "cuDevicePrimaryCtxRetain", "", 7000, kRequired,                   \
      (ContextHandle*, DeviceId))                                                                \
    X(primary_context_release, "cuDevicePrimaryCtxRelease", "_v2", 11000, kRequired, (DeviceId)) \
    X(context_push, "cuCtxPushCurrent", "_v2", 4000, kRequired, (ContextHandle))                 \
    X(context_pop, "cuCtxPopCurrent", "_v2", 4000, kRequired, (ContextHandle*))                  \
    X(context_get_current, "cuCtxGetCurrent", "", 4000, kRequired, (ContextHandle*))             \
    X(context_get_device, "cuCtxGetDevice", "", 2000, kRequired, (DeviceId*))                    \
    X(context_synchronize, "cuCtxSynchronize", "", 2000, kRequired, ())                          \
    X(stream_create, "cuStreamCreateWithPriority", "", 5050, kRequired,                          \
      (StreamHandle*, unsigned, int))                                                            \
    X(stream_destroy, "cuStreamDestroy", "_v2", 4000, kRequired, (StreamHandle))                 \
    X(stream_query, "cuStreamQuery", "", 2000, kRequired, (StreamHandle))                        \
    X(stream_synchronize, "cuStreamSynchronize", "", 2000, kRequired, (StreamHandle))            \
    X(stream_wait_event, "cuStreamWaitEvent", "", 3020, kRequired,                               \
      (StreamHandle, EventHandle, unsigned))                                                     \
    X(stream_get_context, "cuStreamGetCtx", "", 9020, kRequired, (StreamHandle, ContextHandle*)) \
    X(stream_get_id, "cuStreamGetId", "", 12000, kOptional, (StreamHandle, unsigned long long*)) \
    X(stream_is_capturing, "cuStreamIsCapturing", "", 10000, kRequired,                          \
      (StreamHandle, CaptureStatus*))                                                            \
    X(launch_host_function, "cuLaunchHostFunc", "", 10000, kRequired,                            \
      (StreamHandle, void (*)(void*), void*))                                                    \
    X(event_create, "cuEventCreate", "", 2000, kRequired, (EventHandle*, unsigned))              \
    X(event_destroy, "cuEventDestroy", "_v2", 4000, kRequired, (EventHandle))                    \
    X(event_record, "cuEventRecord", "", 2000, kRequired, (EventHandle, StreamHandle))           \
    X(event_query, "cuEventQuery", "", 2000, kRequired, (EventHandle))                           \
    X(event_synchronize, "cuEventSynchronize", "", 2000, kRequired, (EventHandle))               \
    X(event_elapsed_time, "cuEventElapsedTime", "", 2000, kRequired,                             \
      (float*, EventHandle, EventHandle))                                                        \
    X(mem_get_info, "cuMemGetInfo", "_v2", 3020, kRequired, (std::size_t*, std::size_t*))        \
    X(mem_alloc, "cuMemAlloc", "_v2", 3020, kRequired, (DevicePointer*, std::size_t))            \
    X(mem_free, "cuMemFree", "_v2", 3020, kRequired, (DevicePointer))                            \
    X(mem_host_alloc, "cuMemHostAlloc", "", 2020, kRequired, (void**, std::size_t, unsigned))    \
    X(mem_free_host, "cuMemFreeHost", "", 2000, kRequired, (void*))                              \
    X(mem_get_address_range, "cuMemGetAddressRange", "_v2", 3020, kRequired,                     \
      (DevicePointer*, std::size_t*, DevicePointer))                                             \
    X(memcpy_to_device, "cuMemcpyHtoDAsync", "_v2", 3020, kRequired,                             \
      (DevicePointer, const void*, std::size_t, StreamHandle))                                   \
    X(memcpy_to_host, "cuMemcpyDtoHAsync", "_v2", 3020, kRequired,                               \
      (void*, DevicePointer, std::size_t, StreamHandle))                                         \
    X(memcpy_on_device, "cuMemcpyDtoDAsync", "_v2", 3020, kRequired,                             \
      (DevicePointer, DevicePointer, std::size_t, StreamHandle))                                 \
    X(memset_bytes, "cuMemsetD8Async", "", 3020, kRequired,                                      \
      (DevicePointer, unsigned char, std::size_t, StreamHandle))                                 \
    X(memset_words, "cuMemsetD32Async", "", 3020, kRequired,                                     \
      (DevicePointer, unsigned, std::size_t, StreamHandle))                                      \
    X(pointer_get_attribute, "cuPointerGetAttribute", "", 4000, kRequired,                       \
      (void*, PointerAttribute, DevicePointer))                                                  \
    X(module_load_data, "cuModuleLoadDataEx", "", 2010, kRequired,                               \
      (ModuleHandle*, const void*, unsigned, JitOption*, void**))                                \
    X(module_unload, "cuModuleUnload", "", 2000, kRequired, (ModuleHandle))                      \
    X(module_get_function, "cuModuleGetFunction", "", 2000, kRequired,                           \
      (FunctionHandle*, ModuleHandle, const char*))                                              \
    X(library_load_data, "cuLibraryLoadData", "", 12000, kOptional,                              \
      (LibraryHandle*, const void*, JitOption*, void**, unsigned, void*, void**, unsigned))      \
    X(library_unload, "cuLibraryUnload", "", 12000, kOptional, (LibraryHandle))                  \
    X(library_get_kernel, "cuLibraryGetKernel", "", 12000, kOptional,                            \
      (KernelHandle*, LibraryHandle, const char*))                                               \
    X(kernel_get_function, "cuKernelGetFunction", "", 12000, kOptional,                          \
      (FunctionHandle*, KernelHandle))                                                           \
    X(function_get_attribute, "cuFuncGetAttribute", "", 2020, kRequired,                         \
      (int*, FunctionAttribute, FunctionHandle))                                                 \
    X(function_get_param_info, "cuFuncGetParamInfo", "", 12040, kOptional,                       \
      (FunctionHandle, std::size_t, std::size_t*, std::size_t*))                                 \
    X(function_set_attribute, "cuFuncSetAttribute", "", 9000, kRequired,                         \
      (FunctionHandle, FunctionAttribute, int))                                                  \
    X(launch_kernel, "cuLaunchKernel", "", 4000, kRequired,                                      \
      (FunctionHandle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,     \
       StreamHandle, void**, void**))                                                            \
    X(launch_kernel_with, "cuLaunchKernelEx", "", 11060, kOptional,                              \
      (const RawLaunchConfig*, FunctionHandle, void**, void**))                                  \
    X(occupancy_blocks, "cuOccupancyMaxActiveBlocksPerMultiprocessor", "", 6050, kRequired,      \
      (int*, FunctionHandle, int, std::size_t))                                                  \
    X(occupancy_clusters, "cuOccupancyMaxActiveClusters", "", 11070, kOptional,                  \
      (int*, FunctionHandle, const RawLaunchConfig*))                                            \
    X(tensor_map_encode_tiled, "cuTensorMapEncodeTiled", "", 12000, kOptional,                   \
      (TensorMap*, TensorMapType, std::uint32_t, void*, const std::uint64_t*,                    \
       const std::uint64_t*, const std::uint32_t*, const std::uint32_t*, TensorMapInterleave,    \
       TensorMapSwizzle, TensorMapL2Promotion, TensorMapFill))

namespace fattn::cuda {

/// One pointer a function of the table; null where the driver lacks an optional one.
struct DriverFunctions {
#define FATTN_DECLARE_FUNCTION(member, name, suffix, version, need, parameters) \
    Result(*member) parameters = nullptr;
    FATTN_CUDA_DRIVER_FUNCTIONS(FATTN_DECLARE_FUNCTION)
#undef FATTN_DECLARE_FUNCTION
};

}  // namespace fattn::cuda
