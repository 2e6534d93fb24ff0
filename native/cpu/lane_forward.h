// The forward pass of neighborhood attention over groups of lanes: the shares of a lane gatherer as
// tasks; used by the CPU neighborhood kernel.
#pragma once

#include <cstddef>

#include "backend/status.h"
#include "core/problem.h"
#include "cpu/gather_lanes.h"
#include "cpu/gather_memory.h"
#include "cpu/kernels.h"

namespace fattn::cpu {

/// Made once a plan. Keeps references to all four. The problem says tensors, heads and scale; which
/// pairs are visible is the gatherer's to say.
class LaneForward {
  public:
    LaneForward(const DenseProblem& problem, const AdditionalKeys& additional,
                const KernelTable& table, const LaneGatherer& gatherer);

    /// Bytes of workspace of a run on num_threads threads.
    uint64 workspace(int num_threads) const;
    /// Results do not depend on num_threads.
    Status run(const DenseForwardArgs& args, const AdditionalKeyArgs& additional_args,
               int num_threads, const int32* cancel, std::byte* workspace) const;

  private:
    /// What one thread works with.
    struct Memory {
        LaneBuffer lists[2];  // of a group and of the next one
        std::byte* scratch;
    };

    Memory take(WorkspaceParts& parts) const;
    uint64 thread_bytes() const;

    const DenseProblem& problem_;
    const AdditionalKeys& additional_;
    const KernelTable& table_;
    const LaneGatherer& gatherer_;
};

}  // namespace fattn::cpu
