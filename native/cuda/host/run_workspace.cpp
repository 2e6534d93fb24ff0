// The workspace a run brings, or that of its stream.
#include "cuda/host/run_workspace.h"

#include <cstdint>
#include <utility>

#include "backend/text.h"
#include "cuda/runtime/error.h"

namespace fattn::cuda {
namespace {

constexpr std::uintptr_t kWorkspaceAlignment = 64;

/// A graph may be replayed in any stream, beside runs of the stream whose block it would hold.
Status refuse_in_capture(const Stream& stream) {
    bool capturing = false;
    FATTN_CUDA_RETURN_IF_ERROR(stream.is_capturing(&capturing));
    if (!capturing) return {};
    return {StatusCode::kInvalidArgument,
            "run->workspace is NULL while the stream is being captured; a captured run needs a "
            "workspace of its own (fattn_plan_workspace says its size)"};
}

}  // namespace

Status find_workspace(const Stream& stream, const WorkspacePool& pool, const RunOptions& run,
                      uint64 bytes, void** workspace) {
    *workspace = nullptr;
    if (bytes == 0) return {};
    if (run.workspace == nullptr) {
        FATTN_CUDA_RETURN_IF_ERROR(refuse_in_capture(stream));
        DevicePointer address = 0;
        FATTN_CUDA_RETURN_IF_ERROR(pool.acquire(stream, bytes, &address));
        *workspace = reinterpret_cast<void*>(static_cast<std::uintptr_t>(address));
        return {};
    }
    if (run.workspace_bytes < bytes) {
        return {StatusCode::kWorkspaceTooSmall,
                text("run->workspace_bytes is ", run.workspace_bytes, "; this run needs ", bytes,
                     " bytes of device memory (fattn_plan_workspace)")};
    }
    if (reinterpret_cast<std::uintptr_t>(run.workspace) % kWorkspaceAlignment != 0) {
        return {StatusCode::kWorkspaceTooSmall,
                text("run->workspace is not aligned; its address must be a multiple of ",
                     kWorkspaceAlignment)};
    }
    *workspace = run.workspace;
    return check_device_pointer(stream.device(), run.workspace, "run->workspace");
}

Status prepare_workspace(std::shared_ptr<const Device> device, void* stream, uint64 bytes,
                         WorkspacePool* pool) {
    Stream borrowed;
    FATTN_CUDA_RETURN_IF_ERROR(Stream::borrow(std::move(device), stream, &borrowed));
    return bytes == 0 ? Status() : pool->prepare(borrowed, bytes);
}

}  // namespace fattn::cuda
