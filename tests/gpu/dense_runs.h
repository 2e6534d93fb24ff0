// Dense runs on a GPU, checked and timed; called by dense_on_device.
#pragma once

#include <map>
#include <string>

#include "cuda/host/dense_backward.h"
#include "cuda/host/dense_forward.h"
#include "driver.h"

namespace fattn::gpu {

/// The compiled keys in a folder of <unit>.sm_<architecture>.cubin files, loaded when first used.
class DenseKernels {
  public:
    DenseKernels(std::string folder, int architecture);

    /// Enqueues a launch; nothing where it has no blocks.
    void enqueue(const cuda::ForwardLaunch& launch);
    /// Enqueues all launches of a backward run.
    void enqueue(const DenseProblem& problem, const cuda::DenseBackwardRun& run);

  private:
    template <class Params>
    void enqueue(const std::string& unit, const std::string& name, const Grid& grid,
                 const Params& params);
    void enqueue(const cuda::BackwardKey& key, const cuda::BackwardLaunch& launch);

    std::string folder_;
    int architecture_;
    std::map<std::string, Module> modules_;
    std::map<std::string, void*> functions_;
};

/// Compares as many random problems with the reference as the seconds allow. 0 when all are near.
int check_dense(DenseKernels& kernels, double seconds, unsigned long long first_seed,
                const std::string& json_path);

/// Times the comparison shapes. 0 when all ran.
int time_dense(DenseKernels& kernels, const Device& device, const std::string& json_path);

}  // namespace fattn::gpu
