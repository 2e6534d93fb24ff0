// A GPU as a device: binds problems to the library's kernels on it; made by api/ when a CUDA device
// is opened.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "cuda/host/cuda_work.h"
#include "cuda/runtime/kernel_store.h"
#include "cuda/runtime/workspace_pool.h"

namespace fattn::cuda {

class CudaBackend final : public Backend {
  public:
    /// DEVICE_UNAVAILABLE with the reason where there is no driver or no such GPU; UNSUPPORTED for
    /// one older than compute capability 8.0.
    static Status open(int ordinal, std::unique_ptr<CudaBackend>* backend);
    /// The GPU of another library's context; null: the calling thread's current one.
    static Status attach(void* context, std::unique_ptr<CudaBackend>* backend);

    const Device& device() const { return *device_; }
    /// What is used, and why something is not, as a sentence for the device's description.
    std::string reason() const;

    Status supports(const DenseProblem& problem) const override;
    Status make_dense(const DenseProblem& problem, std::unique_ptr<DenseKernel>* kernel) override;
    TileShape dense_tiles(const DenseProblem& problem) const override;
    Status supports(const NeighborhoodProblem& problem) const override;
    Status make_neighborhood(const NeighborhoodProblem& problem,
                             const NeighborhoodSchedules& schedules,
                             std::unique_ptr<NeighborhoodKernel>* kernel) override;
    GatherTiles gather_tiles(const DenseProblem& problem) const override;
    Status supports(const S2Problem& problem) const override;
    Status make_s2(const S2Problem& problem, std::unique_ptr<DenseKernel>* kernel) override;
    Status supports(const PermutedBlockProblem& problem) const override;
    Status make_permuted_block(const PermutedBlockProblem& problem,
                               std::unique_ptr<PermutedBlockKernel>* kernel) override;
    Status supports(const LightningProblem& problem) const override;
    Status make_lightning(const LightningProblem& problem,
                          std::unique_ptr<LightningKernel>* kernel) override;
    Status merge(const MergeProblem& problem, const RunOptions& run) override;
    Status append(const CacheAppend& append, const RunOptions& run) override;
    Status measure(Peak peak, int num_threads, double seconds, double* result) override;
    void trim() override;
    DeviceWork* work() override { return &work_; }

  private:
    CudaBackend(std::shared_ptr<const Device> device, const ImageOrigins& origins)
        : device_(device),
          origins_(origins),
          store_(device, origins),
          pool_(device),
          work_(device, origins, &pool_) {}
    static Status make(std::shared_ptr<const Device> device, std::unique_ptr<CudaBackend>* backend);

    std::shared_ptr<const Device> device_;
    ImageOrigins origins_;
    KernelStore store_;
    WorkspacePool pool_;
    CudaWork work_;
};

}  // namespace fattn::cuda
