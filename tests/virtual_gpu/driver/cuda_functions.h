// The list of every driver function that the virtual GPU offers. Expanded by exports.h,
// cuGetProcAddress and the tests.
#pragma once

#include "driver/cuda_types.h"

// X(name in cuGetProcAddress, CUDA version since which it has this form, exported symbol,
// parameters)
#define FATTN_CUDA_GENERAL_FUNCTIONS(X)                                                          \
    X(cuInit, 2000, cuInit, (unsigned))                                                          \
    X(cuDriverGetVersion, 2020, cuDriverGetVersion, (int*))                                      \
    X(cuGetProcAddress, 11030, cuGetProcAddress, (const char*, void**, int, uint64_t))           \
    X(cuGetProcAddress, 12000, cuGetProcAddress_v2,                                              \
      (const char*, void**, int, uint64_t, CUdriverProcAddressQueryResult*))                     \
    X(cuGetErrorString, 6000, cuGetErrorString, (CUresult, const char**))                        \
    X(cuGetErrorName, 6000, cuGetErrorName, (CUresult, const char**))                            \
    X(cuDeviceGet, 2000, cuDeviceGet, (CUdevice*, int))                                          \
    X(cuDeviceGetCount, 2000, cuDeviceGetCount, (int*))                                          \
    X(cuDeviceGetName, 2000, cuDeviceGetName, (char*, int, CUdevice))                            \
    X(cuDeviceGetUuid, 9020, cuDeviceGetUuid, (CUuuid*, CUdevice))                               \
    X(cuDeviceGetUuid, 11040, cuDeviceGetUuid_v2, (CUuuid*, CUdevice))                           \
    X(cuDeviceTotalMem, 3020, cuDeviceTotalMem_v2, (size_t*, CUdevice))                          \
    X(cuDeviceGetAttribute, 2000, cuDeviceGetAttribute, (int*, CUdevice_attribute, CUdevice))    \
    X(cuDeviceComputeCapability, 2000, cuDeviceComputeCapability, (int*, int*, CUdevice))        \
    X(cuDeviceGetPCIBusId, 4010, cuDeviceGetPCIBusId, (char*, int, CUdevice))                    \
    X(cuDeviceCanAccessPeer, 4000, cuDeviceCanAccessPeer, (int*, CUdevice, CUdevice))            \
    X(cuDeviceGetDefaultMemPool, 11020, cuDeviceGetDefaultMemPool, (CUmemoryPool*, CUdevice))    \
    X(cuDeviceGetMemPool, 11020, cuDeviceGetMemPool, (CUmemoryPool*, CUdevice))                  \
    X(cuDevicePrimaryCtxRetain, 7000, cuDevicePrimaryCtxRetain, (CUcontext*, CUdevice))          \
    X(cuDevicePrimaryCtxRelease, 11000, cuDevicePrimaryCtxRelease_v2, (CUdevice))                \
    X(cuDevicePrimaryCtxReset, 11000, cuDevicePrimaryCtxReset_v2, (CUdevice))                    \
    X(cuDevicePrimaryCtxSetFlags, 11000, cuDevicePrimaryCtxSetFlags_v2, (CUdevice, unsigned))    \
    X(cuDevicePrimaryCtxGetState, 7000, cuDevicePrimaryCtxGetState, (CUdevice, unsigned*, int*)) \
    X(cuCtxCreate, 3020, cuCtxCreate_v2, (CUcontext*, unsigned, CUdevice))                       \
    X(cuCtxDestroy, 4000, cuCtxDestroy_v2, (CUcontext))                                          \
    X(cuCtxPushCurrent, 4000, cuCtxPushCurrent_v2, (CUcontext))                                  \
    X(cuCtxPopCurrent, 4000, cuCtxPopCurrent_v2, (CUcontext*))                                   \
    X(cuCtxSetCurrent, 4000, cuCtxSetCurrent, (CUcontext))                                       \
    X(cuCtxGetCurrent, 4000, cuCtxGetCurrent, (CUcontext*))                                      \
    X(cuCtxGetDevice, 2000, cuCtxGetDevice, (CUdevice*))                                         \
    X(cuCtxGetFlags, 7000, cuCtxGetFlags, (unsigned*))                                           \
    X(cuCtxGetId, 12000, cuCtxGetId, (CUcontext, unsigned long long*))                           \
    X(cuCtxGetApiVersion, 3020, cuCtxGetApiVersion, (CUcontext, unsigned*))                      \
    X(cuCtxSynchronize, 2000, cuCtxSynchronize, ())                                              \
    X(cuCtxGetStreamPriorityRange, 5050, cuCtxGetStreamPriorityRange, (int*, int*))              \
    X(cuCtxGetLimit, 3010, cuCtxGetLimit, (size_t*, CUlimit))                                    \
    X(cuCtxSetLimit, 3010, cuCtxSetLimit, (CUlimit, size_t))

#define FATTN_CUDA_MEMORY_FUNCTIONS(X)                                                             \
    X(cuMemGetInfo, 3020, cuMemGetInfo_v2, (size_t*, size_t*))                                     \
    X(cuMemAlloc, 3020, cuMemAlloc_v2, (CUdeviceptr*, size_t))                                     \
    X(cuMemAllocPitch, 3020, cuMemAllocPitch_v2,                                                   \
      (CUdeviceptr*, size_t*, size_t, size_t, unsigned))                                           \
    X(cuMemFree, 3020, cuMemFree_v2, (CUdeviceptr))                                                \
    X(cuMemGetAddressRange, 3020, cuMemGetAddressRange_v2, (CUdeviceptr*, size_t*, CUdeviceptr))   \
    X(cuMemAllocHost, 3020, cuMemAllocHost_v2, (void**, size_t))                                   \
    X(cuMemHostAlloc, 2020, cuMemHostAlloc, (void**, size_t, unsigned))                            \
    X(cuMemFreeHost, 2000, cuMemFreeHost, (void*))                                                 \
    X(cuMemHostGetDevicePointer, 3020, cuMemHostGetDevicePointer_v2,                               \
      (CUdeviceptr*, void*, unsigned))                                                             \
    X(cuMemHostGetFlags, 2030, cuMemHostGetFlags, (unsigned*, void*))                              \
    X(cuMemHostRegister, 6050, cuMemHostRegister_v2, (void*, size_t, unsigned))                    \
    X(cuMemHostUnregister, 4000, cuMemHostUnregister, (void*))                                     \
    X(cuPointerGetAttribute, 4000, cuPointerGetAttribute,                                          \
      (void*, CUpointer_attribute, CUdeviceptr))                                                   \
    X(cuPointerGetAttributes, 7000, cuPointerGetAttributes,                                        \
      (unsigned, CUpointer_attribute*, void**, CUdeviceptr))                                       \
    X(cuMemAllocAsync, 11020, cuMemAllocAsync, (CUdeviceptr*, size_t, CUstream))                   \
    X(cuMemAllocFromPoolAsync, 11020, cuMemAllocFromPoolAsync,                                     \
      (CUdeviceptr*, size_t, CUmemoryPool, CUstream))                                              \
    X(cuMemFreeAsync, 11020, cuMemFreeAsync, (CUdeviceptr, CUstream))                              \
    X(cuMemPoolGetAttribute, 11020, cuMemPoolGetAttribute,                                         \
      (CUmemoryPool, CUmemPool_attribute, void*))                                                  \
    X(cuMemPoolSetAttribute, 11020, cuMemPoolSetAttribute,                                         \
      (CUmemoryPool, CUmemPool_attribute, void*))                                                  \
    X(cuMemPoolTrimTo, 11020, cuMemPoolTrimTo, (CUmemoryPool, size_t))                             \
    X(cuMemcpy, 4000, cuMemcpy, (CUdeviceptr, CUdeviceptr, size_t))                                \
    X(cuMemcpyHtoD, 3020, cuMemcpyHtoD_v2, (CUdeviceptr, const void*, size_t))                     \
    X(cuMemcpyDtoH, 3020, cuMemcpyDtoH_v2, (void*, CUdeviceptr, size_t))                           \
    X(cuMemcpyDtoD, 3020, cuMemcpyDtoD_v2, (CUdeviceptr, CUdeviceptr, size_t))                     \
    X(cuMemcpy2D, 3020, cuMemcpy2D_v2, (const CUDA_MEMCPY2D*))                                     \
    X(cuMemcpy2DUnaligned, 3020, cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D*))                   \
    X(cuMemcpyAsync, 4000, cuMemcpyAsync, (CUdeviceptr, CUdeviceptr, size_t, CUstream))            \
    X(cuMemcpyHtoDAsync, 3020, cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void*, size_t, CUstream)) \
    X(cuMemcpyDtoHAsync, 3020, cuMemcpyDtoHAsync_v2, (void*, CUdeviceptr, size_t, CUstream))       \
    X(cuMemcpyDtoDAsync, 3020, cuMemcpyDtoDAsync_v2, (CUdeviceptr, CUdeviceptr, size_t, CUstream)) \
    X(cuMemcpy2DAsync, 3020, cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D*, CUstream))                 \
    X(cuMemsetD8, 3020, cuMemsetD8_v2, (CUdeviceptr, unsigned char, size_t))                       \
    X(cuMemsetD16, 3020, cuMemsetD16_v2, (CUdeviceptr, unsigned short, size_t))                    \
    X(cuMemsetD32, 3020, cuMemsetD32_v2, (CUdeviceptr, unsigned, size_t))                          \
    X(cuMemsetD2D8, 3020, cuMemsetD2D8_v2, (CUdeviceptr, size_t, unsigned char, size_t, size_t))   \
    X(cuMemsetD2D16, 3020, cuMemsetD2D16_v2,                                                       \
      (CUdeviceptr, size_t, unsigned short, size_t, size_t))                                       \
    X(cuMemsetD2D32, 3020, cuMemsetD2D32_v2, (CUdeviceptr, size_t, unsigned, size_t, size_t))      \
    X(cuMemsetD8Async, 3020, cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUstream))      \
    X(cuMemsetD16Async, 3020, cuMemsetD16Async, (CUdeviceptr, unsigned short, size_t, CUstream))   \
    X(cuMemsetD32Async, 3020, cuMemsetD32Async, (CUdeviceptr, unsigned, size_t, CUstream))         \
    X(cuMemsetD2D8Async, 3020, cuMemsetD2D8Async,                                                  \
      (CUdeviceptr, size_t, unsigned char, size_t, size_t, CUstream))                              \
    X(cuMemsetD2D16Async, 3020, cuMemsetD2D16Async,                                                \
      (CUdeviceptr, size_t, unsigned short, size_t, size_t, CUstream))                             \
    X(cuMemsetD2D32Async, 3020, cuMemsetD2D32Async,                                                \
      (CUdeviceptr, size_t, unsigned, size_t, size_t, CUstream))

#define FATTN_CUDA_STREAM_FUNCTIONS(X)                                                          \
    X(cuStreamCreate, 2000, cuStreamCreate, (CUstream*, unsigned))                              \
    X(cuStreamCreateWithPriority, 5050, cuStreamCreateWithPriority, (CUstream*, unsigned, int)) \
    X(cuStreamDestroy, 4000, cuStreamDestroy_v2, (CUstream))                                    \
    X(cuStreamGetPriority, 5050, cuStreamGetPriority, (CUstream, int*))                         \
    X(cuStreamGetFlags, 5050, cuStreamGetFlags, (CUstream, unsigned*))                          \
    X(cuStreamGetId, 12000, cuStreamGetId, (CUstream, unsigned long long*))                     \
    X(cuStreamGetCtx, 9020, cuStreamGetCtx, (CUstream, CUcontext*))                             \
    X(cuStreamWaitEvent, 3020, cuStreamWaitEvent, (CUstream, CUevent, unsigned))                \
    X(cuStreamQuery, 2000, cuStreamQuery, (CUstream))                                           \
    X(cuStreamSynchronize, 2000, cuStreamSynchronize, (CUstream))                               \
    X(cuLaunchHostFunc, 10000, cuLaunchHostFunc, (CUstream, CUhostFn, void*))                   \
    X(cuEventCreate, 2000, cuEventCreate, (CUevent*, unsigned))                                 \
    X(cuEventDestroy, 4000, cuEventDestroy_v2, (CUevent))                                       \
    X(cuEventRecord, 2000, cuEventRecord, (CUevent, CUstream))                                  \
    X(cuEventRecordWithFlags, 11010, cuEventRecordWithFlags, (CUevent, CUstream, unsigned))     \
    X(cuEventQuery, 2000, cuEventQuery, (CUevent))                                              \
    X(cuEventSynchronize, 2000, cuEventSynchronize, (CUevent))                                  \
    X(cuEventElapsedTime, 2000, cuEventElapsedTime, (float*, CUevent, CUevent))                 \
    X(cuThreadExchangeStreamCaptureMode, 10010, cuThreadExchangeStreamCaptureMode,              \
      (CUstreamCaptureMode*))                                                                   \
    X(cuStreamBeginCapture, 10010, cuStreamBeginCapture_v2, (CUstream, CUstreamCaptureMode))    \
    X(cuStreamEndCapture, 10000, cuStreamEndCapture, (CUstream, CUgraph*))                      \
    X(cuStreamIsCapturing, 10000, cuStreamIsCapturing, (CUstream, CUstreamCaptureStatus*))      \
    X(cuStreamGetCaptureInfo, 11030, cuStreamGetCaptureInfo_v2,                                 \
      (CUstream, CUstreamCaptureStatus*, uint64_t*, CUgraph*, const CUgraphNode**, size_t*))    \
    X(cuGraphCreate, 10000, cuGraphCreate, (CUgraph*, unsigned))                                \
    X(cuGraphDestroy, 10000, cuGraphDestroy, (CUgraph))                                         \
    X(cuGraphGetNodes, 10000, cuGraphGetNodes, (CUgraph, CUgraphNode*, size_t*))                \
    X(cuGraphGetEdges, 10000, cuGraphGetEdges, (CUgraph, CUgraphNode*, CUgraphNode*, size_t*))  \
    X(cuGraphNodeGetType, 10000, cuGraphNodeGetType, (CUgraphNode, CUgraphNodeType*))           \
    X(cuGraphInstantiateWithFlags, 11040, cuGraphInstantiateWithFlags,                          \
      (CUgraphExec*, CUgraph, unsigned long long))                                              \
    X(cuGraphUpload, 11010, cuGraphUpload, (CUgraphExec, CUstream))                             \
    X(cuGraphLaunch, 10000, cuGraphLaunch, (CUgraphExec, CUstream))                             \
    X(cuGraphExecDestroy, 10000, cuGraphExecDestroy, (CUgraphExec))

#define FATTN_CUDA_KERNEL_FUNCTIONS(X)                                                             \
    X(cuModuleLoad, 2000, cuModuleLoad, (CUmodule*, const char*))                                  \
    X(cuModuleLoadData, 2000, cuModuleLoadData, (CUmodule*, const void*))                          \
    X(cuModuleLoadDataEx, 2010, cuModuleLoadDataEx,                                                \
      (CUmodule*, const void*, unsigned, CUjit_option*, void**))                                   \
    X(cuModuleUnload, 2000, cuModuleUnload, (CUmodule))                                            \
    X(cuModuleGetFunction, 2000, cuModuleGetFunction, (CUfunction*, CUmodule, const char*))        \
    X(cuModuleGetGlobal, 3020, cuModuleGetGlobal_v2,                                               \
      (CUdeviceptr*, size_t*, CUmodule, const char*))                                              \
    X(cuModuleGetFunctionCount, 12040, cuModuleGetFunctionCount, (unsigned*, CUmodule))            \
    X(cuModuleEnumerateFunctions, 12040, cuModuleEnumerateFunctions,                               \
      (CUfunction*, unsigned, CUmodule))                                                           \
    X(cuModuleGetLoadingMode, 11070, cuModuleGetLoadingMode, (CUmoduleLoadingMode*))               \
    X(cuLibraryLoadData, 12000, cuLibraryLoadData,                                                 \
      (CUlibrary*, const void*, CUjit_option*, void**, unsigned, CUlibraryOption*, void**,         \
       unsigned))                                                                                  \
    X(cuLibraryUnload, 12000, cuLibraryUnload, (CUlibrary))                                        \
    X(cuLibraryGetKernel, 12000, cuLibraryGetKernel, (CUkernel*, CUlibrary, const char*))          \
    X(cuLibraryGetModule, 12000, cuLibraryGetModule, (CUmodule*, CUlibrary))                       \
    X(cuLibraryGetGlobal, 12000, cuLibraryGetGlobal,                                               \
      (CUdeviceptr*, size_t*, CUlibrary, const char*))                                             \
    X(cuLibraryGetKernelCount, 12040, cuLibraryGetKernelCount, (unsigned*, CUlibrary))             \
    X(cuLibraryEnumerateKernels, 12040, cuLibraryEnumerateKernels,                                 \
      (CUkernel*, unsigned, CUlibrary))                                                            \
    X(cuKernelGetFunction, 12000, cuKernelGetFunction, (CUfunction*, CUkernel))                    \
    X(cuKernelGetAttribute, 12000, cuKernelGetAttribute,                                           \
      (int*, CUfunction_attribute, CUkernel, CUdevice))                                            \
    X(cuKernelSetAttribute, 12000, cuKernelSetAttribute,                                           \
      (CUfunction_attribute, int, CUkernel, CUdevice))                                             \
    X(cuKernelGetName, 12030, cuKernelGetName, (const char**, CUkernel))                           \
    X(cuFuncGetAttribute, 2020, cuFuncGetAttribute, (int*, CUfunction_attribute, CUfunction))      \
    X(cuFuncSetAttribute, 9000, cuFuncSetAttribute, (CUfunction, CUfunction_attribute, int))       \
    X(cuFuncSetCacheConfig, 3000, cuFuncSetCacheConfig, (CUfunction, CUfunc_cache))                \
    X(cuFuncGetModule, 11000, cuFuncGetModule, (CUmodule*, CUfunction))                            \
    X(cuFuncGetName, 12030, cuFuncGetName, (const char**, CUfunction))                             \
    X(cuFuncGetParamInfo, 12040, cuFuncGetParamInfo, (CUfunction, size_t, size_t*, size_t*))       \
    X(cuLaunchKernel, 4000, cuLaunchKernel,                                                        \
      (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, \
       void**, void**))                                                                            \
    X(cuLaunchKernelEx, 11060, cuLaunchKernelEx,                                                   \
      (const CUlaunchConfig*, CUfunction, void**, void**))                                         \
    X(cuLaunchCooperativeKernel, 9000, cuLaunchCooperativeKernel,                                  \
      (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, \
       void**))                                                                                    \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050,                                           \
      cuOccupancyMaxActiveBlocksPerMultiprocessor, (int*, CUfunction, int, size_t))                \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, 7000,                                  \
      cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags,                                        \
      (int*, CUfunction, int, size_t, unsigned))                                                   \
    X(cuOccupancyMaxPotentialBlockSize, 6050, cuOccupancyMaxPotentialBlockSize,                    \
      (int*, int*, CUfunction, CUoccupancyB2DSize, size_t, int))                                   \
    X(cuOccupancyAvailableDynamicSMemPerBlock, 10020, cuOccupancyAvailableDynamicSMemPerBlock,     \
      (size_t*, CUfunction, int, int))                                                             \
    X(cuOccupancyMaxPotentialClusterSize, 11070, cuOccupancyMaxPotentialClusterSize,               \
      (int*, CUfunction, const CUlaunchConfig*))                                                   \
    X(cuOccupancyMaxActiveClusters, 11070, cuOccupancyMaxActiveClusters,                           \
      (int*, CUfunction, const CUlaunchConfig*))                                                   \
    X(cuTensorMapEncodeTiled, 12000, cuTensorMapEncodeTiled,                                       \
      (CUtensorMap*, CUtensorMapDataType, unsigned, void*, const uint64_t*, const uint64_t*,       \
       const unsigned*, const unsigned*, CUtensorMapInterleave, CUtensorMapSwizzle,                \
       CUtensorMapL2promotion, CUtensorMapFloatOOBfill))                                           \
    X(cuTensorMapReplaceAddress, 12000, cuTensorMapReplaceAddress, (CUtensorMap*, void*))

// Names under which cuGetProcAddress also gives a function of the lists above.
#define FATTN_CUDA_ALIASES(X)                                 \
    X(cuGraphInstantiate, 12000, cuGraphInstantiateWithFlags, \
      (CUgraphExec*, CUgraph, unsigned long long))

#define FATTN_CUDA_FUNCTIONS(X)     \
    FATTN_CUDA_GENERAL_FUNCTIONS(X) \
    FATTN_CUDA_MEMORY_FUNCTIONS(X)  \
    FATTN_CUDA_STREAM_FUNCTIONS(X)  \
    FATTN_CUDA_KERNEL_FUNCTIONS(X)
