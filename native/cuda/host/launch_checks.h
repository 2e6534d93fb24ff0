// What runs check and do before their kernels start: arrays and workspace lie on the device, blocks
// are enqueued; called by the kernels of the families.
#pragma once

#include <initializer_list>

#include "backend/backend.h"
#include "cuda/runtime/launch.h"
#include "cuda/runtime/module.h"

namespace fattn::cuda {

/// Threads of the small kernels around others.
constexpr unsigned kHelperThreads = 128;

/// An array of a run, for the check that it lies on the device.
struct RunArray {
    const char* name;
    const void* address;
    int64 elements;
};

int64 elements_of(const TensorLayout& layout);

/// Every array that holds elements has to lie in memory of this device.
Status check_device_arrays(const Device& device, std::initializer_list<RunArray> arrays);

/// The same for all arrays of a run over the tensors of a dense problem.
Status check_run_arrays(const Device& device, const DenseProblem& problem,
                        const DenseForwardArgs& args);
Status check_run_arrays(const Device& device, const DenseProblem& problem,
                        const DenseBackwardArgs& args);

/// How many blocks of how many threads, each with so much shared memory.
struct Blocks {
    uint32 count;  // 0: nothing is launched
    int32 threads;
    int32 shared_bytes;
};

Status launch_blocks(const Function& function, const Blocks& blocks, const Stream& stream,
                     void* params);

/// One of the small kernels.
Status launch_helper(const Function& function, uint32 num_blocks, const Stream& stream,
                     void* params);

}  // namespace fattn::cuda
