// Selects the blocks of permuted block-sparse problems on a GPU: loads what that takes and enqueues
// it, without waiting for anything; owned by the CUDA kernel of the family.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "core/permuted_block.h"
#include "cuda/device/block_select_params.h"
#include "cuda/host/dense_forward.h"
#include "cuda/runtime/kernel_store.h"
#include "cuda/runtime/stream.h"
#include "cuda/runtime/workspace_pool.h"

namespace fattn::cuda {

class BlockSelection {
  public:
    /// pool: where selections that bring no workspace find theirs.
    BlockSelection(const PermutedBlockProblem& problem, std::shared_ptr<const Device> device,
                   const WorkspacePool* pool);

    Status load(KernelStore* store);

    /// Bytes of device memory that a selection or a gate needs.
    uint64 workspace() const { return parts_.bytes; }

    /// Arrays are checked here; the workspace too.
    Status select(const PermutedBlockSelectArgs& args, const RunOptions& run) const;
    Status gate(const BlockGateArgs& args, const RunOptions& run) const;

  private:
    /// Where things lie in the workspace.
    struct Parts {
        uint64 pooled_q = 0;
        uint64 pooled_k = 0;
        uint64 importance = 0;
        uint64 ones = 0;    // gradients of the judges' outputs
        uint64 wide_q = 0;  // f32 copies of 16-bit judges and keys
        uint64 wide_k = 0;
        uint64 o = 0;
        uint64 lse = 0;
        uint64 terms = 0;
        uint64 runs = 0;       // of segments that are sorted in several
        uint64 long_rows = 0;  // of the mask, as they are chosen
        uint64 bytes = 0;
    };

    Status check_sizes() const;
    Parts parts() const;
    int64 num_units() const;  // of an entry
    int64 num_rows() const;   // of all units' masks
    int64 num_choosers() const;
    int64 num_pooled() const;  // blocks of queries and keys that pooling makes rows of
    int64 runs_of_segment() const;
    bool has_long_rows() const;
    BlockSelectParams params(BlockChoice choice, void* workspace) const;
    Status find_importance(const PermutedBlockSelectArgs& args, void* workspace,
                           const Stream& stream) const;
    Status choose(const BlockSelectParams& params, bool pools, const Stream& stream) const;

    const PermutedBlockProblem problem_;
    const std::shared_ptr<const Device> device_;
    const WorkspacePool* const workspaces_;
    const DenseProblem judges_;     // the last queries against all keys that are sorted
    const DenseProblem gradients_;  // the same with the units as heads of values
    const int32 sort_size_;         // keys that a block sorts
    const Parts parts_;
    Function judge_;  // the general key, and that of the best pointers
    Function judge_lean_;
    Function row_terms_;
    Function of_values_;
    Function ones_;
    Function sort_;
    Function merge_;
    Function pool_;
    Function choose_;
};

}  // namespace fattn::cuda
