// The gathered kernels of a problem on a GPU, loaded once and enqueued by runs; owned by the
// kernels of the sparse families.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "cuda/host/gathered_runs.h"
#include "cuda/host/row_order.h"
#include "cuda/runtime/kernel_store.h"
#include "cuda/runtime/stream.h"

namespace fattn::cuda {

class GatheredKernel {
  public:
    /// of_backward: over the backward problem of the same tensors.
    GatheredKernel(const GatheredProblem& problem, const GatheredProblem& of_backward,
                   std::shared_ptr<const Device> device)
        : problem_(problem),
          backward_(of_backward),
          backward_keys_(gathered_keys(of_backward.dense)),
          device_(std::move(device)),
          keys_(gathered_keys(problem, device_->properties().num_multiprocessors)),
          row_order_(problem, device_) {}

    const GatheredProblem& problem() const { return problem_; }
    const std::shared_ptr<const Device>& device() const { return device_; }

    Status load(KernelStore* store);

    const char* name(Pass pass) const;

    /// pattern: that of the problem with the pointers of a run. workspace: forward_bytes() of
    /// device memory, 64-byte aligned, or null: rows start in the order of their positions.
    Status forward(const GatheredPattern& pattern, const DenseForwardArgs& args, void* workspace,
                   const RunOptions& run) const;
    /// 0 for patterns without masks, and where all rows start at once.
    uint64 forward_bytes() const { return row_order_.bytes(Pass::kForward); }
    /// Row terms and gradients; workspace: backward_bytes() of device memory, 64-byte aligned.
    Status backward(GatheredPattern pattern, GatheredPattern of_keys, const DenseBackwardArgs& args,
                    void* workspace, const Stream& stream) const;
    /// 0 without a backward pass.
    uint64 backward_bytes() const;

    /// Fills the inverse of a permutation [rows, length].
    Status invert(const int32* permutation, int32* inverse, int64 rows, int64 length,
                  const Stream& stream) const;

  private:
    /// Of the terms of rows, where a run's copies begin.
    uint64 terms_bytes() const;
    /// Of terms and copies.
    uint64 bytes_before_order() const;
    /// Where the order of rows lies in the workspace of the backward.
    uint64 order_at() const { return round_up<uint64>(bytes_before_order(), 64); }

    const GatheredProblem problem_;
    const GatheredProblem backward_;
    const GatheredKeys backward_keys_;
    const std::shared_ptr<const Device> device_;
    const GatheredKeys keys_;  // of the forward
    RowOrder row_order_;
    Function forward_;
    Function invert_;
    Function queries_;
    Function of_keys_;
    Function row_terms_;
    Function convert_;
};

}  // namespace fattn::cuda
