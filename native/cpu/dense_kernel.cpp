// Dense attention on the CPU: cuts a problem into tasks by the problem alone where results could
// depend on the cut, and runs them on the pool; made by the CPU backend.
#include "cpu/dense_kernel.h"

#include <algorithm>
#include <vector>

#include "cpu/dense_backward.h"
#include "cpu/dense_forward.h"
#include "cpu/parallel.h"

namespace fattn::cpu {
namespace {

class CpuDenseKernel final : public DenseKernel {
  public:
    CpuDenseKernel(const DenseProblem& problem, const KernelTable& table, WorkspacePool& pool,
                   int default_threads)
        : problem_(problem),
          table_(table),
          pool_(pool),
          default_threads_(default_threads),
          forward_(problem_, table),
          backward_(problem_, table) {}

    WorkspaceSize workspace(Pass pass, int max_threads) const override {
        const int num_threads = threads(max_threads);
        if (pass == Pass::kBackward) {
            return {problem_.backward ? backward_.workspace(num_threads) : 0, 0};
        }
        return {forward_.workspace(num_threads), 0};
    }

    const char* name(Pass) const override { return table_.name; }

    Status forward(const DenseForwardArgs& args, const RunOptions& run) const override {
        const int num_threads = threads(run.max_threads);
        ScopedWorkspace workspace(pool_, run, forward_.workspace(num_threads));
        if (!workspace.status().ok()) return workspace.status();
        return forward_.run(args, num_threads, run.cancel, workspace.data());
    }

    Status backward(const DenseBackwardArgs& args, const RunOptions& run) const override {
        const int num_threads = threads(run.max_threads);
        ScopedWorkspace workspace(pool_, run, backward_.workspace(num_threads));
        if (!workspace.status().ok()) return workspace.status();
        return backward_.run(args, num_threads, run.cancel, workspace.data());
    }

  private:
    int threads(int max_threads) const { return threads_of_run(max_threads, default_threads_); }

    DenseProblem problem_;
    const KernelTable& table_;
    WorkspacePool& pool_;
    int default_threads_;
    DenseForward forward_;
    DenseBackward backward_;
};

}  // namespace

std::unique_ptr<DenseKernel> make_dense_kernel(const DenseProblem& problem,
                                               const KernelTable& table, WorkspacePool& pool,
                                               int default_threads) {
    return std::make_unique<CpuDenseKernel>(problem, table, pool, default_threads);
}

}  // namespace fattn::cpu
