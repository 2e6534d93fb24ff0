// Streams, events and blocks as the C interface knows them; each holds one of cuda/runtime.
#include "cuda/host/cuda_work.h"

#include <cstdint>
#include <utility>

#include "backend/text.h"
#include "cuda/runtime/error.h"
#include "cuda/runtime/event.h"
#include "cuda/runtime/memory.h"

namespace fattn::cuda {
namespace {

DevicePointer device_pointer(const void* address) {
    return static_cast<DevicePointer>(reinterpret_cast<std::uintptr_t>(address));
}

class WorkStream final : public DeviceStream {
  public:
    /// pool: where an own stream has its workspace; null for a borrowed one, whose workspace stays
    /// for the next borrower.
    WorkStream(Stream stream, WorkspacePool* pool) : stream_(std::move(stream)), pool_(pool) {}
    ~WorkStream() override {
        // On a device with a fault nothing can be freed, and nothing holds the memory any more.
        if (pool_ != nullptr) static_cast<void>(pool_->release(stream_).ok());
    }

    const Stream& stream() const { return stream_; }

    void* native() const override { return stream_.handle(); }
    Status query(bool* done) const override { return stream_.query(done); }
    Status synchronize() const override { return stream_.synchronize(); }
    Status wait(const DeviceEvent& event) const override;

  private:
    const Stream stream_;
    WorkspacePool* const pool_;
};

class WorkEvent final : public DeviceEvent {
  public:
    explicit WorkEvent(Event event) : event_(std::move(event)) {}

    const Event& event() const { return event_; }

    void* native() const override { return event_.handle(); }
    Status record(const DeviceStream& stream) const override {
        return event_.record(static_cast<const WorkStream&>(stream).stream());
    }
    Status query(bool* done) const override { return event_.query(done); }
    Status synchronize() const override { return event_.synchronize(); }
    Status elapsed_milliseconds(const DeviceEvent& start, float* milliseconds) const override {
        return event_.elapsed_milliseconds(static_cast<const WorkEvent&>(start).event_,
                                           milliseconds);
    }

  private:
    const Event event_;
};

Status WorkStream::wait(const DeviceEvent& event) const {
    return static_cast<const WorkEvent&>(event).event().hold(stream_);
}

/// Memory is one of the runtime's; it goes after the device's work, which the driver promises of
/// device memory in practice and of pinned memory not at all.
template <class Memory>
class WorkBlock final : public DeviceBlock {
  public:
    WorkBlock(std::shared_ptr<const Device> device, Memory memory)
        : device_(std::move(device)), memory_(std::move(memory)) {}
    ~WorkBlock() override {
        if (memory_.bytes() > 0) static_cast<void>(device_->synchronize().ok());
    }

    void* address() const override { return address_of(memory_); }
    uint64 bytes() const override { return memory_.bytes(); }

  private:
    static void* address_of(const PinnedMemory& memory) { return memory.address(); }
    static void* address_of(const DeviceMemory& memory) {
        return reinterpret_cast<void*>(static_cast<std::uintptr_t>(memory.address()));
    }

    std::shared_ptr<const Device> device_;
    Memory memory_;
};

template <class Memory>
Status allocate_block(const std::shared_ptr<const Device>& device, uint64 bytes,
                      std::unique_ptr<DeviceBlock>* block) {
    Memory memory;
    FATTN_CUDA_RETURN_IF_ERROR(Memory::allocate(device, bytes, &memory));
    *block = std::make_unique<WorkBlock<Memory>>(device, std::move(memory));
    return {};
}

}  // namespace

const Stream& stream_of(const DeviceStream& stream) {
    return static_cast<const WorkStream&>(stream).stream();
}

Status CudaWork::memory(uint64* free_bytes, uint64* total_bytes) const {
    std::size_t free_now = 0, total = 0;
    FATTN_CUDA_RETURN_IF_ERROR(device_->memory(&free_now, &total));
    *free_bytes = free_now;
    *total_bytes = total;
    return {};
}

Status CudaWork::make_stream(int32 priority, std::unique_ptr<DeviceStream>* stream) {
    Stream made;
    FATTN_CUDA_RETURN_IF_ERROR(Stream::create(device_, priority, &made));
    *stream = std::make_unique<WorkStream>(std::move(made), pool_);
    return {};
}

Status CudaWork::borrow_stream(void* native, std::unique_ptr<DeviceStream>* stream) {
    Stream borrowed;
    FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(device_, native, &borrowed));
    *stream = std::make_unique<WorkStream>(std::move(borrowed), nullptr);
    return {};
}

Status CudaWork::make_event(bool timing, std::unique_ptr<DeviceEvent>* event) {
    Event made;
    FATTN_CUDA_RETURN_IF_ERROR(Event::create(device_, timing, &made));
    *event = std::make_unique<WorkEvent>(std::move(made));
    return {};
}

Status CudaWork::allocate(MemoryKind kind, uint64 bytes, std::unique_ptr<DeviceBlock>* block) {
    return kind == MemoryKind::kPinned ? allocate_block<PinnedMemory>(device_, bytes, block)
                                       : allocate_block<DeviceMemory>(device_, bytes, block);
}

Status CudaWork::check_range(const void* address, uint64 bytes, const char* what) const {
    return check_device_range(*device_, address, bytes, what);
}

Status CudaWork::copy(const DeviceStream& stream, const CopyRequest& request) const {
    if (request.bytes == 0) return {};
    if (request.kind != CopyKind::kToHost) {
        FATTN_CUDA_RETURN_IF_ERROR(check_range(request.to, request.bytes, "to"));
    }
    if (request.kind != CopyKind::kToDevice) {
        FATTN_CUDA_RETURN_IF_ERROR(check_range(request.from, request.bytes, "from"));
    }
    switch (request.kind) {
        case CopyKind::kToDevice:
            return copy_to_device(stream_of(stream), device_pointer(request.to), request.from,
                                  request.bytes);
        case CopyKind::kToHost:
            return copy_to_host(stream_of(stream), request.to, device_pointer(request.from),
                                request.bytes);
        case CopyKind::kOnDevice:
            return copy_on_device(stream_of(stream), device_pointer(request.to),
                                  device_pointer(request.from), request.bytes);
    }
    return {StatusCode::kInternal, "a copy of an unknown kind"};
}

Status CudaWork::fill(const DeviceStream& stream, void* to, uint8 value, uint64 bytes) const {
    if (bytes == 0) return {};
    FATTN_CUDA_RETURN_IF_ERROR(check_range(to, bytes, "to"));
    return fill_bytes(stream_of(stream), device_pointer(to), value, bytes);
}

}  // namespace fattn::cuda
