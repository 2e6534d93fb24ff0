// Making, recording, waiting for and destroying events.
#include "cuda/runtime/event.h"

#include <utility>

#include "cuda/runtime/error.h"

namespace fattn::cuda {

void Event::swap(Event& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(handle_, other.handle_);
}

Event& Event::operator=(Event&& other) noexcept {
    Event taken(std::move(other));
    swap(taken);
    return *this;
}

Event::~Event() {
    if (handle_ == nullptr) return;
    const ContextScope scope(*device_);
    if (scope.status().ok()) static_cast<void>(device_->call().event_destroy(handle_));
}

Status Event::create(std::shared_ptr<const Device> device, bool timing, Event* event) {
    const ContextScope scope(*device);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    Event made;
    // Without the blocking flag a waiting thread would occupy a processor.
    const unsigned flags = kEventBlockingSync | (timing ? 0U : unsigned{kEventDisableTiming});
    FATTN_CUDA_RETURN_IF_ERROR(check(
        device->call(), device->call().event_create(&made.handle_, flags), "making an event"));
    made.device_ = std::move(device);
    *event = std::move(made);
    return {};
}

Status Event::record(const Stream& stream) const {
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(device_->call(), device_->call().event_record(handle_, stream.handle()),
                 "recording an event");
}

Status Event::query(bool* done) const {
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    const Result result = device_->call().event_query(handle_);
    *done = result == Result::kSuccess;
    return result == Result::kNotReady ? Status()
                                       : check(device_->call(), result, "asking an event");
}

Status Event::synchronize() const {
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(device_->call(), device_->call().event_synchronize(handle_),
                 "waiting for an event");
}

Status Event::hold(const Stream& stream) const {
    const ContextScope scope(stream.device());
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(device_->call(), device_->call().stream_wait_event(stream.handle(), handle_, 0),
                 "making a stream wait for an event");
}

Status Event::elapsed_milliseconds(const Event& start, float* milliseconds) const {
    const ContextScope scope(*device_);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(device_->call(),
                 device_->call().event_elapsed_time(milliseconds, start.handle_, handle_),
                 "reading the time between two events");
}

}  // namespace fattn::cuda
