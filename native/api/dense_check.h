// The checks of dense attention: problems when a plan is made, data when it runs; called by
// dense.cpp.
#pragma once

#include "api/run_check.h"
#include "api/status.h"
#include "core/problem.h"

namespace fattn::api {

/// A problem that passed, and what only run-time checks need.
struct CheckedDense {
    DenseProblem problem{};
    uint32 pointer_alignment = 1;  // bytes

    uint32 alignment() const { return pointer_alignment; }
};

/// Checks a dense problem for a CPU device and resolves every default.
Status check_dense_problem(const fattn_dense_problem& given, CheckedDense* out);

/// Check pointers and index contents, and copy the data of a run. Nothing has been written when
/// they fail. The caller adds what else the run touches to memory and then checks overlaps.
Status check_dense_forward(const CheckedDense& plan, const fattn_dense_forward_args& given,
                           RunMemoryChecker* memory, DenseForwardArgs* out);
Status check_dense_backward(const CheckedDense& plan, const fattn_dense_backward_args& given,
                            RunMemoryChecker* memory, DenseBackwardArgs* out);

}  // namespace fattn::api
