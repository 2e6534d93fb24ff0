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

// fence.mbarrier_init: what the lanes have initialised is so for the async proxy and, behind a
// relaxed arrival at barrier.cluster, for the cluster; nothing else that they wrote is.
Step mbarrier_init_fence(Warp& warp, const Op& op, uint32_t mask);
// Whether the lane is behind the initialisation, and behind a fence that makes it visible to the
// async proxy.
bool knows_initialised(const Warp& warp, uint32_t lane, const Mbarrier& barrier);
bool initialised_for_async(const Warp& warp, uint32_t lane, const Mbarrier& barrier);

}  // namespace fattn::vgpu
