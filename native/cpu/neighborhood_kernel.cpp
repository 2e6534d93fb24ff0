// Neighborhood attention on the CPU: a box gatherer in front of the gathered passes, and where
// patches are narrow the passes over groups of lanes; made by the CPU backend.
#include "cpu/neighborhood_kernel.h"

#include "cpu/gather_box.h"
#include "cpu/gathered_backward.h"
#include "cpu/gathered_forward.h"
#include "cpu/lane_backward.h"
#include "cpu/lane_forward.h"
#include "cpu/parallel.h"

namespace fattn::cpu {
namespace {

class CpuNeighborhoodKernel final : public NeighborhoodKernel {
  public:
    CpuNeighborhoodKernel(const NeighborhoodProblem& problem,
                          const NeighborhoodSchedules& schedules, const KernelTable& table,
                          WorkspacePool& pool, int default_threads)
        : problem_(problem),
          additional_{problem.num_additional, problem.additional_k, problem.additional_v,
                      problem.d_additional_k, problem.d_additional_v},
          table_(table),
          pool_(pool),
          default_threads_(default_threads),
          gatherer_(problem_, schedules.keys_of_queries, schedules.queries_of_keys),
          forward_(problem_.dense, additional_, table),
          query_lanes_(problem_, schedules.keys_of_queries, LaneSide::kQueries),
          key_lanes_(problem_, schedules.queries_of_keys, LaneSide::kKeys),
          lane_forward_(problem_.dense, additional_, table, query_lanes_),
          lanes_(schedules.lanes),
          backward_(problem_.dense, additional_, table),
          lane_backward_(problem_.dense, table, query_lanes_, key_lanes_),
          lanes_backward_(schedules.lanes_backward) {}

    WorkspaceSize workspace(Pass pass, int max_threads) const override {
        const int num_threads = threads(max_threads);
        if (pass == Pass::kBackward) {
            return {problem_.dense.backward ? backward_bytes(num_threads) : 0, 0};
        }
        return {forward_bytes(num_threads), 0};
    }

    const char* name(Pass) const override { return table_.name; }

    Status forward(const NeighborhoodForwardArgs& args, const RunOptions& run) const override {
        const int num_threads = threads(run.max_threads);
        ScopedWorkspace workspace(pool_, run, forward_bytes(num_threads));
        if (!workspace.status().ok()) return workspace.status();
        const AdditionalKeyArgs additional{args.additional_k, args.additional_v, nullptr, nullptr};
        if (lanes_) {
            return lane_forward_.run(args.dense, additional, num_threads, run.cancel,
                                     workspace.data());
        }
        return forward_.run(gatherer_, args.dense, additional, num_threads, run.cancel,
                            workspace.data());
    }

    Status backward(const NeighborhoodBackwardArgs& args, const RunOptions& run) const override {
        const int num_threads = threads(run.max_threads);
        ScopedWorkspace workspace(pool_, run, backward_bytes(num_threads));
        if (!workspace.status().ok()) return workspace.status();
        if (lanes_backward_) {
            return lane_backward_.run(args.dense, num_threads, run.cancel, workspace.data());
        }
        return backward_.run(
            gatherer_, args.dense,
            {args.additional_k, args.additional_v, args.d_additional_k, args.d_additional_v},
            num_threads, run.cancel, workspace.data());
    }

  private:
    int threads(int max_threads) const { return threads_of_run(max_threads, default_threads_); }
    uint64 forward_bytes(int num_threads) const {
        return lanes_ ? lane_forward_.workspace(num_threads)
                      : forward_.workspace(gatherer_, num_threads);
    }
    uint64 backward_bytes(int num_threads) const {
        return lanes_backward_ ? lane_backward_.workspace(num_threads)
                               : backward_.workspace(gatherer_.backward_capacity(), num_threads);
    }

    const NeighborhoodProblem problem_;
    const AdditionalKeys additional_;
    const KernelTable& table_;
    WorkspacePool& pool_;
    const int default_threads_;
    const BoxGatherer gatherer_;
    const GatheredForward forward_;
    const LaneGatherer query_lanes_;
    const LaneGatherer key_lanes_;
    const LaneForward lane_forward_;
    const bool lanes_;  // the forward works on groups of lanes
    const GatheredBackward backward_;
    const LaneBackward lane_backward_;
    const bool lanes_backward_;
};

}  // namespace

std::unique_ptr<NeighborhoodKernel> make_neighborhood_kernel(const NeighborhoodProblem& problem,
                                                             const NeighborhoodSchedules& schedules,
                                                             const KernelTable& table,
                                                             WorkspacePool& pool,
                                                             int default_threads) {
    return std::make_unique<CpuNeighborhoodKernel>(problem, schedules, table, pool,
                                                   default_threads);
}

}  // namespace fattn::cpu
