// Puts a kernel into a stream; called by cuda/host for every run and for kernels of the user.
#pragma once

#include "cuda/runtime/module.h"
#include "cuda/runtime/stream.h"

namespace fattn::cuda {

struct Extent3 {
    unsigned x = 1;
    unsigned y = 1;
    unsigned z = 1;
};

/// Shape and attributes of one launch.
struct LaunchConfig {
    Extent3 grid = {};
    Extent3 block = {};
    unsigned dynamic_shared_bytes = 0;
    Extent3 cluster{0, 0, 0};   // blocks of a cluster; zeros: no clusters
    bool programmatic = false;  // may start before the work queued ahead has ended
    bool cooperative = false;   // all blocks are on the device at once
};

/// Queues the kernel. arguments holds one address a parameter; the values are copied before this
/// returns. A grid with an extent of 0 queues nothing. Neither waits nor allocates.
Status launch(const Function& function, const LaunchConfig& config, const Stream& stream,
              void** arguments);

/// Clusters of this shape that the device holds at a time.
Status occupancy_of_clusters(const Function& function, const LaunchConfig& config, int* clusters);

}  // namespace fattn::cuda
