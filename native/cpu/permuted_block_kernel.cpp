// Permuted block-sparse attention on the CPU: selections, and runs through the gathered loops.
#include "cpu/permuted_block_kernel.h"

#include <algorithm>

#include "cpu/gather_permuted_block.h"
#include "cpu/gathered_backward.h"
#include "cpu/gathered_forward.h"
#include "cpu/parallel.h"
#include "cpu/permuted_block_select.h"

namespace fattn::cpu {
namespace {

class CpuPermutedBlockKernel final : public PermutedBlockKernel {
  public:
    CpuPermutedBlockKernel(const PermutedBlockProblem& problem, const KernelTable& table,
                           WorkspacePool& pool, int default_threads)
        : problem_(problem),
          table_(table),
          pool_(pool),
          default_threads_(default_threads),
          geometry_(problem_),
          select_(problem_, table),
          forward_(problem_, additional_, table),
          backward_(problem_, additional_, table) {}

    WorkspaceSize workspace(Pass pass, int max_threads) const override {
        const int num_threads = threads(max_threads);
        if (pass == Pass::kForward) return {forward_bytes(num_threads), 0};
        return {problem_.backward ? backward_bytes(num_threads) : 0, 0};
    }

    const char* name(Pass) const override { return table_.name; }

    Status select(const PermutedBlockSelectArgs& args, const RunOptions& run) const override {
        return with_workspace(run, forward_bytes(threads(run.max_threads)), [&](std::byte* memory) {
            return select_.select(args, threads(run.max_threads), run.cancel, memory);
        });
    }

    Status gate(const BlockGateArgs& args, const RunOptions& run) const override {
        return with_workspace(run, forward_bytes(threads(run.max_threads)), [&](std::byte* memory) {
            return select_.gate(args, threads(run.max_threads), run.cancel, memory);
        });
    }

    Status forward(const PermutedBlockForwardArgs& args, const RunOptions& run) const override {
        const PermutedBlockGatherer gatherer(problem_, geometry_, args.permutation,
                                             args.block_mask);
        DenseForwardArgs dense{};
        dense.q = args.q;
        dense.k = args.k;
        dense.v = args.v;
        dense.o = args.o;
        dense.lse = args.lse;
        return with_workspace(run, forward_bytes(threads(run.max_threads)), [&](std::byte* memory) {
            return forward_.run(gatherer, dense, {}, threads(run.max_threads), run.cancel, memory);
        });
    }

    Status backward(const PermutedBlockBackwardArgs& args, const RunOptions& run) const override {
        const PermutedBlockGatherer gatherer(problem_, geometry_, args.permutation,
                                             args.block_mask);
        DenseBackwardArgs dense{};
        dense.q = args.q;
        dense.k = args.k;
        dense.v = args.v;
        dense.o = args.o;
        dense.lse = args.lse;
        dense.d_o = args.d_o;
        dense.d_lse = args.d_lse;
        dense.d_q = args.d_q;
        dense.d_k = args.d_k;
        dense.d_v = args.d_v;
        return with_workspace(
            run, backward_bytes(threads(run.max_threads)), [&](std::byte* memory) {
                return backward_.run(gatherer, dense, {}, threads(run.max_threads), run.cancel,
                                     memory);
            });
    }

  private:
    int threads(int max_threads) const { return threads_of_run(max_threads, default_threads_); }

    template <class Body>
    Status with_workspace(const RunOptions& run, uint64 bytes, const Body& body) const {
        const ScopedWorkspace workspace(pool_, run, bytes);
        return workspace.status().ok() ? body(workspace.data()) : workspace.status();
    }

    /// What a selection changes is never how much a run may need.
    PermutedBlockGatherer any_gatherer() const { return {problem_, geometry_, nullptr, nullptr}; }
    uint64 forward_bytes(int num_threads) const {
        return std::max(forward_.workspace(any_gatherer(), num_threads),
                        select_.workspace(num_threads));
    }
    uint64 backward_bytes(int num_threads) const {
        return backward_.workspace(any_gatherer().backward_capacity(), num_threads);
    }

    const PermutedBlockProblem problem_;
    const AdditionalKeys additional_{};
    const KernelTable& table_;
    WorkspacePool& pool_;
    const int default_threads_;
    const PermutedBlockGatherer::Geometry geometry_;
    const PermutedBlockSelect select_;
    const GatheredForward forward_;
    const GatheredBackward backward_;
};

}  // namespace

std::unique_ptr<PermutedBlockKernel> make_permuted_block_kernel(const PermutedBlockProblem& problem,
                                                                const KernelTable& table,
                                                                WorkspacePool& pool,
                                                                int default_threads) {
    return std::make_unique<CpuPermutedBlockKernel>(problem, table, pool, default_threads);
}

}  // namespace fattn::cpu
