// Turns results of the driver into Status with operation, error name and a hint; used by every file
// of cuda/runtime that calls the driver.
#pragma once

#include <string_view>

#include "backend/status.h"
#include "cuda/runtime/driver_functions.h"

namespace fattn::cuda {

/// Ok for success; else what failed, the driver's name of the error, and what to do about it.
/// operation is a phrase such as "loading module dense_forward".
Status check(const DriverFunctions& call, Result result, std::string_view operation);

/// Kind of failure of a result that is not success.
StatusCode code_of(Result result);

/// Errors after which a context is of no more use: they were caused by a kernel that ran earlier.
bool is_sticky(Result result);

}  // namespace fattn::cuda

/// Returns from the enclosing function when an expression of type Status is not ok.
#define FATTN_CUDA_RETURN_IF_ERROR(expression)                       \
    do {                                                             \
        if (::fattn::Status status_ = (expression); !status_.ok()) { \
            return status_;                                          \
        }                                                            \
    } while (false)
