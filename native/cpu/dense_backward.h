// The backward pass of dense attention as lists of tasks over sequences, head groups and key
// chunks; used by the CPU dense kernel.
#pragma once

#include <cstddef>
#include <vector>

#include "backend/status.h"
#include "core/problem.h"
#include "cpu/head_groups.h"
#include "cpu/kernels.h"

namespace fattn::cpu {

/// Made once a plan. Keeps references to the problem and the table.
class DenseBackward {
  public:
    DenseBackward(const DenseProblem& problem, const KernelTable& table);

    /// Bytes of workspace of a run on num_threads threads, at capacity.
    uint64 workspace(int num_threads) const;
    Status run(const DenseBackwardArgs& args, int num_threads, const int32* cancel,
               std::byte* workspace) const;

  private:
    struct Run;

    /// Keys of a chunk of a sequence; depends on the problem and its lengths only, so that results
    /// do not depend on threads.
    int64 chunk_keys(int64 kv_len) const;
    int64 num_chunks(int64 kv_len) const;
    int64 row_floats() const;    // of a row of d_q sums
    int64 rows_of_head() const;  // of d_q sums, room between sequences included
    int64 first_row_of(const Sequence& sequence, int64 head) const;  // in d_q sums of one chunk
    bool splits_keys() const { return most_chunks_ > 1; }
    bool shares_bias() const;  // several heads or batch entries add to one bias
    int64 num_tile_tasks() const {
        return problem_.batch * static_cast<int64>(groups_.size()) * most_chunks_;
    }
    int64 num_bias_tasks() const;
    uint64 delta_bytes() const;
    uint64 split_d_q_bytes() const;    // of all chunks
    uint64 d_q_bytes() const;          // of one thread
    uint64 tile_thread_bytes() const;  // of one thread: its sums of d_q, then scratch
    uint64 bias_thread_bytes() const;

    Status clear(const Run& run) const;
    Status find_deltas(const Run& run) const;
    Status run_tiles(const Run& run) const;
    Status merge_d_q(const Run& run) const;
    Status add_shared_bias(const Run& run) const;
    Status sum_sinks(const Run& run) const;

    const DenseProblem& problem_;
    const KernelTable& table_;
    std::vector<HeadGroup> groups_;
    int64 most_heads_ = 0;   // in a group
    int64 most_chunks_ = 1;  // of a sequence
};

}  // namespace fattn::cpu
