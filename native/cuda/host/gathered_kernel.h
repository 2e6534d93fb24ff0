// The gathered kernels of a problem on a GPU, loaded once and enqueued by runs; owned by the
// kernels of the sparse families.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "cuda/host/gathered_runs.h"
#include "cuda/runtime/kernel_store.h"
#include "cuda/runtime/stream.h"

namespace fattn::cuda {

class GatheredKernel {
  public:
    GatheredKernel(const GatheredProblem& problem, std::shared_ptr<const Device> device)
        : problem_(problem), keys_(gathered_keys(problem.dense)), device_(std::move(device)) {}

    const GatheredProblem& problem() const { return problem_; }
    const std::shared_ptr<const Device>& device() const { return device_; }

    Status load(KernelStore* store);

    const char* name(Pass pass) const;

    /// pattern: that of the problem with the pointers of a run.
    Status forward(const GatheredPattern& pattern, const DenseForwardArgs& args,
                   const RunOptions& run) const;
    /// Row terms and gradients; terms: terms_bytes() of device memory.
    Status backward(const GatheredPattern& pattern, const GatheredPattern& of_keys,
                    const DenseBackwardArgs& args, RowTerms* terms, const Stream& stream) const;

    /// Fills the inverse of a permutation [rows, length].
    Status invert(const int32* permutation, int32* inverse, int64 rows, int64 length,
                  const Stream& stream) const;

  private:
    const GatheredProblem problem_;
    const GatheredKeys keys_;
    const std::shared_ptr<const Device> device_;
    Function forward_;
    Function invert_;
    Function queries_;
    Function of_keys_;
    Function row_terms_;
};

}  // namespace fattn::cuda
