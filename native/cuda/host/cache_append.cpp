// See cache_append.h.
#include "cuda/host/cache_append.h"

#include <cstdint>

#include "backend/text.h"
#include "cuda/device/cache_append_params.h"
#include "cuda/host/dense_keys.h"
#include "cuda/host/launch_checks.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/stream.h"

namespace fattn::cuda {
namespace {

constexpr int64 kRowsOfAppendBlock = kCacheAppendThreads / 32;

}  // namespace

Status append_on_device(const CacheAppend& append, const RunOptions& run,
                        const std::shared_ptr<const Device>& device, KernelStore* store) {
    FATTN_CUDA_RETURN_IF_ERROR(
        check_device_arrays(*device, {{"args->tokens", append.tokens, append.num_rows()},
                                      {"args->slots", append.slots, append.num_slots()},
                                      {"args->pages", append.pages, append.num_places()}}));
    const int64 blocks = ceil_div(append.num_rows(), kRowsOfAppendBlock);
    if (blocks > INT32_MAX) {
        return {StatusCode::kUnsupported,
                text("there are ", append.num_rows(), " rows; on CUDA one call appends up to ",
                     INT32_MAX * kRowsOfAppendBlock)};
    }
    Stream stream;
    Function function;
    FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device, run.stream, &stream));
    FATTN_CUDA_RETURN_IF_ERROR(store->function("cache_append", "cache_append", &function));
    const TensorLayout& tokens = append.tokens_layout;
    const bool wide = is_wide(tokens, append.tokens) && is_wide(append.pages_layout, append.pages);
    CacheAppendParams params{append,
                             bits_of(tokens.dtype) == 32 || (wide && tokens.shape[3] % 2 == 0)};
    return launch_blocks(function, {narrow<uint32>(blocks), kCacheAppendThreads, 0}, stream,
                         &params);
}

}  // namespace fattn::cuda
