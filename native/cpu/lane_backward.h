// The backward pass of neighborhood attention over groups of lanes: the shares of two lane
// gatherers as tasks, one of queries and one of keys; used by the CPU neighborhood kernel.
#pragma once

#include <cstddef>

#include "backend/status.h"
#include "core/problem.h"
#include "cpu/gather_lanes.h"
#include "cpu/gather_memory.h"
#include "cpu/kernels.h"

namespace fattn::cpu {

/// Made once a plan. Keeps references to all four. The problem says tensors, heads and scale; which
/// pairs are visible is the gatherers' to say. Problems without additional keys only.
class LaneBackward {
  public:
    LaneBackward(const DenseProblem& problem, const KernelTable& table, const LaneGatherer& queries,
                 const LaneGatherer& keys);

    /// Bytes of workspace of a run on num_threads threads.
    uint64 workspace(int num_threads) const;
    /// Any gradient may be null. Results do not depend on num_threads.
    Status run(const DenseBackwardArgs& args, int num_threads, const int32* cancel,
               std::byte* workspace) const;

  private:
    /// What one thread works with.
    struct Memory {
        LaneBuffer lists[2];  // of a group and of the next one
        std::byte* scratch;
    };
    /// A share of either gatherer.
    struct Task {
        const LaneGatherer& gatherer;
        LaneSide side;
        int64 share;
    };

    float* take_delta(WorkspaceParts& parts) const;
    Memory take(WorkspaceParts& parts) const;
    uint64 thread_bytes() const;
    void run_share(const Task& task, const DenseBackwardArgs& args, const float* delta,
                   const Memory& memory) const;

    const DenseProblem& problem_;
    const KernelTable& table_;
    const LaneGatherer& queries_;
    const LaneGatherer& keys_;
};

}  // namespace fattn::cpu
