// Asks driver, NVRTC, packs and cache what they are.
#include "cuda/host/cuda_info.h"

#include <algorithm>
#include <vector>

#include "backend/text.h"
#include "cuda/runtime/device.h"
#include "cuda/runtime/embedded.h"
#include "cuda/runtime/kernel_packs.h"
#include "cuda/runtime/program_cache.h"

namespace fattn::cuda {
namespace {

std::string all_targets(const ImagePack& pack) {
    std::vector<std::string> seen;
    std::string list;
    for (const ImageEntry& entry : pack.entries()) {
        if (std::find(seen.begin(), seen.end(), entry.target) != seen.end()) continue;
        seen.push_back(entry.target);
        list += text(list.empty() ? "" : ", ", entry.target);
    }
    return list.empty() ? "none" : list;
}

void add_driver(ProcessInfo* info) {
    const Driver* driver = nullptr;
    if (const Status status = process_driver(&driver); !status.ok()) {
        info->driver = status.message();
        return;
    }
    info->driver = driver->path();
    info->driver_version = driver->version();
    if (const Status status = count_devices(*driver, &info->num_devices); !status.ok()) {
        info->driver += text(" (", status.message(), ")");
    }
    const KernelPacks* packs = nullptr;
    if (!process_kernel_packs(*driver, &packs).ok()) return;
    info->ptx_pack = packs->ptx_status.ok() ? packs->ptx_path : packs->ptx_status.message();
}

/// Known without a driver too.
void add_images(ProcessInfo* info) {
    ImagePack images;
    const Status status =
        ImagePack::open(embedded_images(), "the library's pack of kernels", &images);
    info->num_images = static_cast<int32>(images.entries().size());
    info->image_targets = status.ok() ? all_targets(images) : status.message();
}

}  // namespace

ProcessInfo process_info() {
    ProcessInfo info;
    add_driver(&info);
    add_images(&info);
    const Nvrtc* nvrtc = nullptr;
    if (const Status status = process_nvrtc(&nvrtc); status.ok()) {
        info.nvrtc = nvrtc->path();
        info.nvrtc_version = nvrtc->major() * 1000 + nvrtc->minor() * 10;
    } else {
        info.nvrtc = status.message();
    }
    const ProgramCache* cache = nullptr;
    if (const Status status = process_program_cache(&cache); status.ok()) {
        info.cache = cache->folder();
        info.num_cache_entries = cache->num_entries();
        info.cache_bytes = cache->used_bytes();
    } else {
        info.cache = status.message();
    }
    return info;
}

}  // namespace fattn::cuda
