// Which images of a pack a GPU can run, best first; used by the kernel store.
#pragma once

#include <string>
#include <vector>

#include "cuda/runtime/image_pack.h"

namespace fattn::cuda {

/// Indices of the entries called name that a device of this compute capability can run: machine
/// code made for exactly it, machine code of its generation, then PTX, the newest first in each.
/// An "a" target, as sm_90a, serves its own capability alone.
std::vector<std::size_t> images_for(const ImagePack& pack, const std::string& name,
                                    int architecture);

/// "sm_80, compute_80": targets of all entries called name, for errors; "none" without any.
std::string targets_of(const ImagePack& pack, const std::string& name);

}  // namespace fattn::cuda
