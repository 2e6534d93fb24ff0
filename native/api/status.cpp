// The per-thread error text and the names of statuses.
#include "api/status.h"

#include <cstddef>
#include <cstring>

namespace fattn::api {
namespace {

// A plain array: reporting must work when memory is gone, and a thread's end has nothing to
// destroy.
constexpr std::size_t kTextBytes = 1024;
thread_local char last_error[kTextBytes] = "";

#define FATTN_SAME_STATUS(name, core) \
    static_assert(FATTN_STATUS_##name == static_cast<fattn_status>(StatusCode::core))
FATTN_SAME_STATUS(OK, kOk);
FATTN_SAME_STATUS(INVALID_ARGUMENT, kInvalidArgument);
FATTN_SAME_STATUS(UNSUPPORTED, kUnsupported);
FATTN_SAME_STATUS(OUT_OF_MEMORY, kOutOfMemory);
FATTN_SAME_STATUS(CANCELLED, kCancelled);
FATTN_SAME_STATUS(DEVICE_UNAVAILABLE, kDeviceUnavailable);
FATTN_SAME_STATUS(DEVICE_FAULT, kDeviceFault);
FATTN_SAME_STATUS(WORKSPACE_TOO_SMALL, kWorkspaceTooSmall);
FATTN_SAME_STATUS(INTERNAL, kInternal);

/// Length of the longest prefix of at most limit bytes that ends between two UTF-8 characters.
std::size_t prefix_length(const char* message, std::size_t limit) {
    std::size_t length = strnlen(message, limit + 1);
    if (length <= limit) return length;
    length = limit;
    while (length > 0 && (static_cast<unsigned char>(message[length]) & 0xC0u) == 0x80u) --length;
    return length;
}

}  // namespace

fattn_status report(StatusCode code, const char* message) noexcept {
    if (code != StatusCode::kOk) {
        const std::size_t length = prefix_length(message, kTextBytes - 1);
        std::memcpy(last_error, message, length);
        last_error[length] = '\0';
    }
    return static_cast<fattn_status>(code);
}

fattn_status report(const Status& status) noexcept {
    return report(status.code(), status.message().c_str());
}

}  // namespace fattn::api

const char* fattn_last_error(void) { return fattn::api::last_error; }

const char* fattn_status_name(fattn_status status) {
    switch (status) {
        case FATTN_STATUS_OK:
            return "ok";
        case FATTN_STATUS_INVALID_ARGUMENT:
            return "invalid argument";
        case FATTN_STATUS_UNSUPPORTED:
            return "unsupported";
        case FATTN_STATUS_OUT_OF_MEMORY:
            return "out of memory";
        case FATTN_STATUS_CANCELLED:
            return "cancelled";
        case FATTN_STATUS_DEVICE_UNAVAILABLE:
            return "device unavailable";
        case FATTN_STATUS_DEVICE_FAULT:
            return "device fault";
        case FATTN_STATUS_WORKSPACE_TOO_SMALL:
            return "workspace too small";
        case FATTN_STATUS_INTERNAL:
            return "internal error";
        default:
            return "unknown status";
    }
}
