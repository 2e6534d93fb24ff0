// The forward pass of sparse attention: the shares of a gatherer as tasks; used by the CPU kernels
// of the sparse families.
#pragma once

#include <cstddef>

#include "backend/status.h"
#include "core/problem.h"
#include "cpu/gather_memory.h"
#include "cpu/gatherer.h"
#include "cpu/kernels.h"

namespace fattn::cpu {

/// Made once a plan. Keeps references to all three. The problem says tensors, heads and scale;
/// which pairs are visible is the gatherer's to say, so every dense feature is off.
class GatheredForward {
  public:
    GatheredForward(const DenseProblem& problem, const AdditionalKeys& additional,
                    const KernelTable& table);

    /// Bytes of workspace of a run on num_threads threads.
    uint64 workspace(const Gatherer& gatherer, int num_threads) const;
    /// Results do not depend on num_threads. The workspace is that of the gatherer, or of one with
    /// as many shares and the same capacity.
    Status run(const Gatherer& gatherer, const DenseForwardArgs& args,
               const AdditionalKeyArgs& additional_args, int num_threads, const int32* cancel,
               std::byte* workspace) const;

  private:
    /// What one thread works with.
    struct Memory {
        GatherBuffer lists;
        std::byte* scratch;
        float* partials;
    };

    Memory take(const GatherCapacity& capacity, WorkspaceParts& parts) const;
    uint64 thread_bytes(const GatherCapacity& capacity) const;
    int64 partial_floats(int64 rows) const;
    /// Few rows: keys are read where they lie, a chunk at a time.
    void run_few_rows(ForwardTask task, const Memory& memory) const;

    const DenseProblem& problem_;
    const AdditionalKeys& additional_;
    const KernelTable& table_;
};

}  // namespace fattn::cpu
