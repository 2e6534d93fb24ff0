// The checks of linear attention: problems when a plan is made, data when it runs; called by
// lightning.cpp.
#pragma once

#include "api/run_check.h"
#include "api/status.h"
#include "core/lightning.h"

namespace fattn::api {

/// A problem that passed, and what only run-time checks need.
struct CheckedLightning {
    LightningProblem problem{};
    uint32 pointer_alignment = 1;  // bytes

    uint32 alignment() const { return pointer_alignment; }
};

/// Checks a problem for a CPU device and resolves every default.
Status check_lightning_problem(const fattn_lightning_problem& given, CheckedLightning* out);

/// Check pointers and slopes, and copy the data of a run. Nothing has been written when they fail.
/// The caller adds what else the run touches to memory and then checks overlaps.
Status check_lightning_forward(const CheckedLightning& plan,
                               const fattn_lightning_forward_args& given, RunMemoryChecker* memory,
                               LightningForwardArgs* out);
Status check_lightning_step(const CheckedLightning& plan, const fattn_lightning_forward_args& given,
                            RunMemoryChecker* memory, LightningForwardArgs* out);
Status check_lightning_backward(const CheckedLightning& plan,
                                const fattn_lightning_backward_args& given,
                                RunMemoryChecker* memory, LightningBackwardArgs* out);

}  // namespace fattn::api
