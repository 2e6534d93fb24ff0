// Result of an operation inside the library, a code with a sentence; made everywhere below api/,
// turned into C status and text by api/.
#pragma once

#include <string>
#include <utility>

namespace fattn {

/// Values are those of fattn_status; api/ asserts it.
enum class StatusCode : unsigned {
    kOk = 0,
    kInvalidArgument = 1,
    kUnsupported = 2,
    kOutOfMemory = 3,
    kCancelled = 4,
    kDeviceUnavailable = 5,
    kDeviceFault = 6,
    kWorkspaceTooSmall = 7,
    kInternal = 8
};

class [[nodiscard]] Status {
  public:
    Status() = default;
    Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

    bool ok() const { return code_ == StatusCode::kOk; }
    StatusCode code() const { return code_; }
    const std::string& message() const { return message_; }

  private:
    StatusCode code_ = StatusCode::kOk;
    std::string message_;  // no allocation while empty
};

}  // namespace fattn
