// What the process has of CUDA, at the C boundary.
#include "api/growing.h"
#include "api/text_field.h"
#if defined(FATTN_HAS_CUDA)
#include "cuda/host/cuda_info.h"
#endif

namespace fattn::api {
namespace {

fattn_cuda_description describe_cuda() {
    fattn_cuda_description description{};
#if defined(FATTN_HAS_CUDA)
    const cuda::ProcessInfo info = cuda::process_info();
    description.driver_version = info.driver_version;
    description.num_devices = info.num_devices;
    description.nvrtc_version = info.nvrtc_version;
    description.num_images = info.num_images;
    description.num_cache_entries = info.num_cache_entries;
    description.cache_bytes = info.cache_bytes;
    copy_text(info.driver, description.driver);
    copy_text(info.nvrtc, description.nvrtc);
    copy_text(info.cache, description.cache);
    copy_text(info.image_targets, description.image_targets);
    copy_text(info.ptx_pack, description.ptx_pack);
#else
    const std::string built_without =
        "this library was built without its CUDA backend (FATTN_CUDA=OFF)";
    copy_text(built_without, description.driver);
    copy_text(built_without, description.nvrtc);
    copy_text(built_without, description.cache);
    copy_text("none", description.image_targets);
#endif
    return description;
}

}  // namespace
}  // namespace fattn::api

fattn_status fattn_cuda_info(fattn_cuda_description* description) {
    return fattn::api::guarded([&] {
        return fattn::api::write_growing(fattn::api::describe_cuda(), "description",
                                         "fattn_cuda_description", description);
    });
}
