// Turns a problem of linear attention into the sums that its passes are and the small kernels
// around them, their keys, parameters and grids: plain arithmetic, no driver; called by the CUDA
// kernel of the family.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "backend/status.h"
#include "core/lightning.h"
#include "cuda/device/lightning_params.h"

namespace fattn::cuda {

/// One compiled kernel of sums, for all head dims up to its own.
struct LightningKey {
    DType dtype;
    int32 head_dim;  // one of kLightningHeadDims

    int32 chunk() const;
    int32 shared_bytes() const;
    /// The kernel's symbol, and the translation unit that holds it.
    std::string unit() const;
    std::string name() const;
};

LightningKey lightning_key(const LightningProblem& problem);

/// Not ok with the reason when no key computes the problem.
Status supports_lightning(const LightningProblem& problem);

/// A launch is told apart by what it takes.
using LightningLaunchParams = std::variant<LightningParams, PassStatesParams, FeatureRowsParams,
                                           FeatureGradientsParams, QuotientsParams>;
struct LightningLaunch {
    LightningLaunchParams params;
    uint32 num_blocks;
};

/// Bytes of features, of states of segments, and of unfinished results, which several heads,
/// directions or parts of the features give: of one pass.
uint64 lightning_forward_workspace(const LightningProblem& problem);
uint64 lightning_backward_workspace(const LightningProblem& problem);

/// Whether a plan needs the kernels of lightning_rows.cu.
bool lightning_has_row_kernels(const LightningProblem& problem);

/// What a run launches, in this order. workspace: as many bytes as the pass asks for.
std::vector<LightningLaunch> lightning_forward_launches(const LightningProblem& problem,
                                                        const LightningForwardArgs& args,
                                                        void* workspace);
std::vector<LightningLaunch> lightning_backward_launches(const LightningProblem& problem,
                                                         const LightningBackwardArgs& args,
                                                         void* workspace);

}  // namespace fattn::cuda
