// Arrivals at mbarriers that other instructions cause.
#pragma once

#include "exec/program.h"

namespace fattn::vgpu {

// The lanes arrive at the mbarrier that source 0 addresses (aux2 bit 2: generic), as
// mbarrier.arrive does.
Step mbarrier_arrive(Warp& warp, const Op& op, uint32_t mask);
// They give it what they know, and count as nothing.
Step mbarrier_touch(Warp& warp, const Op& op, uint32_t mask);

}  // namespace fattn::vgpu
