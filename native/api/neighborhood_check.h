// The checks of neighborhood attention: problems when a plan is made, data when it runs; called by
// neighborhood.cpp.
#pragma once

#include "api/dense_check.h"
#include "api/run_check.h"
#include "api/status.h"
#include "core/neighborhood.h"

namespace fattn::api {

/// A problem that passed, and what only run-time checks need.
struct CheckedNeighborhood {
    NeighborhoodProblem problem{};
    CheckedDense tensors;  // problem.dense with its pointer alignment
    bool has_additional = false;

    uint32 alignment() const { return tensors.pointer_alignment; }
};

/// Checks a neighborhood problem for a CPU device and resolves every default.
Status check_neighborhood_problem(const fattn_neighborhood_problem& given,
                                  CheckedNeighborhood* out);

/// Check pointers and copy the data of a run; as check_dense_forward.
Status check_neighborhood_forward(const CheckedNeighborhood& plan,
                                  const fattn_neighborhood_forward_args& given,
                                  RunMemoryChecker* memory, NeighborhoodForwardArgs* out);
Status check_neighborhood_backward(const CheckedNeighborhood& plan,
                                   const fattn_neighborhood_backward_args& given,
                                   RunMemoryChecker* memory, NeighborhoodBackwardArgs* out);

}  // namespace fattn::api
