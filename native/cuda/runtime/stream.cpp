// Making, borrowing, asking and destroying streams.
#include "cuda/runtime/stream.h"

#include <utility>

#include "backend/text.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {

void Stream::swap(Stream& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(handle_, other.handle_);
    std::swap(own_, other.own_);
}

Stream& Stream::operator=(Stream&& other) noexcept {
    Stream taken(std::move(other));
    swap(taken);
    return *this;
}

Stream::~Stream() {
    if (!own_) return;
    const ContextScope scope(*device_);
    if (scope.status().ok()) static_cast<void>(device_->call().stream_destroy(handle_));
}

Status Stream::create(std::shared_ptr<const Device> device, int priority, Stream* stream) {
    const ContextScope scope(*device);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    Stream made;
    FATTN_CUDA_RETURN_IF_ERROR(check(
        device->call(), device->call().stream_create(&made.handle_, kStreamNonBlocking, priority),
        "making a stream"));
    made.device_ = std::move(device);
    made.own_ = true;
    *stream = std::move(made);
    return {};
}

Status Stream::borrow(std::shared_ptr<const Device> device, void* handle, Stream* stream) {
    Stream borrowed;
    borrowed.handle_ = static_cast<StreamHandle>(handle);
    // Default streams belong to whichever context is current.
    if (reinterpret_cast<std::uintptr_t>(handle) > kPerThreadStream) {
        const ContextScope scope(*device);
        FATTN_CUDA_RETURN_IF_ERROR(scope.status());
        ContextHandle context = nullptr;
        FATTN_CUDA_RETURN_IF_ERROR(
            check(device->call(), device->call().stream_get_context(borrowed.handle_, &context),
                  "asking a borrowed stream for its context"));
        if (context != device->context()) {
            return {StatusCode::kInvalidArgument,
                    text("the stream belongs to another context than ", device->context_name(),
                         "; make it there, or attach the device to the stream's context")};
        }
    }
    borrowed.device_ = std::move(device);
    *stream = std::move(borrowed);
    return {};
}

Status Stream::query(bool* done) const {
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    const Result result = device_->call().stream_query(handle_);
    *done = result == Result::kSuccess;
    return result == Result::kNotReady ? Status()
                                       : check(device_->call(), result, "asking a stream");
}

Status Stream::synchronize() const {
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(device_->call(), device_->call().stream_synchronize(handle_),
                 "waiting for a stream");
}

Status Stream::is_capturing(bool* capturing) const {
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    CaptureStatus status = CaptureStatus::kNone;
    FATTN_CUDA_RETURN_IF_ERROR(check(device_->call(),
                                     device_->call().stream_is_capturing(handle_, &status),
                                     "asking whether a stream is being captured"));
    *capturing = status != CaptureStatus::kNone;
    return {};
}

Status Stream::identity(std::uint64_t* id) const {
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    if (device_->call().stream_get_id != nullptr) {
        unsigned long long found = 0;
        FATTN_CUDA_RETURN_IF_ERROR(check(device_->call(),
                                         device_->call().stream_get_id(handle_, &found),
                                         "asking a stream for its number"));
        *id = found;
        return {};
    }
    const auto value = reinterpret_cast<std::uintptr_t>(handle_);
    if (value == kPerThreadStream) {
        return {StatusCode::kUnsupported,
                text("the per-thread default stream cannot be told apart by thread on a driver of "
                     "CUDA ",
                     version_text(device_->driver().version()),
                     "; pass a workspace of your own or a stream made for the purpose")};
    }
    *id = value == kLegacyStream ? 0 : value;
    return {};
}

Status Stream::call_on_host(void (*function)(void*), void* data) const {
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(device_->call(), device_->call().launch_host_function(handle_, function, data),
                 "queueing a host function");
}

}  // namespace fattn::cuda
