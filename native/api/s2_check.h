// The checks of an S2 problem when a plan is made, and of the data of its runs; called by s2.cpp.
#pragma once

#include "api/dense_check.h"
#include "api/run_check.h"
#include "core/s2.h"

namespace fattn::api {

/// A problem that passed, and what only run-time checks need.
struct CheckedS2 {
    CheckedDense dense{};  // its problem is that of the S2 problem
    S2Pattern pattern{};

    S2Problem problem() const { return {dense.problem, pattern}; }
    uint32 alignment() const { return dense.pointer_alignment; }
};

/// Checks an S2 problem for a CPU device and resolves every default.
Status check_s2_problem(const fattn_s2_problem& given, CheckedS2* out);

/// Check pointers and copy the data of a run; as check_dense_forward.
Status check_s2_forward(const CheckedS2& plan, const fattn_s2_forward_args& given,
                        RunMemoryChecker* memory, DenseForwardArgs* out);
Status check_s2_backward(const CheckedS2& plan, const fattn_s2_backward_args& given,
                         RunMemoryChecker* memory, DenseBackwardArgs* out);

}  // namespace fattn::api
