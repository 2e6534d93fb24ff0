// Allocation, copies and questions about addresses.
#include "cuda/runtime/memory.h"

#include <utility>

#include "backend/text.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

/// Runs a driver call with the device's context current.
template <class Call>
Status call_in(const Device& device, std::string_view operation, const Call& call) {
    const ContextScope scope(device);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    return check(device.call(), call(device.call()), operation);
}

Status out_of_memory(const Device& device, std::size_t bytes, const Status& failure) {
    std::size_t free_bytes = 0, total_bytes = 0;
    if (failure.code() != StatusCode::kOutOfMemory) return failure;
    if (!device.memory(&free_bytes, &total_bytes).ok()) return failure;
    return {StatusCode::kOutOfMemory,
            text(failure.message(), " (", bytes, " bytes asked for, ", free_bytes, " of ",
                 total_bytes, " free on CUDA device ", device.properties().ordinal, ")")};
}

}  // namespace

void DeviceMemory::swap(DeviceMemory& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
    DeviceMemory taken(std::move(other));
    swap(taken);
    return *this;
}

DeviceMemory::~DeviceMemory() {
    if (address_ == 0) return;
    const ContextScope scope(*device_);
    if (scope.status().ok()) static_cast<void>(device_->call().mem_free(address_));
}

Status DeviceMemory::allocate(std::shared_ptr<const Device> device, std::size_t bytes,
                              DeviceMemory* memory) {
    DeviceMemory made;
    if (bytes > 0) {
        const Status status = call_in(
            *device, "allocating device memory",
            [&](const DriverFunctions& call) { return call.mem_alloc(&made.address_, bytes); });
        if (!status.ok()) return out_of_memory(*device, bytes, status);
    }
    made.device_ = std::move(device);
    made.bytes_ = bytes;
    *memory = std::move(made);
    return {};
}

void PinnedMemory::swap(PinnedMemory& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
}

PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
    PinnedMemory taken(std::move(other));
    swap(taken);
    return *this;
}

PinnedMemory::~PinnedMemory() {
    if (address_ == nullptr) return;
    const ContextScope scope(*device_);
    if (scope.status().ok()) static_cast<void>(device_->call().mem_free_host(address_));
}

Status PinnedMemory::allocate(std::shared_ptr<const Device> device, std::size_t bytes,
                              PinnedMemory* memory) {
    PinnedMemory made;
    if (bytes > 0) {
        FATTN_CUDA_RETURN_IF_ERROR(
            call_in(*device, text("allocating ", bytes, " bytes of pinned host memory"),
                    [&](const DriverFunctions& call) {
                        return call.mem_host_alloc(&made.address_, bytes, kHostAllocPortable);
                    }));
    }
    made.device_ = std::move(device);
    made.bytes_ = bytes;
    *memory = std::move(made);
    return {};
}

Status copy_to_device(const Stream& stream, DevicePointer to, const void* from, std::size_t bytes) {
    if (bytes == 0) return {};
    return call_in(stream.device(), "copying to the device", [&](const DriverFunctions& call) {
        return call.memcpy_to_device(to, from, bytes, stream.handle());
    });
}

Status copy_to_host(const Stream& stream, void* to, DevicePointer from, std::size_t bytes) {
    if (bytes == 0) return {};
    return call_in(stream.device(), "copying to the host", [&](const DriverFunctions& call) {
        return call.memcpy_to_host(to, from, bytes, stream.handle());
    });
}

Status copy_on_device(const Stream& stream, DevicePointer to, DevicePointer from,
                      std::size_t bytes) {
    if (bytes == 0) return {};
    return call_in(stream.device(), "copying on the device", [&](const DriverFunctions& call) {
        return call.memcpy_on_device(to, from, bytes, stream.handle());
    });
}

Status fill_bytes(const Stream& stream, DevicePointer to, unsigned char value, std::size_t bytes) {
    if (bytes == 0) return {};
    return call_in(stream.device(), "filling device memory", [&](const DriverFunctions& call) {
        return call.memset_bytes(to, value, bytes, stream.handle());
    });
}

bool is_device_memory(const Device& device, const void* address) {
    const ContextScope scope(device);
    const auto pointer = static_cast<DevicePointer>(reinterpret_cast<std::uintptr_t>(address));
    MemoryType type{};
    // Memory that the driver has never seen is answered with an invalid value.
    return scope.status().ok() &&
           device.call().pointer_get_attribute(&type, PointerAttribute::kMemoryType, pointer) ==
               Result::kSuccess &&
           type == MemoryType::kDevice;
}

Status check_device_pointer(const Device& device, const void* address, std::string_view what) {
    const ContextScope scope(device);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    const DriverFunctions& call = device.call();
    const auto pointer = static_cast<DevicePointer>(reinterpret_cast<std::uintptr_t>(address));
    ContextHandle context = nullptr;
    if (!is_device_memory(device, address)) {
        return {StatusCode::kInvalidArgument,
                text(what, " is not device memory; runs on CUDA device ",
                     device.properties().ordinal, " take addresses of its memory")};
    }
    // Memory of the driver's pools and of its virtual memory functions belongs to a device and to
    // no context.
    int ordinal = device.properties().ordinal;
    const bool of_a_context = call.pointer_get_attribute(&context, PointerAttribute::kContext,
                                                         pointer) == Result::kSuccess &&
                              context != nullptr;
    if (!of_a_context) {
        FATTN_CUDA_RETURN_IF_ERROR(check(
            call, call.pointer_get_attribute(&ordinal, PointerAttribute::kDeviceOrdinal, pointer),
            text("asking for the device of ", what)));
    }
    if (of_a_context ? context != device.context() : ordinal != device.properties().ordinal) {
        return {StatusCode::kInvalidArgument,
                text(what, " was allocated in another context than ", device.context_name())};
    }
    return {};
}

Status check_device_range(const Device& device, const void* address, std::size_t bytes,
                          std::string_view what) {
    FATTN_CUDA_RETURN_IF_ERROR(check_device_pointer(device, address, what));
    const ContextScope scope(device);
    FATTN_CUDA_RETURN_IF_ERROR(scope.status());
    const auto pointer = static_cast<DevicePointer>(reinterpret_cast<std::uintptr_t>(address));
    DevicePointer base = 0;
    std::size_t size = 0;
    FATTN_CUDA_RETURN_IF_ERROR(check(device.call(),
                                     device.call().mem_get_address_range(&base, &size, pointer),
                                     text("asking for the block of ", what)));
    const std::size_t left = size - (pointer - base);
    if (bytes > left) {
        return {StatusCode::kInvalidArgument,
                text(what, " has ", left, " bytes from there to the end of its block; ", bytes,
                     " are needed")};
    }
    return {};
}

}  // namespace fattn::cuda
