// Turns a dense problem into keys, parameters, grids and workspace of its backward kernels: plain
// arithmetic, no driver; called by the CUDA backend when it makes a plan and when it runs one.
#pragma once

#include <string>
#include <vector>

#include "backend/status.h"
#include "core/problem.h"
#include "cuda/device/softmax_backward_params.h"

namespace fattn::cuda {

/// The translation unit of the small kernels around the gradients, and their symbols.
constexpr const char* kBackwardRowsUnit = "dense_backward_rows";
constexpr const char* kRowTermsKernel = "dense_backward_row_terms";
constexpr const char* kSinksKernel = "dense_backward_sinks";
constexpr const char* kZerosKernel = "dense_backward_zeros";

/// One compiled gradient kernel.
struct BackwardKey {
    DType dtype;
    int32 head_dim;  // one of kBackwardHeadDims
    Side side;

    bool operator==(const BackwardKey&) const = default;
    BackwardTile tile() const;
    /// The kernel's symbol, and the translation unit that holds it.
    std::string name() const;
    std::string unit() const;
};

/// A launch of a gradient kernel.
struct BackwardLaunch {
    SoftmaxBackwardParams params;
    uint32 num_blocks;  // 0: nothing is launched
};

/// A launch of the kernel that clears rows.
struct ZerosLaunch {
    ZeroRowsParams params;
    uint32 num_blocks;
};

/// Everything that one run launches, in this order.
struct DenseBackwardRun {
    std::vector<ZerosLaunch> zeros;  // of rows that belong to no sequence, or to no key of a run
    BackwardRowsParams rows;
    uint32 num_term_blocks;
    uint32 num_sink_blocks;
    BackwardLaunch d_q;
    BackwardLaunch d_bias;  // with the key of d_q
    BackwardLaunch d_k_d_v;
};

/// Not ok with the reason when no key computes the problem.
Status supports_dense_backward(const DenseProblem& problem);

BackwardKey backward_key(const DenseProblem& problem, Side side);

/// The terms of all rows: 8 bytes for each element of the LSE.
uint64 dense_backward_workspace(const DenseProblem& problem);

/// Of one run of a supported problem. workspace: as many bytes as asked for, 8-byte aligned.
DenseBackwardRun dense_backward_run(const DenseProblem& problem, const DenseBackwardArgs& args,
                                    void* workspace);

}  // namespace fattn::cuda
