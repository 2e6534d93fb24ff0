// S2 attention on the CPU: binds the gathered loops to the lists of a pattern; see s2_kernel.h.
#include "cpu/s2_kernel.h"

#include "cpu/gather_s2.h"
#include "cpu/gathered_backward.h"
#include "cpu/gathered_forward.h"
#include "cpu/parallel.h"

namespace fattn::cpu {
namespace {

constexpr AdditionalKeys kNoAdditionalKeys{};

class CpuS2Kernel final : public DenseKernel {
  public:
    CpuS2Kernel(const S2Problem& problem, const KernelTable& table, WorkspacePool& pool,
                int default_threads)
        : problem_(problem.dense),
          table_(table),
          pool_(pool),
          default_threads_(default_threads),
          gatherer_(problem_, problem.pattern, table.tile_q, table.backward_tile_kv),
          forward_(problem_, kNoAdditionalKeys, table),
          backward_(problem_, kNoAdditionalKeys, table) {}

    WorkspaceSize workspace(Pass pass, int max_threads) const override {
        const int num_threads = threads(max_threads);
        if (pass == Pass::kForward) {
            return {forward_.workspace(gatherer_, num_threads), 0};
        }
        return {backward_.workspace(gatherer_.backward_capacity(), num_threads), 0};
    }

    const char* name(Pass) const override { return table_.name; }

    Status forward(const DenseForwardArgs& args, const RunOptions& run) const override {
        const int num_threads = threads(run.max_threads);
        ScopedWorkspace workspace(pool_, run, this->workspace(Pass::kForward, num_threads).host);
        if (!workspace.status().ok()) return workspace.status();
        return forward_.run(gatherer_.moved(args.q_position_offset, args.k_position_offset), args,
                            {}, num_threads, run.cancel, workspace.data());
    }

    Status backward(const DenseBackwardArgs& args, const RunOptions& run) const override {
        const int num_threads = threads(run.max_threads);
        ScopedWorkspace workspace(pool_, run, this->workspace(Pass::kBackward, num_threads).host);
        if (!workspace.status().ok()) return workspace.status();
        return backward_.run(gatherer_.moved(args.q_position_offset, args.k_position_offset), args,
                             {}, num_threads, run.cancel, workspace.data());
    }

  private:
    int threads(int max_threads) const { return threads_of_run(max_threads, default_threads_); }

    DenseProblem problem_;
    const KernelTable& table_;
    WorkspacePool& pool_;
    int default_threads_;
    S2Gatherer gatherer_;
    GatheredForward forward_;
    GatheredBackward backward_;
};

}  // namespace

std::unique_ptr<DenseKernel> make_s2_kernel(const S2Problem& problem, const KernelTable& table,
                                            WorkspacePool& pool, int default_threads) {
    return std::make_unique<CpuS2Kernel>(problem, table, pool, default_threads);
}

}  // namespace fattn::cpu
