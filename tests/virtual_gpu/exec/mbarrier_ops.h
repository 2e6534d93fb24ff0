// Arrivals at mbarriers that other instructions cause.
#pragma once

#include <vector>

#include "exec/mbarrier.h"
#include "exec/program.h"

namespace fattn::vgpu {

// The lanes give the mbarrier that source 0 addresses (aux2 bit 2: generic) what they know, and
// their copies to its phase; `counts`: each arrives, as with mbarrier.arrive.
Step mbarrier_arrive_with(Warp& warp, const Op& op, uint32_t mask, bool counts,
                          const std::vector<Arrived>& copies);

}  // namespace fattn::vgpu
