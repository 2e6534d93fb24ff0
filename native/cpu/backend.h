// The CPU as a device: binds problems to the kernels of one instruction set; made by api/ when a
// CPU device is opened.
#pragma once

#include "backend/backend.h"
#include "cpu/dispatch.h"
#include "cpu/workspace.h"

namespace fattn::cpu {

class CpuBackend final : public Backend {
  public:
    /// num_threads: of a run that does not say; positive.
    CpuBackend(Choice choice, int num_threads);

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

    const Choice& choice() const { return choice_; }
    int num_threads() const { return num_threads_; }

  private:
    const Choice choice_;
    const int num_threads_;
    WorkspacePool pool_;
};

}  // namespace fattn::cpu
