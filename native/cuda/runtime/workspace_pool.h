// Device memory that runs use between their kernels, one block a stream, sized before they run;
// kept by the CUDA backend of a device.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "cuda/runtime/memory.h"
#include "cuda/runtime/stream.h"

namespace fattn::cuda {

/// Runs in one stream follow each other, so they share its block. Safe for concurrent callers.
class WorkspacePool {
  public:
    explicit WorkspacePool(std::shared_ptr<const Device> device) : device_(std::move(device)) {}

    /// Makes the stream's block at least this large. Growing waits for the stream, so that nothing
    /// still uses the smaller block; during a capture it is an error.
    Status prepare(const Stream& stream, std::size_t bytes);

    /// The stream's block. WORKSPACE_TOO_SMALL, saying how to prepare it, when it holds less than
    /// bytes. 0 bytes give address 0 and need no block. Never allocates, never waits.
    Status acquire(const Stream& stream, std::size_t bytes, DevicePointer* address) const;

    /// Frees the stream's block after its work; call it before the stream is destroyed.
    Status release(const Stream& stream);

    /// Frees the blocks of all streams after everything on the device.
    Status trim();

    std::size_t total_bytes() const;

  private:
    std::shared_ptr<const Device> device_;
    mutable std::mutex mutex_;
    std::map<std::uint64_t, DeviceMemory> blocks_;  // by Stream::identity
};

}  // namespace fattn::cuda
