// The runtime's own declarations of the driver and of NVRTC against the toolkit's headers, where
// the build found a toolkit; compiled with its include path then.
#include <gtest/gtest.h>

#include "cuda/runtime/driver_functions.h"
#include "cuda/runtime/nvrtc_functions.h"

#if __has_include(<cuda.h>) && __has_include(<nvrtc.h>)
#include <cuda.h>
#include <nvrtc.h>

#include <set>
#include <string>
#include <type_traits>

namespace fattn::cuda {
namespace {

#define FATTN_SAME(ours, theirs) \
    EXPECT_EQ(static_cast<long long>(ours), static_cast<long long>(theirs)) << #theirs

/// Two parameter types look the same to a caller: the same size, and addresses only for addresses.
template <class A, class B>
constexpr bool kSameParameter =
    sizeof(A) == sizeof(B) && std::is_pointer_v<A> ==
                                  std::is_pointer_v<B>&& std::is_floating_point_v<A> ==
                                  std::is_floating_point_v<B>;

template <class Ours, class Theirs>
constexpr bool kSameFunction = false;
template <class R, class... A, class S, class... B>
constexpr bool kSameFunction<R (*)(A...), S (*)(B...)> = [] {
    if constexpr (sizeof...(A) == sizeof...(B)) {
        return sizeof(R) == sizeof(S) && (kSameParameter<A, B> && ...);
    }
    return false;
}();

TEST(DriverTypes, FunctionsHaveTheParametersOfTheHeader) {
    std::set<std::string> checked;
    // The header's macros turn a name into the one that is exported, as cuMemAlloc_v2.
#define FATTN_QUOTE_EXPANDED(x) #x
#define FATTN_QUOTE(x) FATTN_QUOTE_EXPANDED(x)
#define FATTN_CHECK(member, function)                                                      \
    static_assert(kSameFunction<decltype(DriverFunctions::member), decltype(&::function)>, \
                  #function);                                                              \
    checked.insert(std::string(#member) + " " + FATTN_QUOTE(function))
    FATTN_CHECK(get_error_name, cuGetErrorName);
    FATTN_CHECK(get_error_string, cuGetErrorString);
    FATTN_CHECK(init, cuInit);
    FATTN_CHECK(driver_get_version, cuDriverGetVersion);
    FATTN_CHECK(device_get, cuDeviceGet);
    FATTN_CHECK(device_get_count, cuDeviceGetCount);
    FATTN_CHECK(device_get_name, cuDeviceGetName);
    FATTN_CHECK(device_get_uuid, cuDeviceGetUuid_v2);
    FATTN_CHECK(device_total_mem, cuDeviceTotalMem);
    FATTN_CHECK(device_get_attribute, cuDeviceGetAttribute);
    FATTN_CHECK(primary_context_retain, cuDevicePrimaryCtxRetain);
    FATTN_CHECK(primary_context_release, cuDevicePrimaryCtxRelease);
    FATTN_CHECK(context_push, cuCtxPushCurrent);
    FATTN_CHECK(context_pop, cuCtxPopCurrent);
    FATTN_CHECK(context_get_current, cuCtxGetCurrent);
    FATTN_CHECK(context_get_device, cuCtxGetDevice);
    FATTN_CHECK(context_synchronize, cuCtxSynchronize);
    FATTN_CHECK(stream_create, cuStreamCreateWithPriority);
    FATTN_CHECK(stream_destroy, cuStreamDestroy);
    FATTN_CHECK(stream_query, cuStreamQuery);
    FATTN_CHECK(stream_synchronize, cuStreamSynchronize);
    FATTN_CHECK(stream_wait_event, cuStreamWaitEvent);
    FATTN_CHECK(stream_get_context, cuStreamGetCtx);
    FATTN_CHECK(stream_get_id, cuStreamGetId);
    FATTN_CHECK(stream_is_capturing, cuStreamIsCapturing);
    FATTN_CHECK(launch_host_function, cuLaunchHostFunc);
    FATTN_CHECK(event_create, cuEventCreate);
    FATTN_CHECK(event_destroy, cuEventDestroy);
    FATTN_CHECK(event_record, cuEventRecord);
    FATTN_CHECK(event_query, cuEventQuery);
    FATTN_CHECK(event_synchronize, cuEventSynchronize);
    FATTN_CHECK(event_elapsed_time, cuEventElapsedTime);
    FATTN_CHECK(mem_get_info, cuMemGetInfo);
    FATTN_CHECK(mem_alloc, cuMemAlloc);
    FATTN_CHECK(mem_free, cuMemFree);
    FATTN_CHECK(mem_get_address_range, cuMemGetAddressRange);
    FATTN_CHECK(mem_host_alloc, cuMemHostAlloc);
    FATTN_CHECK(mem_free_host, cuMemFreeHost);
    FATTN_CHECK(memcpy_to_device, cuMemcpyHtoDAsync);
    FATTN_CHECK(memcpy_to_host, cuMemcpyDtoHAsync);
    FATTN_CHECK(memcpy_on_device, cuMemcpyDtoDAsync);
    FATTN_CHECK(memset_bytes, cuMemsetD8Async);
    FATTN_CHECK(memset_words, cuMemsetD32Async);
    FATTN_CHECK(pointer_get_attribute, cuPointerGetAttribute);
    FATTN_CHECK(module_load_data, cuModuleLoadDataEx);
    FATTN_CHECK(module_unload, cuModuleUnload);
    FATTN_CHECK(module_get_function, cuModuleGetFunction);
    FATTN_CHECK(library_load_data, cuLibraryLoadData);
    FATTN_CHECK(library_unload, cuLibraryUnload);
    FATTN_CHECK(library_get_kernel, cuLibraryGetKernel);
    FATTN_CHECK(kernel_get_function, cuKernelGetFunction);
    FATTN_CHECK(function_get_attribute, cuFuncGetAttribute);
    FATTN_CHECK(function_set_attribute, cuFuncSetAttribute);
    FATTN_CHECK(function_get_param_info, cuFuncGetParamInfo);
    FATTN_CHECK(launch_kernel, cuLaunchKernel);
    FATTN_CHECK(launch_kernel_with, cuLaunchKernelEx);
    FATTN_CHECK(occupancy_blocks, cuOccupancyMaxActiveBlocksPerMultiprocessor);
    FATTN_CHECK(occupancy_clusters, cuOccupancyMaxActiveClusters);
    FATTN_CHECK(tensor_map_encode_tiled, cuTensorMapEncodeTiled);
#undef FATTN_CHECK

    std::set<std::string> listed;
#define FATTN_LIST(member, name, suffix, version, need, parameters) \
    listed.insert(std::string(#member) + " " + name + suffix);
    FATTN_CUDA_DRIVER_FUNCTIONS(FATTN_LIST)
#undef FATTN_LIST
    EXPECT_EQ(checked, listed)
        << "every function of the table is compared, under its exported name";
}

TEST(DriverTypes, NvrtcFunctionsHaveTheParametersOfTheHeader) {
    int checked = 0, listed = 0;
#define FATTN_CHECK(member, function)                                                     \
    static_assert(kSameFunction<decltype(NvrtcFunctions::member), decltype(&::function)>, \
                  #function);                                                             \
    ++checked
    FATTN_CHECK(version, nvrtcVersion);
    FATTN_CHECK(num_architectures, nvrtcGetNumSupportedArchs);
    FATTN_CHECK(architectures, nvrtcGetSupportedArchs);
    FATTN_CHECK(create_program, nvrtcCreateProgram);
    FATTN_CHECK(destroy_program, nvrtcDestroyProgram);
    FATTN_CHECK(add_name_expression, nvrtcAddNameExpression);
    FATTN_CHECK(compile_program, nvrtcCompileProgram);
    FATTN_CHECK(lowered_name, nvrtcGetLoweredName);
    FATTN_CHECK(log_size, nvrtcGetProgramLogSize);
    FATTN_CHECK(log, nvrtcGetProgramLog);
    FATTN_CHECK(ptx_size, nvrtcGetPTXSize);
    FATTN_CHECK(ptx, nvrtcGetPTX);
    FATTN_CHECK(cubin_size, nvrtcGetCUBINSize);
    FATTN_CHECK(cubin, nvrtcGetCUBIN);
    FATTN_CHECK(error_string, nvrtcGetErrorString);
#undef FATTN_CHECK
    listed = 1;  // error_string, which returns text
#define FATTN_LIST(member, name, parameters) ++listed;
    FATTN_NVRTC_FUNCTIONS(FATTN_LIST)
#undef FATTN_LIST
    EXPECT_EQ(checked, listed);
    FATTN_SAME(NvrtcResult::kSuccess, NVRTC_SUCCESS);
    FATTN_SAME(NvrtcResult::kOutOfMemory, NVRTC_ERROR_OUT_OF_MEMORY);
    FATTN_SAME(NvrtcResult::kInvalidProgram, NVRTC_ERROR_INVALID_PROGRAM);
    FATTN_SAME(NvrtcResult::kInvalidOption, NVRTC_ERROR_INVALID_OPTION);
    FATTN_SAME(NvrtcResult::kCompilation, NVRTC_ERROR_COMPILATION);
    FATTN_SAME(NvrtcResult::kBuiltinOperationFailure, NVRTC_ERROR_BUILTIN_OPERATION_FAILURE);
}

TEST(DriverTypes, ResultsAreThoseOfTheHeader) {
    FATTN_SAME(Result::kSuccess, CUDA_SUCCESS);
    FATTN_SAME(Result::kInvalidValue, CUDA_ERROR_INVALID_VALUE);
    FATTN_SAME(Result::kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY);
    FATTN_SAME(Result::kNotInitialized, CUDA_ERROR_NOT_INITIALIZED);
    FATTN_SAME(Result::kDeinitialized, CUDA_ERROR_DEINITIALIZED);
    FATTN_SAME(Result::kStubLibrary, CUDA_ERROR_STUB_LIBRARY);
    FATTN_SAME(Result::kDeviceUnavailable, CUDA_ERROR_DEVICE_UNAVAILABLE);
    FATTN_SAME(Result::kNoDevice, CUDA_ERROR_NO_DEVICE);
    FATTN_SAME(Result::kInvalidDevice, CUDA_ERROR_INVALID_DEVICE);
    FATTN_SAME(Result::kInvalidImage, CUDA_ERROR_INVALID_IMAGE);
    FATTN_SAME(Result::kInvalidContext, CUDA_ERROR_INVALID_CONTEXT);
    FATTN_SAME(Result::kNoBinaryForGpu, CUDA_ERROR_NO_BINARY_FOR_GPU);
    FATTN_SAME(Result::kEccUncorrectable, CUDA_ERROR_ECC_UNCORRECTABLE);
    FATTN_SAME(Result::kInvalidPtx, CUDA_ERROR_INVALID_PTX);
    FATTN_SAME(Result::kJitCompilerNotFound, CUDA_ERROR_JIT_COMPILER_NOT_FOUND);
    FATTN_SAME(Result::kUnsupportedPtxVersion, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    FATTN_SAME(Result::kJitCompilationDisabled, CUDA_ERROR_JIT_COMPILATION_DISABLED);
    FATTN_SAME(Result::kOperatingSystem, CUDA_ERROR_OPERATING_SYSTEM);
    FATTN_SAME(Result::kInvalidHandle, CUDA_ERROR_INVALID_HANDLE);
    FATTN_SAME(Result::kNotFound, CUDA_ERROR_NOT_FOUND);
    FATTN_SAME(Result::kNotReady, CUDA_ERROR_NOT_READY);
    FATTN_SAME(Result::kIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS);
    FATTN_SAME(Result::kLaunchOutOfResources, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    FATTN_SAME(Result::kLaunchTimeout, CUDA_ERROR_LAUNCH_TIMEOUT);
    FATTN_SAME(Result::kContextIsDestroyed, CUDA_ERROR_CONTEXT_IS_DESTROYED);
    FATTN_SAME(Result::kAssert, CUDA_ERROR_ASSERT);
    FATTN_SAME(Result::kHardwareStackError, CUDA_ERROR_HARDWARE_STACK_ERROR);
    FATTN_SAME(Result::kIllegalInstruction, CUDA_ERROR_ILLEGAL_INSTRUCTION);
    FATTN_SAME(Result::kMisalignedAddress, CUDA_ERROR_MISALIGNED_ADDRESS);
    FATTN_SAME(Result::kInvalidAddressSpace, CUDA_ERROR_INVALID_ADDRESS_SPACE);
    FATTN_SAME(Result::kInvalidPc, CUDA_ERROR_INVALID_PC);
    FATTN_SAME(Result::kLaunchFailed, CUDA_ERROR_LAUNCH_FAILED);
    FATTN_SAME(Result::kCooperativeLaunchTooLarge, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    FATTN_SAME(Result::kNotPermitted, CUDA_ERROR_NOT_PERMITTED);
    FATTN_SAME(Result::kNotSupported, CUDA_ERROR_NOT_SUPPORTED);
    FATTN_SAME(Result::kSystemNotReady, CUDA_ERROR_SYSTEM_NOT_READY);
    FATTN_SAME(Result::kSystemDriverMismatch, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
    FATTN_SAME(Result::kCompatNotSupportedOnDevice, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE);
    FATTN_SAME(Result::kStreamCaptureUnsupported, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    FATTN_SAME(Result::kStreamCaptureInvalidated, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    FATTN_SAME(Result::kStreamCaptureImplicit, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    FATTN_SAME(Result::kUnknown, CUDA_ERROR_UNKNOWN);
}

TEST(DriverTypes, AttributesAreThoseOfTheHeader) {
    FATTN_SAME(DeviceAttribute::kMaxThreadsPerBlock, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    FATTN_SAME(DeviceAttribute::kClockKilohertz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
    FATTN_SAME(DeviceAttribute::kMultiprocessorCount, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    FATTN_SAME(DeviceAttribute::kMemoryClockKilohertz, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
    FATTN_SAME(DeviceAttribute::kMemoryBusBits, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
    FATTN_SAME(DeviceAttribute::kL2CacheBytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
    FATTN_SAME(DeviceAttribute::kMaxThreadsPerMultiprocessor,
               CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR);
    FATTN_SAME(DeviceAttribute::kComputeCapabilityMajor,
               CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    FATTN_SAME(DeviceAttribute::kComputeCapabilityMinor,
               CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    FATTN_SAME(DeviceAttribute::kMaxSharedBytesPerMultiprocessor,
               CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
    FATTN_SAME(DeviceAttribute::kMaxRegistersPerMultiprocessor,
               CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR);
    FATTN_SAME(DeviceAttribute::kMaxSharedBytesPerBlockOptin,
               CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    FATTN_SAME(DeviceAttribute::kClusterLaunch, CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH);
    FATTN_SAME(DeviceAttribute::kTensorMapAccess, CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED);
    FATTN_SAME(FunctionAttribute::kMaxThreadsPerBlock, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    FATTN_SAME(FunctionAttribute::kSharedBytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
    FATTN_SAME(FunctionAttribute::kLocalBytes, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
    FATTN_SAME(FunctionAttribute::kRegisters, CU_FUNC_ATTRIBUTE_NUM_REGS);
    FATTN_SAME(FunctionAttribute::kMaxDynamicSharedBytes,
               CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
    FATTN_SAME(JitOption::kErrorLogBuffer, CU_JIT_ERROR_LOG_BUFFER);
    FATTN_SAME(JitOption::kErrorLogBytes, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
    FATTN_SAME(PointerAttribute::kContext, CU_POINTER_ATTRIBUTE_CONTEXT);
    FATTN_SAME(PointerAttribute::kMemoryType, CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
    FATTN_SAME(PointerAttribute::kDeviceOrdinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
    FATTN_SAME(MemoryType::kDevice, CU_MEMORYTYPE_DEVICE);
    FATTN_SAME(CaptureStatus::kNone, CU_STREAM_CAPTURE_STATUS_NONE);
    FATTN_SAME(kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
    FATTN_SAME(kEventBlockingSync, CU_EVENT_BLOCKING_SYNC);
    FATTN_SAME(kEventDisableTiming, CU_EVENT_DISABLE_TIMING);
    FATTN_SAME(kHostAllocPortable, CU_MEMHOSTALLOC_PORTABLE);
    FATTN_SAME(kLegacyStream, reinterpret_cast<std::uintptr_t>(CU_STREAM_LEGACY));
    FATTN_SAME(kPerThreadStream, reinterpret_cast<std::uintptr_t>(CU_STREAM_PER_THREAD));
}

TEST(DriverTypes, StructsLieInMemoryAsThoseOfTheHeader) {
    FATTN_SAME(sizeof(LaunchAttribute), sizeof(CUlaunchAttribute));
    FATTN_SAME(offsetof(LaunchAttribute, value), offsetof(CUlaunchAttribute, value));
    FATTN_SAME(sizeof(LaunchAttributeValue), sizeof(CUlaunchAttributeValue));
    FATTN_SAME(offsetof(LaunchAttributeValue, cluster.z),
               offsetof(CUlaunchAttributeValue, clusterDim.z));
    FATTN_SAME(LaunchAttributeId::kCooperative, CU_LAUNCH_ATTRIBUTE_COOPERATIVE);
    FATTN_SAME(LaunchAttributeId::kClusterDimension, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
    FATTN_SAME(LaunchAttributeId::kProgrammaticStreamSerialization,
               CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
    FATTN_SAME(sizeof(RawLaunchConfig), sizeof(CUlaunchConfig));
    FATTN_SAME(offsetof(RawLaunchConfig, dynamic_shared_bytes),
               offsetof(CUlaunchConfig, sharedMemBytes));
    FATTN_SAME(offsetof(RawLaunchConfig, stream), offsetof(CUlaunchConfig, hStream));
    FATTN_SAME(offsetof(RawLaunchConfig, attributes), offsetof(CUlaunchConfig, attrs));
    FATTN_SAME(offsetof(RawLaunchConfig, num_attributes), offsetof(CUlaunchConfig, numAttrs));
    FATTN_SAME(sizeof(TensorMap), sizeof(CUtensorMap));
    FATTN_SAME(alignof(TensorMap), alignof(CUtensorMap));
    FATTN_SAME(sizeof(Uuid), sizeof(CUuuid));
    FATTN_SAME(TensorMapType::kF16, CU_TENSOR_MAP_DATA_TYPE_FLOAT16);
    FATTN_SAME(TensorMapType::kF32, CU_TENSOR_MAP_DATA_TYPE_FLOAT32);
    FATTN_SAME(TensorMapType::kBF16, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16);
    FATTN_SAME(TensorMapSwizzle::k128B, CU_TENSOR_MAP_SWIZZLE_128B);
    FATTN_SAME(TensorMapL2Promotion::k256B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B);
    FATTN_SAME(TensorMapFill::kZero, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

}  // namespace
}  // namespace fattn::cuda

#else

TEST(DriverTypes, AreComparedWithTheToolkitsHeaders) {
    GTEST_SKIP() << "the build found no CUDA toolkit; ./build.sh cuda-toolkit lays one into .build";
}

#endif
