// Turns a dense problem into the key, parameters and grid of its forward kernel: plain arithmetic,
// no driver; called by the CUDA backend when it makes a plan and when it runs one.
#pragma once

#include <string>

#include "backend/status.h"
#include "core/problem.h"
#include "cuda/device/merge_splits_params.h"
#include "cuda/device/softmax_forward_params.h"

namespace fattn::cuda {

/// One compiled kernel.
struct ForwardKey {
    DType dtype;
    int32 head_dim;  // one of kHeadDims
    Features features;

    bool operator==(const ForwardKey&) const = default;
    ForwardTile tile() const;
    /// The kernel's symbol, and the translation unit that holds it.
    std::string name() const;
    std::string unit() const;
};

/// Everything that a launch needs.
struct ForwardLaunch {
    ForwardKey key;
    SoftmaxForwardParams params;
    uint32 num_blocks;  // 0: there are no rows, and nothing is launched
};

/// A run whose rows' keys are split among blocks: the parts, then what joins them.
struct SplitLaunch {
    ForwardLaunch parts;
    MergeSplitsParams merge;
    uint32 num_merge_blocks;
};

inline constexpr const char* kMergeSplitsUnit = "dense_forward_splits";
inline constexpr const char* kMergeSplitsKernel = "dense_forward_merge";
inline constexpr const char* kMergePartsKernel = "dense_merge_parts";

/// Not ok with the reason when no key computes the problem.
Status supports_dense_forward(const DenseProblem& problem);

/// The key that computes a supported problem whatever its runs bring.
ForwardKey general_key(const DenseProblem& problem);

/// Into how many parts the keys of few queries are split, so that the rounds of as many blocks as
/// the device runs at once are few and full; 1: they are not.
int32 forward_splits(const DenseProblem& problem, int64 blocks_at_once);

/// Bytes of device memory that the parts take; none for a single one.
uint64 dense_forward_workspace(const DenseProblem& problem, int32 num_splits);

/// Of one run with more than one part, in the workspace of that size.
SplitLaunch dense_split_launch(const DenseProblem& problem, const DenseForwardArgs& args,
                               int32 num_splits, void* workspace);

/// Of one run of a supported problem: the lean key where problem and pointers allow it and there
/// are queries to fill its tiles.
ForwardLaunch dense_forward_launch(const DenseProblem& problem, const DenseForwardArgs& args);

}  // namespace fattn::cuda
