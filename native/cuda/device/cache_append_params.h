// What the host hands to the kernel that appends tokens to a cache: a plain struct that both sides
// include.
#pragma once

#include "core/cache_append.h"
#include "core/types.h"

namespace fattn::cuda {

constexpr int32 kCacheAppendThreads = 128;

struct CacheAppendParams {
    CacheAppend append;
    bool words;  // rows of both start and end at multiples of 4 bytes
};

}  // namespace fattn::cuda
