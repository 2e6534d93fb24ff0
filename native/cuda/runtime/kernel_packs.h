// The packs of this process: kernel images and sources that the library holds, and the pack of PTX
// that a developer or the virtual GPU adds; used by the kernel store.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cuda/runtime/driver.h"
#include "cuda/runtime/image_pack.h"
#include "cuda/runtime/nvrtc.h"

namespace fattn::cuda {

/// Opened once and kept.
struct KernelPacks {
    ImagePack images;      // embedded
    ImagePack sources;     // embedded
    ImagePack ptx;         // of a file; empty without one
    std::string ptx_path;  // empty when no file was asked for
    Status ptx_status;     // why a file that was asked for was not opened
};

/// The PTX pack is the file that FATTN_PTX_PACK names; else, with a driver named by
/// FATTN_CUDA_DRIVER, fused_attention.ptxpack beside it where that exists.
Status process_kernel_packs(const Driver& driver, const KernelPacks** packs);

/// INVALID_ARGUMENT when images were compiled from other sources than this pack holds: their tiles
/// would not be those that the host launches. what names the images. No images fit everything.
Status check_origin(const ImagePack& images, const std::string& what,
                    std::string_view pack_of_sources);

/// The program of one of the library's device sources, named like its images, for NVRTC. The target
/// is left to the caller. UNSUPPORTED when there is no such source.
Status source_program(const ImagePack& sources, const std::string& name, Program* program);

}  // namespace fattn::cuda
