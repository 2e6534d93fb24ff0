// Finds the device memory that a run works in; called by the kernels of all families.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/runtime/workspace_pool.h"

namespace fattn::cuda {

/// The run's own workspace, checked, or the block that the stream was prepared with. *workspace is
/// null for 0 bytes. Neither waits nor allocates.
Status find_workspace(const Stream& stream, const WorkspacePool& pool, const RunOptions& run,
                      uint64 bytes, void** workspace);

/// Sizes the block of a stream, given by the driver's handle.
Status prepare_workspace(std::shared_ptr<const Device> device, void* stream, uint64 bytes,
                         WorkspacePool* pool);

}  // namespace fattn::cuda
