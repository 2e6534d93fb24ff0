// Which conversions there are and what cvt may say of each. Used by the decoder of cvt.
#pragma once

#include "exec/decoding.h"

namespace fattn::vgpu {

// Fails the load where nothing converts between the types, or not as the modifiers have it.
void need_conversion(const Decoding& d, ptx::Type to, ptx::Type from);

}  // namespace fattn::vgpu
