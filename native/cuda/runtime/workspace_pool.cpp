// Blocks of workspace by stream.
#include "cuda/runtime/workspace_pool.h"

#include "backend/text.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {

Status WorkspacePool::prepare(const Stream& stream, std::size_t bytes) {
    std::uint64_t id = 0;
    FATTN_CUDA_RETURN_IF_ERROR(stream.identity(&id));
    const std::lock_guard lock(mutex_);
    DeviceMemory& block = blocks_[id];
    if (block.bytes() >= bytes) return {};
    bool capturing = false;
    FATTN_CUDA_RETURN_IF_ERROR(stream.is_capturing(&capturing));
    if (capturing) {
        return {StatusCode::kInvalidArgument,
                text("the workspace of a stream that is being captured cannot grow from ",
                     block.bytes(), " to ", bytes, " bytes; prepare it before the capture begins")};
    }
    FATTN_CUDA_RETURN_IF_ERROR(stream.synchronize());
    // The old block goes first: both at once may not fit.
    block = DeviceMemory();
    return DeviceMemory::allocate(device_, bytes, &block);
}

Status WorkspacePool::acquire(const Stream& stream, std::size_t bytes,
                              DevicePointer* address) const {
    *address = 0;
    if (bytes == 0) return {};
    std::uint64_t id = 0;
    FATTN_CUDA_RETURN_IF_ERROR(stream.identity(&id));
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(id);
    const std::size_t held = found == blocks_.end() ? 0 : found->second.bytes();
    if (held < bytes) {
        return {
            StatusCode::kWorkspaceTooSmall,
            text("the run needs ", bytes, " bytes of workspace; the stream's pool holds ", held,
                 "; prepare the stream for the plan (fattn_plan_prepare), or pass a workspace with "
                 "the run")};
    }
    *address = found->second.address();
    return {};
}

Status WorkspacePool::release(const Stream& stream) {
    std::uint64_t id = 0;
    FATTN_CUDA_RETURN_IF_ERROR(stream.identity(&id));
    const std::lock_guard lock(mutex_);
    if (blocks_.find(id) == blocks_.end()) return {};
    FATTN_CUDA_RETURN_IF_ERROR(stream.synchronize());
    blocks_.erase(id);
    return {};
}

Status WorkspacePool::trim() {
    const std::lock_guard lock(mutex_);
    if (blocks_.empty()) return {};
    FATTN_CUDA_RETURN_IF_ERROR(device_->synchronize());
    blocks_.clear();
    return {};
}

std::size_t WorkspacePool::total_bytes() const {
    const std::lock_guard lock(mutex_);
    std::size_t sum = 0;
    for (const auto& [id, block] : blocks_) sum += block.bytes();
    return sum;
}

}  // namespace fattn::cuda
