// Backward runs of 16-bit tensors under an f32 gradient of the output: the f32 keys compute them
// over copies in the workspace; called by dense_kernel and gathered_kernel.
#pragma once

#include <vector>

#include "core/problem.h"
#include "cuda/device/gathered_params.h"
#include "cuda/device/softmax_backward_params.h"
#include "cuda/runtime/module.h"
#include "cuda/runtime/stream.h"

namespace fattn::cuda {

/// Symbol of the kernel that copies, in the unit of the small backward kernels.
constexpr const char* kConvertKernel = "dense_backward_convert";

/// Whether the backward of a problem works on copies: rounded to 16 bits, d_o would cost gradients
/// more digits than they may lose.
bool has_wide_backward(const DenseProblem& problem);

/// The problem that the backward keys compute: that over the copies, or the problem itself.
DenseProblem backward_problem(const DenseProblem& problem);

/// A launch of the kernel that copies.
struct ConvertLaunch {
    ConvertRowsParams params;
    uint32 num_blocks;
};

/// Where copies lie, and what makes them and takes results back.
class WideCopies {
  public:
    /// workspace: bytes() of device memory, 64-byte aligned, or null to count them.
    explicit WideCopies(void* workspace) : workspace_(workspace) {}

    /// The arguments of the backward problem.
    DenseBackwardArgs args(const DenseProblem& problem, const DenseBackwardArgs& given);
    /// The additional keys and values of a grid as f32, with their gradients.
    void widen(GridBoxes* boxes);

    uint64 bytes() const { return bytes_; }
    const std::vector<ConvertLaunch>& before() const { return before_; }
    const std::vector<ConvertLaunch>& after() const { return after_; }

  private:
    void* take(const TensorLayout& layout);
    const void* input(const TensorLayout& from, const TensorLayout& copy, const void* data);
    void* output(const TensorLayout& copy, const TensorLayout& to, void* data);

    void* const workspace_;
    uint64 bytes_ = 0;
    std::vector<ConvertLaunch> before_;
    std::vector<ConvertLaunch> after_;
};

/// Enqueues copies.
Status launch_converts(const Function& function, const std::vector<ConvertLaunch>& launches,
                       const Stream& stream);

}  // namespace fattn::cuda
