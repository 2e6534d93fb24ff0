// Device memory, pinned host memory, and asynchronous copies between them.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "cuda/runtime/stream.h"

namespace fattn::cuda {

/// A block of device memory, at least 256-byte aligned. Movable; freed with the object, which waits
/// for the device.
class DeviceMemory {
  public:
    /// OUT_OF_MEMORY says how much was asked and how much is free. 0 bytes gives an empty block.
    static Status allocate(std::shared_ptr<const Device> device, std::size_t bytes,
                           DeviceMemory* memory);

    DeviceMemory() = default;
    DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
    DeviceMemory& operator=(DeviceMemory&& other) noexcept;
    ~DeviceMemory();

    DevicePointer address() const { return address_; }
    std::size_t bytes() const { return bytes_; }

  private:
    void swap(DeviceMemory& other) noexcept;

    std::shared_ptr<const Device> device_;
    DevicePointer address_ = 0;
    std::size_t bytes_ = 0;
};

/// Page-locked host memory, from and to which copies run beside other work. Movable.
class PinnedMemory {
  public:
    static Status allocate(std::shared_ptr<const Device> device, std::size_t bytes,
                           PinnedMemory* memory);

    PinnedMemory() = default;
    PinnedMemory(PinnedMemory&& other) noexcept { swap(other); }
    PinnedMemory& operator=(PinnedMemory&& other) noexcept;
    ~PinnedMemory();

    void* address() const { return address_; }
    std::size_t bytes() const { return bytes_; }

  private:
    void swap(PinnedMemory& other) noexcept;

    std::shared_ptr<const Device> device_;
    void* address_ = nullptr;
    std::size_t bytes_ = 0;
};

// Copies and fills are queued in the stream; both memories must stay as they are until it gets
// there. From pageable host memory the driver may copy before it returns. 0 bytes queue nothing.
Status copy_to_device(const Stream& stream, DevicePointer to, const void* from, std::size_t bytes);
Status copy_to_host(const Stream& stream, void* to, DevicePointer from, std::size_t bytes);
Status copy_on_device(const Stream& stream, DevicePointer to, DevicePointer from,
                      std::size_t bytes);
Status fill_bytes(const Stream& stream, DevicePointer to, unsigned char value, std::size_t bytes);

/// Ok when the address is device memory of the device's context. INVALID_ARGUMENT names what it is
/// otherwise: host memory, or memory of another context.
Status check_device_pointer(const Device& device, const void* address, std::string_view what);

/// Whether the address is memory of some GPU.
bool is_device_memory(const Device& device, const void* address);

/// As check_device_pointer, of a number of bytes, which must also lie in one block.
Status check_device_range(const Device& device, const void* address, std::size_t bytes,
                          std::string_view what);

}  // namespace fattn::cuda
