// What this process has of CUDA, in words and numbers; called by api/ for fattn_cuda_info.
#pragma once

#include <string>

#include "core/types.h"

namespace fattn::cuda {

struct ProcessInfo {
    int32 driver_version = 0;  // as 12040; 0: none
    int32 num_devices = 0;
    int32 nvrtc_version = 0;
    int32 num_images = 0;
    int32 num_cache_entries = 0;
    uint64 cache_bytes = 0;
    std::string driver;  // the library, or why there is none; likewise below
    std::string nvrtc;
    std::string cache;
    std::string image_targets;
    std::string ptx_pack;  // empty when none was asked for
};

ProcessInfo process_info();

}  // namespace fattn::cuda
