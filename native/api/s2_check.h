// The checks of an S2 problem when a plan is made; called by s2.cpp. Runs are checked as those of
// every sparse softmax family (softmax_base.h).
#pragma once

#include "api/dense_check.h"
#include "core/s2.h"

namespace fattn::api {

/// A problem that passed, and what only run-time checks need.
struct CheckedS2 {
    CheckedDense dense{};  // its problem is that of the S2 problem
    S2Pattern pattern{};

    S2Problem problem() const { return {dense.problem, pattern}; }
};

/// Checks an S2 problem for a CPU device and resolves every default.
Status check_s2_problem(const fattn_s2_problem& given, CheckedS2* out);

}  // namespace fattn::api
