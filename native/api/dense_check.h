// The checks of dense attention: problems when a plan is made, data when it runs; called by
// dense.cpp.
#pragma once

#include "api/status.h"
#include "core/problem.h"

namespace fattn::api {

/// A problem that passed, and what only run-time checks need.
struct CheckedDense {
    DenseProblem problem{};
    uint32 pointer_alignment = 1;  // bytes
};

/// Checks a dense problem for a CPU device and resolves every default.
Status check_dense_problem(const fattn_dense_problem& given, CheckedDense* out);

/// Memory that a run may use beside the tensors.
struct RunMemory {
    const void* data;
    uint64 bytes;
};

/// Check pointers, index contents and overlaps, and copy the data of a run. Nothing has been
/// written when they fail.
Status check_dense_forward(const CheckedDense& plan, const fattn_dense_forward_args& given,
                           RunMemory workspace, DenseForwardArgs* out);
Status check_dense_backward(const CheckedDense& plan, const fattn_dense_backward_args& given,
                            RunMemory workspace, DenseBackwardArgs* out);

}  // namespace fattn::api
