// The packs of kernel images and of kernel sources that the build put into the library; read by the
// kernel store.
#pragma once

#include <string_view>

namespace fattn::cuda {

/// Cubins and PTX of the library's kernels; a pack without entries where the build had no CUDA
/// compiler.
std::string_view embedded_images();

/// Every file of cuda/device and the headers of core, by their names in #include lines.
std::string_view embedded_sources();

}  // namespace fattn::cuda
