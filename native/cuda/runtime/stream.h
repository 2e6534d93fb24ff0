// A queue of work on a device, own or borrowed from another library; taken by copies and launches.
#pragma once

#include <cstdint>
#include <memory>

#include "cuda/runtime/device.h"

namespace fattn::cuda {

/// Movable. An own stream is destroyed with the object; work already in it still finishes.
class Stream {
  public:
    /// A stream of its own, which does not wait for the legacy default stream. Lower priorities
    /// run first; the driver clamps them.
    static Status create(std::shared_ptr<const Device> device, int priority, Stream* stream);

    /// A stream that another library made on the same context, or one of the driver's default
    /// streams (null: the legacy one). INVALID_ARGUMENT when it belongs to another context.
    static Status borrow(std::shared_ptr<const Device> device, void* handle, Stream* stream);

    Stream() = default;
    Stream(Stream&& other) noexcept { swap(other); }
    Stream& operator=(Stream&& other) noexcept;
    ~Stream();

    const Device& device() const { return *device_; }
    const std::shared_ptr<const Device>& shared_device() const { return device_; }
    StreamHandle handle() const { return handle_; }

    /// Ok and *done for a stream with nothing left to do.
    Status query(bool* done) const;
    Status synchronize() const;
    Status is_capturing(bool* capturing) const;

    /// A number that no other stream of the process has or had. UNSUPPORTED for the per-thread
    /// default stream on drivers older than 12.0, which cannot tell its threads apart.
    Status identity(std::uint64_t* id) const;

    /// Runs function(data) on a driver thread once the work queued before is done; it must not
    /// call the driver.
    Status call_on_host(void (*function)(void*), void* data) const;

  private:
    void swap(Stream& other) noexcept;

    std::shared_ptr<const Device> device_;
    StreamHandle handle_ = nullptr;
    bool own_ = false;
};

}  // namespace fattn::cuda
