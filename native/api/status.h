// Turns results and exceptions into C statuses with a per-thread text; wraps the body of every
// exported function.
#pragma once

#include <exception>
#include <new>

#include "backend/status.h"
#include "fused_attention/fused_attention.h"

namespace fattn::api {

/// Remembers the message of a failure for fattn_last_error; returns its C status.
fattn_status report(const Status& status) noexcept;
fattn_status report(StatusCode code, const char* message) noexcept;

/// The one catch-all of the C boundary: body returns a Status and may throw.
template <class Body>
fattn_status guarded(const Body& body) noexcept {
    try {
        return report(body());
    } catch (const std::bad_alloc&) {
        return report(StatusCode::kOutOfMemory, "the system has no memory left for this call");
    } catch (const std::exception& e) {
        return report(StatusCode::kInternal, e.what());
    } catch (...) {
        return report(StatusCode::kInternal, "an unknown exception was caught; this is a defect");
    }
}

inline Status invalid(std::string message) {
    return {StatusCode::kInvalidArgument, std::move(message)};
}
inline Status unsupported(std::string message) {
    return {StatusCode::kUnsupported, std::move(message)};
}

}  // namespace fattn::api

/// Returns from the enclosing function when an expression of type Status is not ok.
#define FATTN_RETURN_IF_ERROR(expression)                            \
    do {                                                             \
        if (::fattn::Status status_ = (expression); !status_.ok()) { \
            return status_;                                          \
        }                                                            \
    } while (false)
