// Launches: what was asked for, the checks that a driver makes, and the grid as work for a stream.
// Called by the launch functions.
#pragma once

#include "driver/module.h"

namespace fattn::vgpu::driver {

struct LaunchRequest {
    Dim3 grid;
    Dim3 block;
    Dim3 cluster;
    bool cluster_given = false;
    bool cooperative = false;
    bool programmatic = false;
    uint32_t dynamic_shared_bytes = 0;
    void** parameters = nullptr;  // one pointer for each
    void** extra = nullptr;       // or all of them in one buffer
};

// Grid, block, shared memory and attributes of a configuration. Fails for attributes that are not
// offered.
LaunchRequest request_of(const cuda::CUlaunchConfig& config);

// Everything that a driver refuses before a kernel runs.
void check_launch(const Function& function, const LaunchRequest& request);

Work launch_work(Driver& state, Context& context, const std::shared_ptr<Function>& function,
                 const LaunchRequest& request);

// Blocks that fit on one multiprocessor.
uint32_t resident_blocks(const Function& function, uint32_t block_threads,
                         uint32_t dynamic_shared_bytes);

}  // namespace fattn::vgpu::driver
