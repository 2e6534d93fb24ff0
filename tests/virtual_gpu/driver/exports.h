// What libcuda_virtual.so exports: the driver API that it offers and a few functions of its own.
// Included by every api_*.cpp.
#pragma once

#include "driver/cuda_functions.h"
#include "driver/virtual_gpu.h"

namespace fattn::vgpu::cuda {

extern "C" {
#define FATTN_DECLARE(name, since, symbol, parameters) \
    [[gnu::visibility("default")]] CUresult symbol parameters;
FATTN_CUDA_FUNCTIONS(FATTN_DECLARE)
FATTN_VIRTUAL_GPU_FUNCTIONS(FATTN_DECLARE)
#undef FATTN_DECLARE
}

}  // namespace fattn::vgpu::cuda
