// A mark in a stream that can be waited for and timed; used by callers that order streams.
#pragma once

#include <memory>

#include "cuda/runtime/stream.h"

namespace fattn::cuda {

/// Movable. An event that was never recorded counts as done.
class Event {
  public:
    /// timing: whether elapsed_milliseconds may be asked; it makes the event dearer.
    static Status create(std::shared_ptr<const Device> device, bool timing, Event* event);

    Event() = default;
    Event(Event&& other) noexcept { swap(other); }
    Event& operator=(Event&& other) noexcept;
    ~Event();

    const Device& device() const { return *device_; }
    EventHandle handle() const { return handle_; }

    /// Marks the work that is in the stream now.
    Status record(const Stream& stream) const;
    Status query(bool* done) const;
    Status synchronize() const;
    /// Makes later work of the stream wait for the mark.
    Status hold(const Stream& stream) const;
    /// Time between two marks, both done and both with timing.
    Status elapsed_milliseconds(const Event& start, float* milliseconds) const;

  private:
    void swap(Event& other) noexcept;

    std::shared_ptr<const Device> device_;
    EventHandle handle_ = nullptr;
};

}  // namespace fattn::cuda
