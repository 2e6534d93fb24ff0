// Memory, streams, events and programs of a GPU for callers of the C interface, over cuda/runtime;
// held by the CUDA backend.
#pragma once

#include <memory>

#include "backend/device_work.h"
#include "cuda/host/cuda_program.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/workspace_pool.h"

namespace fattn::cuda {

/// The stream of the runtime behind one that CudaWork made.
const Stream& stream_of(const DeviceStream& stream);

class CudaWork final : public DeviceWork {
  public:
    /// pool: that of the device's runs; a stream's block goes with the stream.
    CudaWork(std::shared_ptr<const Device> device, const ImageOrigins& origins, WorkspacePool* pool)
        : device_(std::move(device)), origins_(origins), pool_(pool) {}

    void* context() const override { return device_->context(); }
    Status memory(uint64* free_bytes, uint64* total_bytes) const override;
    Status synchronize() const override { return device_->synchronize(); }
    Status make_stream(int32 priority, std::unique_ptr<DeviceStream>* stream) override;
    Status borrow_stream(void* native, std::unique_ptr<DeviceStream>* stream) override;
    Status make_event(bool timing, std::unique_ptr<DeviceEvent>* event) override;
    Status allocate(MemoryKind kind, uint64 bytes, std::unique_ptr<DeviceBlock>* block) override;
    bool is_device_memory(const void* address) const override {
        return cuda::is_device_memory(*device_, address);
    }
    Status check_range(const void* address, uint64 bytes, const char* what) const override;
    Status copy(const DeviceStream& stream, const CopyRequest& request) const override;
    Status fill(const DeviceStream& stream, void* to, uint8 value, uint64 bytes) const override;
    Status compile(const ProgramSource& source, std::string* log,
                   std::unique_ptr<DeviceProgram>* program) override {
        return compile_program(device_, origins_, source, log, program);
    }

  private:
    std::shared_ptr<const Device> device_;
    ImageOrigins origins_;
    WorkspacePool* pool_;
};

}  // namespace fattn::cuda
