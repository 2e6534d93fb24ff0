// The forward pass of dense attention as a list of tasks over sequences, head runs, row blocks and
// key chunks; used by the CPU dense kernel.
#pragma once

#include <cstddef>
#include <vector>

#include "backend/status.h"
#include "core/problem.h"
#include "cpu/head_runs.h"
#include "cpu/kernels.h"

namespace fattn::cpu {

/// Made once a plan. Keeps a reference to the problem.
class DenseForward {
  public:
    DenseForward(const DenseProblem& problem, const KernelTable& table);

    /// Bytes of workspace of a run on num_threads threads, at capacity.
    uint64 workspace(int num_threads) const;
    Status run(const DenseForwardArgs& args, int max_threads, const int32* cancel,
               std::byte* workspace) const;

  private:
    struct SequencePlan;
    struct Grain;
    struct Unit;

    /// How one run of heads of one sequence is cut; depends on lengths only, never on the batch or
    /// the threads where results could change.
    SequencePlan plan_sequence(const Sequence& sequence, const Grain& grain) const;
    Grain grain(const DenseForwardArgs& args, int num_threads) const;
    int64 most_keys() const;       // of all sequences together
    int64 most_units() const;      // of a run, however its sequences are
    uint64 scratch_bytes() const;  // of one thread
    /// Packed rows that belong to no sequence are rows that see no key.
    void clear_unused_rows(const DenseForwardArgs& args) const;
    void run_unit(const DenseForwardArgs& args, const Unit& unit, void* scratch, float* partials,
                  const int32* cancel) const;

    const DenseProblem& problem_;
    const KernelTable& table_;
    std::vector<HeadRun> runs_;
    int64 most_heads_;  // in a run
};

}  // namespace fattn::cpu
