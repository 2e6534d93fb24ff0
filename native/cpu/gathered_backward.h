// The backward pass of sparse attention: key tiles of a gatherer, one owner a head group and chunk
// of keys; used by the CPU kernels of the sparse families.
#pragma once

#include <cstddef>
#include <vector>

#include "backend/status.h"
#include "core/problem.h"
#include "cpu/gather_memory.h"
#include "cpu/gatherer.h"
#include "cpu/head_groups.h"
#include "cpu/kernels.h"

namespace fattn::cpu {

/// Made once a plan. Keeps references to all three, of which GatheredForward says more. Problems
/// without packed sequences only.
class GatheredBackward {
  public:
    GatheredBackward(const DenseProblem& problem, const AdditionalKeys& additional,
                     const KernelTable& table);

    /// Bytes of workspace of a run on num_threads threads; 0 for a problem without a backward pass.
    uint64 workspace(const GatherCapacity& capacity, int num_threads) const;
    /// Any gradient may be null. Results do not depend on num_threads. The workspace is one of
    /// gatherer.backward_capacity().
    Status run(const Gatherer& gatherer, const DenseBackwardArgs& args,
               const AdditionalKeyArgs& additional_args, int num_threads, const int32* cancel,
               std::byte* workspace) const;

  private:
    struct Run;
    struct Memory;
    class Task;

    /// Keys of a sequence, additional ones included.
    int64 num_keys() const { return problem_.kv_len + additional_.num; }
    bool splits_keys() const { return num_chunks_ > 1; }
    int64 num_tile_tasks() const {
        return problem_.batch * static_cast<int64>(groups_.size()) * num_chunks_;
    }
    TokenSums take_sums(int64 rows, int64 extent, WorkspaceParts& parts) const;
    Memory take_shared(WorkspaceParts& parts) const;
    Memory take_own(const GatherCapacity& capacity, WorkspaceParts& parts) const;

    Status clear_keys(const Run& run) const;
    Status run_tiles(const Run& run, const Gatherer& gatherer) const;
    Status merge_d_q(const Run& run) const;
    /// Writes queries [row_begin, row_end) of a head from the sums of num_parts chunks.
    void write_d_q(const Run& run, const Sequence& sequence, int64 head, int64 row_begin,
                   int64 row_end, const TokenSums& sums, int64 num_parts) const;

    const DenseProblem& problem_;
    const AdditionalKeys& additional_;
    const KernelTable& table_;
    std::vector<HeadGroup> groups_;
    int64 most_heads_ = 0;  // in a group
    int64 num_chunks_ = 1;
};

}  // namespace fattn::cpu
