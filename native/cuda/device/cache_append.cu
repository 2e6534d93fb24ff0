// Takes new tokens to the pages of a cache, of every type.
#include "cuda/device/cache_append.h"

extern "C" __global__ void __launch_bounds__(fattn::cuda::kCacheAppendThreads)
    cache_append(const __grid_constant__ fattn::cuda::CacheAppendParams params) {
    fattn::cuda::append_rows(params);
}
