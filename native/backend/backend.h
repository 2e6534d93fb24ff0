// The contract a device fills: say what it supports, make kernels for problems, run them;
// implemented by cpu/ and cuda/host, called by api/.
#pragma once

#include <memory>
#include <string>

#include "backend/device_work.h"
#include "backend/status.h"
#include "core/cache_append.h"
#include "core/lightning.h"
#include "core/neighborhood.h"
#include "core/permuted_block.h"
#include "core/problem.h"
#include "core/s2.h"
#include "core/schedule.h"

namespace fattn {

/// How one run is carried out; fields as in fattn_run.
struct RunOptions {
    int max_threads = 0;  // 0: the device's own number
    void* stream = nullptr;
    void* workspace = nullptr;
    uint64 workspace_bytes = 0;
    const int32* cancel = nullptr;
    bool lengths_on_host = false;  // of the arguments, on a device with memory of its own; checked
};

struct WorkspaceSize {
    uint64 host = 0;
    uint64 device = 0;
};

/// A problem of any family bound to a device. Immutable; runs may be concurrent; a run allocates
/// nothing beyond the pool.
class Kernel {
  public:
    virtual ~Kernel() = default;
    virtual WorkspaceSize workspace(Pass pass, int max_threads) const = 0;
    /// Sizes the memory that runs of a pass in this stream take when they bring none; nothing to do
    /// where that memory grows by itself, or none is needed.
    virtual Status prepare(Pass /*pass*/, void* /*stream*/) const { return {}; }
    /// Name of the kernel a pass uses, static text.
    virtual const char* name(Pass pass) const = 0;
};

/// The runs of one family. Index contents (cu_seqlens, kv_len, block_table, permutations) are
/// validated by the caller.
template <class ForwardArgs, class BackwardArgs>
class FamilyKernel : public Kernel {
  public:
    virtual Status forward(const ForwardArgs& args, const RunOptions& run) const = 0;
    virtual Status backward(const BackwardArgs& args, const RunOptions& run) const = 0;
};

using DenseKernel = FamilyKernel<DenseForwardArgs, DenseBackwardArgs>;
using NeighborhoodKernel = FamilyKernel<NeighborhoodForwardArgs, NeighborhoodBackwardArgs>;

/// What the planner of a neighborhood problem found, as views of arrays that outlive the kernel.
struct NeighborhoodSchedules {
    BoxSchedule keys_of_queries;  // patches of queries against single keys
    BoxSchedule queries_of_keys;  // patches of keys against single queries; backward only
    bool lanes;                   // query patches are groups of GatherTiles::lane_group queries
    bool lanes_backward;          // and key patches of so many keys
};

/// Selections need no more workspace than a forward run.
class PermutedBlockKernel
    : public FamilyKernel<PermutedBlockForwardArgs, PermutedBlockBackwardArgs> {
  public:
    virtual Status select(const PermutedBlockSelectArgs& args, const RunOptions& run) const = 0;
    virtual Status gate(const BlockGateArgs& args, const RunOptions& run) const = 0;
};

class LightningKernel : public FamilyKernel<LightningForwardArgs, LightningBackwardArgs> {
  public:
    /// One token of a problem of one token; initial_state and final_state may be the same memory.
    virtual Status step(const LightningForwardArgs& args, const RunOptions& run) const = 0;
};

/// Rows and keys of the tiles that schedules are reported in.
struct TileShape {
    int32 q = 1;
    int32 kv = 1;
};

enum class Peak : unsigned { kF32 = 0, kBF16 = 1, kRead = 2 };

/// A device. Outlives its kernels.
class Backend {
  public:
    virtual ~Backend() = default;
    /// Not ok with the reason when the problem cannot run here.
    virtual Status supports(const DenseProblem& problem) const = 0;
    virtual Status make_dense(const DenseProblem& problem,
                              std::unique_ptr<DenseKernel>* kernel) = 0;
    /// Tiles that the kernel of a supported problem works in.
    virtual TileShape dense_tiles(const DenseProblem& problem) const = 0;
    virtual Status supports(const NeighborhoodProblem& problem) const = 0;
    virtual Status make_neighborhood(const NeighborhoodProblem& problem,
                                     const NeighborhoodSchedules& schedules,
                                     std::unique_ptr<NeighborhoodKernel>* kernel) = 0;
    /// How kernels that gather single tokens work on tensors like these.
    virtual GatherTiles gather_tiles(const DenseProblem& problem) const = 0;
    /// Sparse patterns over the tensors of a dense problem; runs take its arguments.
    virtual Status supports(const S2Problem& problem) const = 0;
    virtual Status make_s2(const S2Problem& problem, std::unique_ptr<DenseKernel>* kernel) = 0;
    virtual Status supports(const PermutedBlockProblem& problem) const = 0;
    virtual Status make_permuted_block(const PermutedBlockProblem& problem,
                                       std::unique_ptr<PermutedBlockKernel>* kernel) = 0;
    virtual Status supports(const LightningProblem& problem) const = 0;
    virtual Status make_lightning(const LightningProblem& problem,
                                  std::unique_ptr<LightningKernel>* kernel) = 0;
    virtual Status merge(const MergeProblem& problem, const RunOptions& run) = 0;
    /// Slots were checked by the caller where the device is the host itself.
    virtual Status append(const CacheAppend& append, const RunOptions& run) = 0;
    virtual Status measure(Peak peak, int num_threads, double seconds, double* result) = 0;
    virtual void trim() = 0;
    /// Memory, streams and events; null where the device is the host itself.
    virtual DeviceWork* work() { return nullptr; }
};

}  // namespace fattn
