// Appending tokens to a paged cache at the C boundary.
#include "api/device.h"
#include "api/growing.h"
#include "api/run_check.h"
#include "backend/text.h"
#include "core/cache_append.h"

namespace fattn::api {
namespace {

Status read_layouts(const fattn_cache_append_args& args, CacheAppend* append) {
    FATTN_RETURN_IF_ERROR(
        read_layout(args.tokens_layout, "args->tokens_layout", &append->tokens_layout));
    const TensorLayout& tokens = append->tokens_layout;
    if (tokens.dtype != DType::kF32 && tokens.dtype != DType::kF16 &&
        tokens.dtype != DType::kBF16) {
        return invalid(
            text("args->tokens_layout.dtype is ", tokens.dtype, "; allowed are f32, f16, bf16"));
    }
    const char* const name = "args->pages_layout";
    TensorLayout& pages = append->pages_layout;
    FATTN_RETURN_IF_ERROR(read_layout(args.pages_layout, name, &pages));
    if (pages.dtype == DType::kDefault) pages.dtype = tokens.dtype;
    if (pages.dtype != tokens.dtype) {
        return invalid(text(name, ".dtype is ", pages.dtype, "; it must be ", tokens.dtype,
                            ", that of the tokens"));
    }
    const int64 heads = tokens.shape[1];
    if (pages.shape[2] != heads && pages.shape[2] != 1) {
        return invalid(text(name, ".shape[2] (heads) is ", pages.shape[2],
                            "; it must be 1, or the ", heads, " of the tokens"));
    }
    FATTN_RETURN_IF_ERROR(check_extent(pages, name, 3, tokens.shape[3], "as in the tokens"));
    return check_no_self_overlap(pages, name);
}

Status check_slots(const CacheAppend& append, const int32* slots) {
    for (int64 n = 0; n < append.num_slots(); ++n) {
        if (slots[n] < append.num_places()) continue;
        return invalid(text("args->slots[", n, "] is ", slots[n], "; the pages have ",
                            append.num_places(), " places"));
    }
    return {};
}

Status append_tokens(fattn_device* handle, const fattn_cache_append_args* given,
                     const fattn_run* run) {
    if (handle == nullptr) return invalid("device is NULL");
    const Reference device(handle);
    fattn_cache_append_args args;
    RunOptions options;
    FATTN_RETURN_IF_ERROR(read_growing(given, "args", "fattn_cache_append_args", &args));
    FATTN_RETURN_IF_ERROR(read_run(device->description.kind, run, &options));
    if (args.flags != 0) {
        return unsupported(text("args->flags is ", args.flags, "; this library knows none"));
    }
    CacheAppend append{.tokens_layout = {},
                       .pages_layout = {},
                       .tokens = args.tokens,
                       .pages = args.pages,
                       .slots = args.slots};
    FATTN_RETURN_IF_ERROR(read_layouts(args, &append));
    RunMemoryChecker memory(*device, 1, options.stream);
    FATTN_RETURN_IF_ERROR(
        memory.need("args->tokens", append.tokens, append.tokens_layout, Role::kInput));
    FATTN_RETURN_IF_ERROR(
        memory.need_array("args->slots", append.slots, append.num_slots(), Role::kInput));
    FATTN_RETURN_IF_ERROR(
        memory.need("args->pages", append.pages, append.pages_layout, Role::kOutput));
    FATTN_RETURN_IF_ERROR(memory.check_overlaps());
    if (memory.on_host()) FATTN_RETURN_IF_ERROR(check_slots(append, append.slots));
    if (append.num_rows() == 0 || append.tokens_layout.shape[3] == 0) return {};
    return device->backend->append(append, options);
}

}  // namespace
}  // namespace fattn::api

fattn_status fattn_cache_append(fattn_device* device, const fattn_cache_append_args* args,
                                const fattn_run* run) {
    return fattn::api::guarded([&] { return fattn::api::append_tokens(device, args, run); });
}
