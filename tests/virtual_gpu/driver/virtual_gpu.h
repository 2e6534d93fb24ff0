// The functions that libcuda_virtual.so exports beside the driver API. Expanded by exports.h; a
// program finds them with dlsym or cuGetProcAddress and knows by their presence that the GPU is
// virtual.
#pragma once

#include "driver/cuda_types.h"

// The last parameter of the functions that give a text is where its length, without the final zero,
// is written; the buffer may be null when its size is 0, and a text that does not fit is cut.
//
//   fattnVirtualGpuConfigure       settings as "models=sm_80,sm_90a;memory=64M;seed=7;order=late"
//   (settings.h has the list);
//                                  models, memory and driver only before cuInit
//   fattnVirtualGpuLastError       why the last call of this thread that failed did so
//   fattnVirtualGpuReport          the last fault or leak report of the process
//   fattnVirtualGpuStatistics      what kernels have done since the last reset: a table, or JSON
//   fattnVirtualGpuResetStatistics
//   fattnVirtualGpuMarkUndefined   stream order; the bytes count as never written and hold the
//   poison pattern: for pools that
//                                  give one block to several owners
#define FATTN_VIRTUAL_GPU_FUNCTIONS(X)                                                        \
    X(fattnVirtualGpuConfigure, 0, fattnVirtualGpuConfigure, (const char*))                   \
    X(fattnVirtualGpuLastError, 0, fattnVirtualGpuLastError, (char*, size_t, size_t*))        \
    X(fattnVirtualGpuReport, 0, fattnVirtualGpuReport, (char*, size_t, size_t*))              \
    X(fattnVirtualGpuStatistics, 0, fattnVirtualGpuStatistics, (int, char*, size_t, size_t*)) \
    X(fattnVirtualGpuResetStatistics, 0, fattnVirtualGpuResetStatistics, ())                  \
    X(fattnVirtualGpuMarkUndefined, 0, fattnVirtualGpuMarkUndefined,                          \
      (CUdeviceptr, size_t, CUstream))
